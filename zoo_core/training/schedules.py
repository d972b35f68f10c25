"""Learning-rate schedules: factors of the rate at a fraction u in [0, 1) of the steps.

With f = final, all but the constant one fall from 1 to f. Needs no torch.
"""

import math
from dataclasses import dataclass
from typing import Annotated

from zoo_core.config import Range
from zoo_core.errors import ConfigError

__all__ = ["Constant", "Cosine", "Exponential", "Linear"]

_Fraction = Annotated[float, Range(0, 1)]


@dataclass(frozen=True)
class Constant:
    """1."""

    def __call__(self, u: float) -> float:
        return 1.0


@dataclass(frozen=True)
class Cosine:
    """f + (1 - f) (1 + cos pi u) / 2."""

    final: _Fraction = 0.0

    def __call__(self, u: float) -> float:
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * u)) / 2


@dataclass(frozen=True)
class Linear:
    """1 - (1 - f) u."""

    final: _Fraction = 0.0

    def __call__(self, u: float) -> float:
        return 1 - (1 - self.final) * u


@dataclass(frozen=True)
class Exponential:
    """f^u."""

    final: _Fraction = 0.01

    def __post_init__(self) -> None:
        if self.final == 0:
            raise ConfigError(
                "train.final = 0 cannot be reached by an exponential schedule.",
                hint="set train.final, e.g. 0.01, or train.schedule = 'cosine'",
            )

    def __call__(self, u: float) -> float:
        return float(self.final**u)
