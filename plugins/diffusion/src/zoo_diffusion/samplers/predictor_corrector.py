"""The predictor-corrector sampler (Song et al., 2021, algorithm 1): see `PC`.

Shapes: B batch, S the event's shape; x and x_0 are (B, *S).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from zoo_core.plugin import Range
from zoo_diffusion.parameterization import append_dims
from zoo_diffusion.samplers.solver import Solver, Steps
from zoo_diffusion.samplers.table import Denoised, Noise
from zoo_diffusion.samplers.timesteps import Level, Path

__all__ = ["PC"]


@dataclass(frozen=True)
class PC(Solver):
    """Reverse diffusion as the predictor, and `corrections` Langevin steps at each time.

    A Langevin step has the size 2 (snr |z| / |g|)^2 for the score g of y = x / alpha (algorithm
    4). Its norms are those of a row, so that a row does not depend on its batch. At alpha = 0
    there is no y, and nothing to correct. Sizes depend on x: there is no table.
    """

    steps: Steps = 500
    corrections: Annotated[int, Range(0, 1000)] = 1
    snr: Annotated[float, Range(0, 10)] = 0.16

    def loop(self, D: Denoised, x: Tensor, path: Path, z: Noise) -> Iterator[Tensor]:
        draws = self.corrections + 1
        for i, p, q in path.steps():
            for k in range(self.corrections if p.a else 0):
                g, noise = _score(D(x, p)[0], x, p), z(i * draws + k)
                eps = 2 * (self.snr * _norm(noise) / _norm(g)) ** 2
                x = x + p.a * (eps * g + (2 * eps).sqrt() * noise)
            x_0, _ = D(x, p)
            ratio = p.a / q.a
            beta = p.s**2 - (ratio * q.s) ** 2
            x = (q.a * beta * x_0 + ratio * q.s**2 * x) / p.s**2  # x + beta score, to alpha'
            x = x + math.sqrt(beta) * z(i * draws + self.corrections) if q.s else x
            yield x

    def on(self, path: Path, prediction: str) -> None:
        """None: steps depend on x."""


def _score(x_0: Tensor, x: Tensor, p: Level) -> Tensor:
    """The score of y = x / alpha."""
    return p.a * (p.a * x_0 - x) / p.s**2


def _norm(x: Tensor) -> Tensor:
    """|x| of each row, to broadcast with x."""
    return append_dims(x.flatten(1).norm(dim=1), x)
