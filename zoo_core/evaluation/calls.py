"""Sample quality against the number of calls of the network, so that samplers of few steps and of
many are compared at the same cost.

Every model draws the same numbers of steps by one sampler each; what is compared is the calls,
which are counted, since a step may take several.
"""

import dataclasses
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zoo_core.catalog import components
from zoo_core.contracts import Sampler, VariesSteps
from zoo_core.evaluation.features import to_event
from zoo_core.evaluation.quality import Quality, SampleQuality
from zoo_core.evaluation.speed import counted_calls
from zoo_core.model import GenerativeModel

__all__ = ["HEADER", "QualityAtCalls", "points_of", "quality_by_calls", "rows", "with_steps"]

HEADER = ("model", "sampler", "steps", "calls", "Frechet", "precision", "coverage")
_SCORES = ("frechet", "precision", "coverage")


@dataclass(frozen=True, eq=False)
class QualityAtCalls:
    """The quality of the draws of one sampler; `steps` is None if it has no number of them."""

    sampler: str
    steps: int | None
    calls: int | None
    quality: list[Quality]

    def headline(self) -> dict[str, Quality]:
        """The scores on the first features, by name."""
        return {q.score: q for q in self.quality if q.features == self.quality[0].features}

    def record(self) -> dict[str, Any]:
        """The JSON form."""
        return {**vars(self), "quality": [q.record() for q in self.quality]}


def quality_by_calls(
    model: GenerativeModel, protocol: SampleQuality, steps: Sequence[int], *, seed: int = 0
) -> list[QualityAtCalls]:
    """The quality of a model's draws with each number of steps, in their order.

    The sampler is the model's own. One that has no steps draws once.
    """
    own = components.sampler(model, None, {}, protocol.n)
    draws: list[tuple[int | None, Sampler]] = [
        (n, draw) for n in dict.fromkeys(steps) if (draw := with_steps(own, model, n))
    ]
    return [_measured(model, protocol, *case, seed) for case in draws or [(None, own)]]


def with_steps(draw: Sampler, model: GenerativeModel, steps: int) -> Sampler | None:
    """The sampler with so many steps; None if it has no such option."""
    if isinstance(draw, VariesSteps):
        return draw.with_steps(model, steps)
    if dataclasses.is_dataclass(draw) and "steps" in {f.name for f in dataclasses.fields(draw)}:
        return dataclasses.replace(draw, steps=steps)
    return None


def rows(curves: Sequence[tuple[str, Sequence[QualityAtCalls]]]) -> list[tuple[str, ...]]:
    """The cells of a table below `HEADER`."""
    return [
        (
            name,
            point.sampler,
            "-" if point.steps is None else str(point.steps),
            "-" if point.calls is None else str(point.calls),
            *(_cell(point.headline().get(score)) for score in _SCORES),
        )
        for name, points in curves
        for point in points
    ]


def points_of(points: Sequence[QualityAtCalls], score: str) -> list[tuple[int, Quality]]:
    """(calls, a score) of the points whose calls were counted, by their number."""
    found = [(p.calls, p.headline().get(score)) for p in points]
    counted = [(n, q) for n, q in found if n is not None and q is not None]
    return sorted(counted, key=lambda pair: pair[0])


def _measured(
    model: GenerativeModel, protocol: SampleQuality, steps: int | None, draw: Sampler, seed: int
) -> QualityAtCalls:
    cond = protocol.classes
    x = model.sample(protocol.n, sampler=draw, cond=cond, seed=seed, device="cpu")
    traced = {"trace": _ignore} if "trace" in inspect.signature(draw.__call__).parameters else {}
    one = None if cond is None else cond[:1]
    calls = counted_calls(model, sampler=draw, cond=one, seed=seed, **traced)
    scores = protocol(to_event(x, model.event, protocol.data.event))
    return QualityAtCalls(type(draw).__name__, steps, calls, scores)


def _ignore(step: int, x: Any) -> None:
    """A trace, with which a sampler calls the network as a module, so that calls are counted."""


def _cell(q: Quality | None) -> str:
    return "-" if q is None else f"{q.value.value:.3g} (real {q.real.value:.3g})"
