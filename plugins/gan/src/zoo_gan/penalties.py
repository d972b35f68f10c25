r"""Penalties on the slope of a discriminator D, for any differentiable network.

    r1 = 1/2 E |grad D(x)|^2 at real x         (Mescheder et al., 2018, eq. 9)
    r2 = 1/2 E |grad D(x)|^2 at generated x    (the same, eq. 10)
    gradient_penalty = E (|grad D(u)| - 1)^2,  u = t x + (1 - t) G(z),  t ~ U(0, 1)
                                               (Gulrajani et al., 2017, eq. 3)

Each keeps its graph, since the penalty's own gradient trains D: double backward. D must treat the
rows of a batch independently (no batch normalization), or a row's slope is not its own.

Shapes: B batch, S the event's shape; D maps (B, *S) to scores (B,).
"""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["gradient_penalty", "r1", "r2", "slopes"]

_TINY = 1e-12
"""Added to |grad D|^2 under the root, whose own slope is infinite at 0."""


def r1(score: Tensor, real: Tensor) -> Tensor:
    """Half the mean squared slope at real events (B, *S), which require gradients."""
    return 0.5 * slopes(score, real).square().sum(1).mean()


def r2(score: Tensor, fake: Tensor) -> Tensor:
    """Half the mean squared slope at generated events (B, *S), which require gradients."""
    return 0.5 * slopes(score, fake).square().sum(1).mean()


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, t: Tensor
) -> Tensor:
    """How far D's slope is from 1 between pairs of events (B, *S), at parts t (B,) of the way."""
    t = t.to(real.dtype).view(-1, *[1] * (real.ndim - 1))
    u = (t * real + (1 - t) * fake).detach().requires_grad_()
    norm = (slopes(critic(u), u).square().sum(1) + _TINY).sqrt()
    return (norm - 1).square().mean()


def slopes(score: Tensor, x: Tensor) -> Tensor:
    """grad D at x, flat and at least in float32: scores (B,) and events (B, *S) -> (B, D)."""
    (slope,) = torch.autograd.grad(score.sum(), x, create_graph=True)
    return slope.flatten(1).to(torch.promote_types(slope.dtype, torch.float32))
