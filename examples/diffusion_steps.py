"""How few steps do? Quality of each sampler at 1000, 50, 20 and 10 steps: docs/diffusion-steps.md.

    python examples/diffusion_steps.py [--model vdm.digits] [--n 360] [--out docs/diffusion-steps]

Every row draws the same n events from the same noise, and is compared with as many of the data
set's test split (docs/evaluation.md). Rows are kept in OUT.jsonl and not drawn again; OUT.md is
the table. A step of Heun's method calls the network twice, but for the last; `ode` is adaptive.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import zoo_core as zoo
from zoo_core import SampleQuality

STEPS = (1000, 50, 20, 10)
SCORES = ("coverage", "precision", "recall", "frechet")
SAMPLERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ddim", {}),
    ("ddim", {"clip": False}),
    ("ddim", {"clipped_epsilon": False}),
    ("dpmpp_2m", {}),
    ("ancestral", {}),
    ("heun", {}),
)


class Counted:
    """A model's network, counting its calls for each event."""

    def __init__(self, model: Any) -> None:
        self.calls = 0
        model.network.register_forward_pre_hook(self._count)

    def _count(self, module: Any, arguments: Any) -> None:
        self.calls += len(arguments[0])


def row(model: Any, quality: SampleQuality, sampler: str, options: dict[str, Any]) -> Any:
    """One line of the table."""
    counted, started = Counted(model), time.process_time()
    x = model.sample(quality.n, sampler=sampler, seed=0, **options)
    found = {q.score: q for q in quality(x)}
    return {
        "sampler": sampler,
        "steps": options.get("steps"),
        "options": {k: v for k, v in options.items() if k != "steps"},
        "calls": round(counted.calls / quality.n),
        "cpu_seconds": round(time.process_time() - started, 1),
        "n": quality.n,
        **{s: [found[s].value.value, found[s].value.std_err] for s in SCORES},
        "real": {s: found[s].real.value for s in SCORES},
    }


def table(name: str, rows: list[Any]) -> str:
    """The page."""
    lines = [
        f"# Quality of `{name}` by sampler and steps",
        "",
        f"Made by `python examples/diffusion_steps.py --model {name} --n {rows[0]['n']}`: as many",
        "events of the same seed (0) in every row, scored on the digits classifier's features",
        "beside as many of the test split; one standard error. What real events get is the last",
        "row. Coverage and recall say how much of the data is there, precision and the Frechet",
        "distance how much of what is there is like the data.",
        "",
        "| sampler | steps | network calls | coverage | precision | recall | Frechet distance |",
        "|---|---|---|---|---|---|---|",
        *(line(r) for r in sorted(rows, key=lambda r: (label(r), -(r["steps"] or 0)))),
        "| real events | | | " + " | ".join(f"{rows[0]['real'][s]:.3f}" for s in SCORES) + " |",
        "",
        f"DDIM at 50 steps keeps {kept(rows, '`ddim`')} % of its coverage at 1000 steps, and",
        f"{kept(rows, '`ddim`, `clip=false`')} % without clipping.",
        "With `clipped_epsilon=false`, the default of diffusers, x_0 is clipped to the data's",
        "range while the predicted noise stays. That moves the path by as much in every step,",
        "however short, so that with very many steps DDIM leaves the flow.",
    ]
    return "\n".join(lines) + "\n"


def line(r: Any) -> str:
    scores = " | ".join("{:.3f} ± {:.3f}".format(*r[s]) for s in SCORES)
    return f"| {label(r)} | {r['steps'] or 'adaptive'} | {r['calls']} | {scores} |"


def label(r: Any) -> str:
    set_so = (f"`{name}={json.dumps(value)}`" for name, value in r["options"].items())
    return ", ".join((f"`{r['sampler']}`", *set_so)) if r["steps"] else f"`{r['sampler']}`"


def kept(rows: list[Any], labeled: str) -> int:
    """Coverage at 50 steps in percent of that at 1000."""
    at = {r["steps"]: r["coverage"][0] for r in rows if label(r) == labeled}
    return round(100 * at[50] / at[1000])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vdm.digits")
    parser.add_argument("--n", type=int, default=360)
    parser.add_argument("--out", type=Path, default=Path("docs/diffusion-steps"))
    given = parser.parse_args()
    wanted: list[Any] = [(name, {"steps": n, **o}) for n in STEPS[::-1] for name, o in SAMPLERS]
    wanted.insert(0, ("ode", {"rtol": 1e-3, "atol": 1e-3}))
    kept_in = given.out.with_suffix(".jsonl")
    rows = [json.loads(s) for s in kept_in.read_text().splitlines()] if kept_in.exists() else []
    recipe = zoo.load_recipe(given.model)
    data = zoo.load_dataset(recipe.data, **recipe.data_options)
    quality = SampleQuality(data, n=given.n, features=["digits"], scores=SCORES)
    done = {(label(r), r["steps"]) for r in rows}
    for sampler, options in wanted:
        own = {k: v for k, v in options.items() if k != "steps"}
        one = {"sampler": sampler, "steps": options.get("steps"), "options": own}
        if (label(one), one["steps"]) not in done:
            rows.append(row(zoo.load(given.model), quality, sampler, options))
            with kept_in.open("a") as file:
                print(json.dumps(rows[-1]), file=file)
            print(line(rows[-1]), flush=True)
    given.out.with_suffix(".md").write_text(table(given.model, rows))


if __name__ == "__main__":
    main()
