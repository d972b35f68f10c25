"""Conditioning on observed values y = x_0[mask] (`fixed`).

`moment_matching` (Rozet et al., 2024, MMPS, https://arxiv.org/abs/2405.13712) replaces the
denoiser's estimate x_hat = E[x_0 | x_t] by one that knows y. With A the rows of the mask,

    E[x_0 | x_t, y] ~ x_hat + V A' (A V A' + sigma_y^2)^-1 (y - A x_hat)
    V = Cov[x_0 | x_t] = sigma_t^2 / alpha_t d x_hat / d x_t               (Tweedie's formula)

which is exact for Gaussian data. It serves every solver. The system is solved by `iterations`
steps of conjugate gradients, each a backward pass through the network. One is the default: a
network's V is no covariance, neither symmetric nor positive, and more steps follow its errors.

`replacement` (Song et al., 2021, app. I.2) puts the observed values in place before every step,
with that step's noise. It is cheap and hardly conditions: the other values follow the noisy ones
of their own time alone.

`repaint` (Lugmayr et al., 2022, https://arxiv.org/abs/2201.09865) does so too, with new noise each
time, and takes every step `iterations` times. Between two of them x gets the step's noise back,

    x_t = alpha_t / alpha_s x_s + (sigma_t^2 - (alpha_t / alpha_s sigma_s)^2)^1/2 z

so that hidden and observed values come to agree. A solver that keeps earlier calls takes every
step as its first.

Shapes: B batch, S the event's shape.
"""

import math
from collections.abc import Callable, Iterator
from itertools import count
from typing import Literal

import torch
from torch import Tensor

from zoo_core.plugin import Event, Inpainting, Rng
from zoo_diffusion.parameterization import append_dims
from zoo_diffusion.samplers.table import Denoised, Loop, Noise
from zoo_diffusion.samplers.timesteps import Level, Path

__all__ = ["InpaintingMethod", "Replacement", "posterior_mean", "repaint"]

InpaintingMethod = Literal["moment_matching", "replacement", "repaint"]
_OBSERVATION_NOISE = 1e-3
"""sigma_y^2 as a share of the variance of x_0 given x_t, for data of unit variance."""


class Replacement:
    """Puts observed values in place, with the same noise until it is renewed."""

    def __init__(self, event: Event, rng: Rng, fixed: Inpainting) -> None:
        self.mask, self.observed = fixed.mask, observed_values(event, fixed)
        self.event, self.rng = event, rng
        self.renew(0)

    def renew(self, draw: int) -> None:
        """Draw the noise of the observed values anew."""
        self.eps = self.rng.normal(self.event.shape, stream="known", step=draw)

    def replace(self, x: Tensor, p: Level) -> Tensor:
        """x (B, *S) at level p, with the observed values in place."""
        return torch.where(self.mask, p.a * self.observed + p.s * self.eps, x)


def repaint(loop: Loop, iterations: int, replacement: Replacement) -> Loop:
    """A solver's loop that takes every step so many times, and adds its noise between them."""

    def repeated(D: Denoised, x: Tensor, path: Path, z: Noise) -> Iterator[Tensor]:
        draws = count()
        for _, p, q in path.steps():
            step = path.between(p, q)
            for i in range(iterations):
                if i > 0:
                    ratio = p.a / q.a
                    x = ratio * x + math.sqrt(p.s**2 - (ratio * q.s) ** 2) * z(next(draws))
                replacement.renew(next(draws))
                *_, x = loop(D, x, step, lambda _: z(next(draws)))
            yield x

    return repeated


def observed_values(event: Event, fixed: Inpainting) -> Tensor:
    """y on the network's scale, zero where nothing is observed, (B, *S) float32."""
    values = torch.where(fixed.mask, fixed.observed, torch.zeros_like(fixed.observed))
    return event.to_network(values, torch.float32)


def posterior_mean(
    denoise: Callable[[Tensor], Tensor],
    x: Tensor,
    p: Level,
    y: Tensor,
    mask: Tensor,
    iterations: int,
) -> Tensor:
    """E[x_0 | x_t = x, y] (B, *S) at level p, by the denoiser's own estimate of Cov[x_0 | x_t].

    At alpha = 0, where x_t knows nothing of x_0, it is the denoiser's estimate alone.
    """
    if p.a == 0:
        return denoise(x)
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        x_hat = denoise(x)

    def V(v: Tensor) -> Tensor:
        (product,) = torch.autograd.grad(x_hat, x, v, retain_graph=True)
        return p.s**2 / p.a * product

    var_y = _OBSERVATION_NOISE * p.n**2 / (1 + p.n**2)
    residual = torch.where(mask, y.to(x) - x_hat.detach(), 0.0)
    weights = _conjugate_gradients(lambda v: V(v) * mask + var_y * v, residual, iterations)
    return x_hat.detach() + V(weights)


def _conjugate_gradients(A: Callable[[Tensor], Tensor], b: Tensor, iterations: int) -> Tensor:
    """x (B, *S) with A(x) = b for each row, A positive definite (Hestenes & Stiefel, 1952)."""
    x, r, p = torch.zeros_like(b), b, b
    size = _dot(r, r)
    for _ in range(iterations):
        q = A(p)
        curvature = _dot(p, q)
        going = (curvature > 0) & (size > 0)  # a network's V may not be positive
        step = append_dims(torch.where(going, size / curvature, 0.0), b)
        x, r = x + step * p, r - step * q
        new = _dot(r, r)
        p = r + append_dims(torch.where(going, new / size, 0.0), b) * p
        size = new
    return x


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """(B,)."""
    return (a * b).flatten(1).sum(1)
