"""Times of start-up and of a step of every architecture, in units of a fixed torch workload.

    python tools/times.py OUT.json

Processor time of one thread, the least of several runs, divided by that of the workload measured
just before and after: a slower machine makes both larger. `compare_commits.py` runs this against
the code of two commits; the models are those of this checkout's tests/compat/frozen.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import zoo_core as zoo

MODELS = Path(__file__).parents[1] / "tests" / "compat" / "frozen" / "models"
BATCH, SECONDS, LEAST = 64, 0.3, 3
"""Events of a step; how long each is repeated, and how often at least."""
STARTS = {
    "import zoo_core": ("-c", "import zoo_core"),
    "zoo list": ("-m", "zoo_core", "list"),
    "zoo info": ("-m", "zoo_core", "info", "made.digits"),
    "zoo sample": ("-m", "zoo_core", "sample", str(MODELS / "made"), "--out", "x.npz"),
}
STARTED = 3


def workload() -> float:
    """Seconds of matrix products, convolutions and small operations that never change."""
    generator = torch.Generator().manual_seed(0)
    a, x = (torch.randn(shape, generator=generator) for shape in ((256, 256), (8, 16, 24, 24)))
    w = torch.randn(16, 16, 3, 3, generator=generator)

    def once() -> None:
        for _ in range(10):
            a @ a
            torch.nn.functional.conv2d(x, w, padding=1)
        y = a
        for _ in range(100):
            y = torch.tanh(y[:32] + 1)

    return least(once)


def least(call: Callable[[], object]) -> float:
    """The least processor time of a call, after one that does not count."""
    call()
    spent: list[float] = []
    while len(spent) < LEAST or sum(spent) < SECONDS:
        start = time.process_time()
        call()
        spent.append(time.process_time() - start)
    return min(spent)


def started(arguments: tuple[str, ...], folder: str) -> float:
    """The least processor time of a child process."""
    spent = []
    for _ in range(STARTED):
        before = _of_children()
        subprocess.run(
            [sys.executable, *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL
        )
        spent.append(_of_children() - before)
    return min(spent)


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def calls(name: str) -> Iterator[tuple[str, Callable[[], object]]]:
    """What is timed of a model: a training step, log-likelihoods and samples of 64 events."""
    model = zoo.load(str(MODELS / name), progress=False)
    event, condition = model.event, model.condition
    generator = torch.Generator().manual_seed(0)
    shape = (BATCH, *event.shape)
    x = torch.rand(shape, generator=generator)
    if event.levels is not None:
        x = torch.randint(event.levels, shape, generator=generator)
    cond = None
    if condition.classes is not None:
        cond = torch.randint(condition.classes, (BATCH,), generator=generator)
    yield "sample", lambda: model.sample(BATCH, seed=0, cond=cond)
    if model.spec.default_likelihood is not None:
        yield "log-likelihood", lambda: model.log_likelihood(x, seed=0, cond=cond)
    yield "training step", lambda: step(model.train(), x, cond)


def step(model: zoo.GenerativeModel, x: torch.Tensor, cond: torch.Tensor | None) -> None:
    """A backward pass for each player; the optimizer is torch's and is not timed."""
    for player in model.players().values():
        model.zero_grad()
        player.loss((x, cond), zoo.Rng(0, torch.arange(len(x))), 0).total.backward()


@contextmanager
def alone() -> Iterator[str]:
    """A user who has nothing, and an empty folder."""
    with TemporaryDirectory() as folder:
        os.environ |= {"XDG_CONFIG_HOME": folder, "ZOO_CACHE": folder, "OMP_NUM_THREADS": "1"}
        yield folder


def measured() -> dict[str, float]:
    """Times by what was timed, in units of the workload."""
    found: dict[str, float] = {}

    def keep(what: str, seconds: Callable[[], float]) -> None:
        before = workload()
        spent = seconds()
        found[what] = spent / ((before + workload()) / 2)

    with alone() as folder:
        for what, arguments in STARTS.items():
            keep(what, lambda arguments=arguments: started(arguments, folder))
        for path in sorted(MODELS.iterdir()):
            if known(path):
                for what, call in calls(path.name):
                    keep(f"{path.name}: {what}", lambda call=call: least(call))
    return found


def known(path: Path) -> bool:
    """Whether a plugin of here made the model: those of frozen plugins are not timed."""
    arch = json.loads((path / "zoo.json").read_text())["arch"]
    return arch in zoo.list_models(arch)


if __name__ == "__main__":
    torch.set_num_threads(1)
    Path(sys.argv[1]).write_text(json.dumps(measured(), indent=1) + "\n")
