"""Jacobi sampling of autoregressive flows: all features at once, until they stay where they are.

The inverse of an autoregressive layer is a triangular system (Papamakarios et al., 2017, eq. 3),

    x_i = u_i exp(alpha_i) + mu_i,   (mu_i, alpha_i) = f_i(x_1..x_{i-1})

Iterating all equations in parallel makes x_1..x_k exact after k passes, and all features agree to
a tolerance after far fewer than D (Song et al., 2021, https://arxiv.org/abs/2002.03629).

Shapes: B batch, S the event's shape, D features.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

import torch
from torch import Tensor

from zoo_core.plugin import Range, Rng, check_finite

__all__ = ["IterativeInverse", "Jacobi", "solve"]


@runtime_checkable
class IterativeInverse(Protocol):
    """A flow whose inverse can be found by iteration."""

    def latents(self, rng: Rng) -> Tensor:
        """z (B, D), a draw from the base for each row of `rng`."""
        ...

    def inverse_by_iteration(self, z: Tensor, cond: Tensor | None, tolerance: float) -> Tensor:
        """Continuous x (B, *S) of z (B, D)."""
        ...

    def to_event(self, x: Tensor) -> Tensor:
        """Continuous x as events."""
        ...


@dataclass(frozen=True)
class Jacobi:
    """Draws what the flow's own sampler draws with the same seed, up to `tolerance`.

        model.sample(1, sampler=Jacobi())

    Every layer iterates until no feature moves by more than `tolerance`, relative to the larger of
    1 and its size. Events of integers are rounded after that, so a value that lies as close to the
    edge of its bin may be another one.
    """

    tolerance: Annotated[float, Range(0.0, 1.0, open=True)] = 1e-5

    def __call__(self, model: IterativeInverse, rng: Rng, cond: Tensor | None) -> Tensor:
        """One event per row of `rng`, (B, *S)."""
        x = model.inverse_by_iteration(model.latents(rng), cond, self.tolerance)
        check_finite(x, "x")
        return model.to_event(x)


def solve(
    step: Callable[[Tensor, Tensor], Tensor], x: Tensor, tolerance: float
) -> tuple[Tensor, int]:
    """The x (B, D) with x = step(x, rows), of a triangular step, and the number of passes.

    `rows` are those of the batch that still move; the others have left. D passes are exact.
    """
    x, rows = x.clone(), torch.arange(len(x), device=x.device)
    for k in range(x.shape[1]):
        before = x[rows]
        x[rows] = after = step(before, rows)
        moved = (after - before).abs() > tolerance * after.abs().clamp(min=1)
        rows = rows[moved.any(1)]
        if not len(rows):
            return x, k + 1
    return x, x.shape[1]
