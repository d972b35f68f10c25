"""The goals for a card with the bandwidth and the tensor cores of an H200, and what came of them.

A goal is a number of one entry: `ratio/nflows` of `speed.json`'s "spline_forward 64x1536 K=8".
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["GOALS", "CardGoal", "verdicts"]


@dataclass(frozen=True)
class CardGoal:
    """At least `min`, or at most `max`, of the number at `path` of an entry."""

    piece: str
    entry: str
    path: str
    min: float | None = None
    max: float | None = None

    def found(self, entries: dict[str, Any]) -> float | None:
        """The number, or None where it was not measured."""
        value: Any = entries.get(self.entry)
        for part in self.path.split("/"):
            value = value.get(part) if isinstance(value, dict) else None
        return value if isinstance(value, int | float) else None

    def reached(self, value: float) -> bool:
        low = self.min is None or value >= self.min
        return low and (self.max is None or value <= self.max)

    def __str__(self) -> str:
        bound = f"at least {self.min:g}" if self.min is not None else f"at most {self.max:g}"
        return f"{self.piece}: {self.entry}: {self.path} {bound}"


_SPLINE, _SAMPLER = "64x1536 K=8", "64ch 1+8 layers 28x28"
GOALS = (
    *(
        goal
        for op in ("spline_forward", "spline_inverse")
        for goal in (
            CardGoal("speed", f"{op} {_SPLINE}", "of_copy", min=0.85),
            CardGoal("speed", f"{op} {_SPLINE}", "ratio/nflows", min=25),
        )
    ),
    CardGoal("speed", "denoise_step ddim 64x3x64x64", "of_copy", min=0.9),
    CardGoal("loop", "launches of a step", "launches", max=1),
    CardGoal("loop", "launches of a step", "synchronizations", max=0),
    *(
        CardGoal("speed", f"masked_conv {k} 16x64x28x28 forward+backward", "ratio/dense", min=1.7)
        for k in ("5x5B", "7x7A")
    ),
    CardGoal("sampler", f"{_SAMPLER} B=64", "ms/triton", max=12),
    CardGoal("sampler", f"{_SAMPLER} B=64", "ratio/cached reference", min=20),
    CardGoal("sampler", f"{_SAMPLER} B=64", "ratio/cached reference, captured", min=5),
    CardGoal("sampler", f"{_SAMPLER} B=2048", "ratio/full_forward_loop", min=1500),
)


def verdicts(results: Path) -> Iterator[str]:
    """A line for each goal."""
    for goal in GOALS:
        path = results / f"{goal.piece}.json"
        stored = json.loads(path.read_text()) if path.exists() else {"tiny": True}
        value = None if stored["tiny"] else goal.found(stored["entries"])
        if value is None:
            yield f"{goal}: not measured"
        else:
            yield f"{goal}: {value:.4g}, {'reached' if goal.reached(value) else 'MISSED'}"
