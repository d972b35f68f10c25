"""Rows of whole models, one file a family: benchmarks/models/<family>.py is found by its place.

    from models import Bench, Call, Goal, compiled

    PACKAGES = ("nflows",)                       # whose versions the rows record

    def ours() -> Call:                          # builds, and returns what is timed
        model, x = flow(), images()
        return lambda: model.log_likelihood(x).nats

    def nflows() -> Call:                        # imports its package inside
        ...

    BENCHES = (Bench("log_prob 256x784", {"ours": ours, "nflows": nflows,
                     "nflows compiled": compiled(nflows)}, equal={"nflows": 1e-4}),)
    GOALS = (Goal("flows", "log_prob 256x784", "nflows", 3, best=1.5),)

The first contestant is ours. A peer "x compiled" is the second baseline of "x", and every peer of
a goal has one. A peer whose package is missing is left out, with the reason on stderr. What is
built is on `device()`: benchmarks/gpu/gpu_models.py runs the same rows on a card.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from contest import Call, Row, compete, machine
from goals import Goal

__all__ = ["Bench", "Build", "Call", "Goal", "compiled", "device", "families", "on", "rows"]

Build = Callable[[], Call]


_DEVICE = ContextVar("device", default="cpu")


def device() -> str:
    """Where contestants are built."""
    return _DEVICE.get()


@contextmanager
def on(name: str) -> Iterator[None]:
    """Inside, contestants are built on this device."""
    token = _DEVICE.set(name)
    try:
        yield
    finally:
        _DEVICE.reset(token)


@dataclass(frozen=True)
class Bench:
    """A row: builders of what is timed, ours first. Outputs of the peers in `equal` must be within
    its relative distance of ours. `scale` multiplies the times of those that do a part of the
    work; `memory` counts what a call (a train step) saves for its backward pass. `unless` gives
    the reason for which a row is left out on this machine, or nothing."""

    name: str
    contestants: Mapping[str, Build]
    equal: Mapping[str, float] = field(default_factory=dict)
    scale: Mapping[str, float] = field(default_factory=dict)
    memory: bool = False
    unless: Callable[[], str] = str


def compiled(build: Build, **options: Any) -> Build:
    """The contestant by torch.compile with static shapes (`options` go to torch.compile)."""

    @wraps(build)
    def build_compiled() -> Call:
        call: Call = torch.compile(build(), dynamic=False, **options)
        return call

    return build_compiled


def _late(build: Build) -> Call:
    """Built when it is first called, so that a missing peer loses only its own column."""
    built: list[Call] = []

    def call() -> Any:
        if not built:
            built.append(build())
        return built[0]()

    return call


def families() -> dict[str, ModuleType]:
    """The modules of this folder by name."""
    names = sorted(p.stem for p in Path(__file__).parent.glob("[!_]*.py"))
    return {name: import_module(f"models.{name}") for name in names}


def row(family: str, bench: Bench, rounds: int, packages: tuple[str, ...]) -> Row:
    ours = next(iter(bench.contestants))
    timed = compete(
        {name: _late(build) for name, build in bench.contestants.items()}, like=ours,
        equal=bench.equal, rounds=rounds, scale=bench.scale, memory=bench.memory,
    )  # fmt: skip
    return {"op": family, "case": bench.name, **timed, **machine(packages)}


def rows(family: str, case: str, rounds: int) -> Iterator[Row]:
    module = families()[family]
    for bench in module.BENCHES:
        if case not in bench.name:
            continue
        if reason := bench.unless():
            print(f"without {family} {bench.name}: {reason}", file=sys.stderr)
        else:
            yield row(family, bench, rounds, module.PACKAGES)
