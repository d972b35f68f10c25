"""Trains recipes on a GPU in pieces of nine minutes, and keeps weights, checkpoints and numbers.

    python benchmarks/gpu/train.py hvae.binarized_mnist_gpu edm.binarized_mnist_gpu
    python benchmarks/gpu/train.py made.digits --device cpu --set train.steps=20     # a trial

Each recipe is a `zoo train` of its own in $OUT/train/<recipe>/ (default gpu-results/), one after
another. At `--limit` seconds the one under way writes a checkpoint and ends; the exit status is 3
and the next call goes on, on another machine too if the folder is brought along: `--from FOLDER`.
$OUT/train.json holds, for each recipe, the machine, seconds, steps a second, the most memory that
was taken, and what was measured. `tools/bundle_weights.py` puts finished models where they belong.

A recipe is a tag or a file. A data set that cannot be downloaded there is carried:
binarized_mnist.npz in $ZOO_SHARED/data.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from resumable import LIMIT_SECONDS, UNFINISHED, OutOfTime, Results

from zoo_core.child import environment

GRACE_SECONDS = 60
"""For the step under way and its checkpoint, within the limit; afterwards it is killed."""


@dataclass
class Call:
    """What this call was asked for."""

    out: Path
    device: str
    settings: list[str]
    seed: int
    deadline: float
    grace: float

    def zoo(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command in a process of its own, which is told to end in time for a checkpoint."""
        zoo = [sys.executable, "-P", "-m", "zoo_core"]
        command = [*zoo, *arguments, "--json", "--device", self.device]
        left = self.deadline - time.monotonic()
        if left <= self.grace:
            raise OutOfTime
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
        )
        timer = threading.Timer(left - self.grace, child.send_signal, [signal.SIGTERM])
        timer.start()
        try:
            out, err = child.communicate(timeout=left)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            raise OutOfTime from None
        finally:
            timer.cancel()
        if child.returncode == -signal.SIGTERM:
            raise OutOfTime
        return subprocess.CompletedProcess(command, child.returncode, out, err)


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    if done.returncode:
        raise RuntimeError(" ".join(done.stderr.split())[-500:])
    return json.loads(done.stdout)


def train(call: Call, recipe: str) -> dict[str, Any]:
    """Start a recipe or go on with it; what it said when it was finished."""
    name = Path(recipe).stem if recipe.endswith(".toml") else recipe
    folder = call.out / "train" / name
    options = [part for text in call.settings for part in ("--set", text)]
    with peak_memory(call.device) as peak:
        said = answer(
            call.zoo(
                "train", "--recipe", recipe, "--out", str(folder), "--resume",
                "--seed", str(call.seed), *options,
            )
        )  # fmt: skip
    training = said["training"]
    steps = sum(stage["steps"] for stage in training["stages"])
    return {
        "folder": os.path.relpath(folder / "model", call.out),
        "params": said["params"],
        "metrics": said["metrics"],
        "training": training,
        "steps_per_second": round(steps / training["seconds"], 3) if training["seconds"] else None,
        "peak_mebibytes_of_the_device": peak(),
    }


class peak_memory:
    """Inside the block a thread asks the driver what is taken; afterwards the call tells the most.

    The training is another process, whose allocator this one cannot ask.
    """

    def __init__(self, device: str) -> None:
        self.most = 0 if device.startswith("cuda") else None
        self.ended = threading.Event()

    def __enter__(self) -> Any:
        if self.most is not None:
            threading.Thread(target=self._watch, daemon=True).start()
        return lambda: self.most

    def __exit__(self, *_: object) -> None:
        self.ended.set()

    def _watch(self) -> None:
        query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        while not self.ended.wait(1.0):
            done = subprocess.run(query, capture_output=True, text=True, check=False)
            found = [int(line) for line in done.stdout.split() if line.isdecimal()]
            self.most = max([self.most or 0, *found])


def bring(source: Path, out: Path) -> None:
    """An earlier call's folder, files that are newer here left alone."""
    for path in sorted(source.rglob("*")):
        target = out / path.relative_to(source)
        if path.is_file() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="+", metavar="RECIPE")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--from", dest="source", type=Path, metavar="FOLDER")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=LIMIT_SECONDS, help="seconds of this call")
    parser.add_argument("--grace", type=float, default=GRACE_SECONDS, help="of these, to end in")
    given = parser.parse_args(arguments)
    if given.device.startswith("cuda"):
        import torch

        if not torch.cuda.is_available():
            parser.error("no CUDA device; --device cpu with a --set of few steps tries it here")
    out, deadline = Path(os.environ.get("OUT", "gpu-results")), time.monotonic() + given.limit
    if given.source is not None:
        bring(given.source, out)
    call = Call(out, given.device, given.set, given.seed, deadline, given.grace)
    results = Results(out / "train.json", given.device, bool(given.set), deadline)
    try:
        for recipe in given.recipes:
            results.each(recipe, lambda r=recipe: train(call, r))
    except OutOfTime:
        print("stopped at the limit; call again to go on")
        return UNFINISHED
    results.finish()
    print(*results.failed(), sep="\n", file=sys.stderr)
    return 1 if results.failed() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
