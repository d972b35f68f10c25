"""What is wanted of a card with the bandwidth and the tensor cores of an H200, and what came.

A goal is a number of one entry: `ratio/nflows` of `speed.json`'s "spline_forward 64x1536 K=8".
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["GOALS", "Goal", "verdicts"]


@dataclass(frozen=True)
class Goal:
    """At least, or at most, so much of the number at `path` of an entry."""

    piece: str
    entry: str
    path: str
    least: float | None = None
    most: float | None = None

    def found(self, entries: dict[str, Any]) -> float | None:
        """The number, or None where it was not measured."""
        value: Any = entries.get(self.entry)
        for part in self.path.split("/"):
            value = value.get(part) if isinstance(value, dict) else None
        return value if isinstance(value, int | float) else None

    def reached(self, value: float) -> bool:
        low = self.least is None or value >= self.least
        return low and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        bound = f"at least {self.least:g}" if self.least is not None else f"at most {self.most:g}"
        return f"{self.piece}: {self.entry}: {self.path} {bound}"


_SPLINE, _SAMPLER = "64x1536 K=8", "64ch 1+8 layers 28x28"
GOALS = (
    *(
        goal
        for op in ("spline_forward", "spline_inverse")
        for goal in (
            Goal("speed", f"{op} {_SPLINE}", "of_copy", least=0.85),
            Goal("speed", f"{op} {_SPLINE}", "ratio/nflows", least=25),
        )
    ),
    Goal("speed", "denoise_step ddim 64x3x64x64", "of_copy", least=0.9),
    Goal("loop", "launches of a step", "launches", most=1),
    Goal("loop", "launches of a step", "synchronizations", most=0),
    *(
        Goal("speed", f"masked_conv {k} 16x64x28x28 forward+backward", "ratio/dense", least=1.7)
        for k in ("5x5B", "7x7A")
    ),
    Goal("sampler", f"{_SAMPLER} B=64", "ms/triton", most=12),
    Goal("sampler", f"{_SAMPLER} B=64", "ratio/cached reference", least=20),
    Goal("sampler", f"{_SAMPLER} B=64", "ratio/cached reference, captured", least=5),
    Goal("sampler", f"{_SAMPLER} B=2048", "ratio/full_forward_loop", least=1500),
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
