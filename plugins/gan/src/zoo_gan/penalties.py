r"""Gradient penalties on a discriminator D, for any differentiable network.

    r1 = 1/2 E |grad D(x)|^2 at real x         (Mescheder et al., 2018, eq. 9)
    r2 = 1/2 E |grad D(x)|^2 at generated x    (the same, eq. 10)
    gradient_penalty = E (|grad D(u)| - 1)^2,  u = t x + (1 - t) G(z),  t ~ U(0, 1)
                                               (Gulrajani et al., 2017, eq. 3)

Each keeps its graph, since training D differentiates the penalty again (double backward). D must
score each event independently of the rest of the batch (no batch normalization); otherwise the
gradient of a score also depends on other events.

Shapes: B batch, S the event's shape; D maps (B, *S) to scores (B,).
"""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["gradient_penalty", "input_gradients", "r1", "r2"]

_EPSILON = 1e-12
"""Added to |grad D|^2 under the square root, whose derivative is infinite at 0."""


def r1(score: Tensor, real: Tensor) -> Tensor:
    """R1: half the mean squared gradient norm at real events (B, *S), which require gradients."""
    return 0.5 * input_gradients(score, real).square().sum(1).mean()


def r2(score: Tensor, fake: Tensor) -> Tensor:
    """R2: half the mean squared gradient norm at generated events (B, *S), requiring gradients."""
    return 0.5 * input_gradients(score, fake).square().sum(1).mean()


def gradient_penalty(
    discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, t: Tensor
) -> Tensor:
    """WGAN-GP's penalty between pairs of events (B, *S), interpolated at weights t (B,) in [0, 1].

    >>> real, fake = torch.ones(2, 3), torch.zeros(2, 3)
    >>> gradient_penalty(lambda x: 3 * x[:, 0], real, fake, torch.rand(2))
    tensor(4.)
    """
    t = t.to(real.dtype).view(-1, *[1] * (real.ndim - 1))
    u = (t * real + (1 - t) * fake).detach().requires_grad_()
    norm = (input_gradients(discriminator(u), u).square().sum(1) + _EPSILON).sqrt()
    return (norm - 1).square().mean()


def input_gradients(score: Tensor, x: Tensor) -> Tensor:
    """grad D(x), flat and at least in float32: scores (B,) and events (B, *S) -> (B, D)."""
    (gradient,) = torch.autograd.grad(score.sum(), x, create_graph=True)
    return gradient.flatten(1).to(torch.promote_types(gradient.dtype, torch.float32))
