"""The sampler that was measured to serve weights: the field `sampler` of their `zoo.json`.

    {"name": "unipc", "options": {"steps": 20}, "calls": 20, "coverage": 0.5, "real": 0.7, ...}

A model whose weights have one draws by it, where no sampler is named. What was measured of it is
for people; a program needs the name and the options.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zoo_core.errors import IntegrityError
from zoo_core.reading import shown

__all__ = ["MeasuredSampler"]


@dataclass(frozen=True)
class MeasuredSampler:
    """A sampler's name with its options, and all that is recorded of its measurement."""

    name: str
    options: Mapping[str, Any]
    record: Mapping[str, Any]

    @classmethod
    def from_record(cls, record: Any) -> "MeasuredSampler | None":
        """What `zoo.json` states, or None; raises `IntegrityError` if it names no sampler."""
        match record:
            case None:
                return None
            case {"name": str(name), "options": Mapping() as options}:
                return cls(name, options, record)
        raise IntegrityError(
            f"zoo.json states sampler = {shown(record)}; it must have a `name` and its `options`.",
            hint="write the folder anew, or take the field out",
        )

    def __str__(self) -> str:
        return ", ".join((self.name, *(f"{k}={v}" for k, v in self.options.items())))

    def told(self) -> str | None:
        """Why it is the default: its calls, and the share of real events' coverage that it has."""
        match self.record:
            case {"calls": int(n), "coverage": float(coverage), "real": float(real)} if real > 0:
                share = f"{100 * coverage / real:.0f} % of real events' coverage"
                return f"{self}: fewest calls of the network ({n}) that keep its quality, {share}"
        return None
