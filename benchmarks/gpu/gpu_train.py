"""The recipes for a GPU, with as many steps as their minutes have by what `gpu_steps` measured.

A recipe whose steps are not those that are written is a file of $OUT/recipes/, made once. The
model's folder holds its text; to ship the weights, that file takes the committed one's place.
"""

import json
import re
from pathlib import Path
from typing import Any

from train import Call, train

from zoo_core.workflows import load_recipe

MINUTES = {  # of training; scoring comes on top
    "multiscale_pixelcnn.binarized_mnist_gpu": 5.0,
    "gated_pixelcnn.binarized_mnist_gpu": 5.0,
    "hvae.binarized_mnist_gpu": 3.5,
    "iwae.binarized_mnist_gpu": 2.0,
    "vdm.binarized_mnist_gpu": 2.5,
    "edm.binarized_mnist_gpu": 2.0,
    "r3gan.binarized_mnist_gpu": 2.0,
}
TINY = "made.digits"
FEW = ("train.steps=4", "train.warmup=0", "train.eval_every=0", "train.patience=0",
       "train.keep_best=false", "model.hidden=8")  # fmt: skip
GRACE_SECONDS = 60.0
_STEPS = re.compile(r"^steps = \d+$", re.MULTILINE)


def fitted(recipe: str, minutes: float, out: Path) -> str:
    """The recipe with the steps of so many minutes as a file; its name where it was not timed."""
    path = (out / "recipes" / f"{recipe}.toml").absolute()  # else it could be a name on the Hub
    if path.exists():
        return str(path)
    timed = out / "steps.json"
    entries = json.loads(timed.read_text())["entries"] if timed.exists() else {}
    loaded = load_recipe(recipe)
    bf16 = loaded.stages[0].train.precision == "bf16"
    found = entries.get(recipe, {}).get("bf16" if bf16 else "as shipped")
    if not found:
        return recipe
    steps = rounded(minutes * 60e3 / found["ms"])
    before, table, after = loaded.text.partition("[train]\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(before + table + _STEPS.sub(f"steps = {steps}", after, count=1))
    return str(path)


def rounded(steps: float) -> int:
    """Down to two digits."""
    unit = 10 ** max(0, len(str(int(steps))) - 2)
    return max(1, int(steps) // unit * unit)


def run(results: Any) -> None:
    out = results.path.parent
    few = list(FEW) if results.tiny else []
    grace = 1.0 if results.tiny else GRACE_SECONDS
    call = Call(out, results.device, few, 0, results.deadline, grace)
    if results.tiny:
        results.each(TINY, lambda: train(call, fitted(TINY, 0.01, out)))
        return
    for recipe, minutes in MINUTES.items():
        results.each(recipe, lambda r=recipe, m=minutes: train(call, fitted(r, m, out)))
