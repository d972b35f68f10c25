"""Preconditionings: D(x; sigma) = c_skip x + c_out F(c_in x; c_noise) (table 1 of EDM).

    edm   s_d^2 / (sigma^2 + s_d^2)   sigma s_d / sqrt(sigma^2 + s_d^2)   1 / sqrt(sigma^2 + s_d^2)
          log(sigma) / 4
    vp    1   -sigma   1 / sqrt(sigma^2 + 1)   (M - 1) t(sigma)
    ve    1    sigma   1                       log(sigma / 2)

with t(sigma) the inverse of sigma(t)^2 = exp(b_d t^2 / 2 + b_min t) - 1, b_d = 19.9, b_min = 0.1
and M = 1000. The denoising error is weighted by lambda = 1 / c_out^2.

Karras et al., 2022, https://arxiv.org/abs/2206.00364; vp and ve are of Song et al., 2021.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from zoo_diffusion.networks import fourier_features

__all__ = [
    "PRECONDITIONINGS",
    "Coefficients",
    "Preconditioning",
    "from_least_noise",
    "loss_weight",
    "preconditioned",
    "vp_sigma",
]

Preconditioning = Literal["edm", "vp", "ve"]

_B_D, _B_MIN, _M = 19.9, 0.1, 1000


class Coefficients(NamedTuple):
    """The coefficients at sigma, each of sigma's shape."""

    c_skip: Tensor
    c_out: Tensor
    c_in: Tensor
    c_noise: Tensor


def _edm(sigma: Tensor, s_d: float) -> Coefficients:
    total = sigma.square() + s_d**2
    return Coefficients(
        s_d**2 / total, sigma * s_d / total.sqrt(), 1 / total.sqrt(), sigma.log() / 4
    )


def _vp(sigma: Tensor, s_d: float) -> Coefficients:
    log_total = sigma.square().log1p()  # log(sigma^2 + 1) = b_d t^2 / 2 + b_min t
    t = ((_B_MIN**2 + 2 * _B_D * log_total).sqrt() - _B_MIN) / _B_D
    return Coefficients(torch.ones_like(sigma), -sigma, (-log_total / 2).exp(), (_M - 1) * t)


def _ve(sigma: Tensor, s_d: float) -> Coefficients:
    one = torch.ones_like(sigma)
    return Coefficients(one, sigma, one, (sigma / 2).log())


def from_least_noise(sigma: Tensor, s_d: float, sigma_min: float) -> Coefficients:
    """Those of EDM, but for c_skip = 1 and c_out = 0 at sigma_min: f(x; sigma_min) = x.

    The boundary condition of consistency models (Song et al., 2023, app. C).
    """
    beyond = sigma - sigma_min
    _, _, c_in, c_noise = _edm(sigma, s_d)
    return Coefficients(s_d**2 / (beyond.square() + s_d**2), beyond * s_d * c_in, c_in, c_noise)


def preconditioned(
    network: Callable[..., Tensor],
    x: Tensor,
    coefficients: Coefficients,
    label: Tensor | None,
    *,
    time_scale: float,
    fourier: tuple[int, ...],
    dtype: torch.dtype,
) -> Tensor:
    """c_skip x + c_out F(c_in x; c_noise), (B, *S), of a network F of `dtype` with labels.

    F takes `time_scale` c_noise as its time, and Fourier features of x beside c_in x.
    """
    c_skip, c_out, c_in, c_noise = coefficients
    features = fourier_features(x, fourier)[:, x.shape[1] :]
    time = (time_scale * c_noise.flatten()).to(torch.promote_types(dtype, torch.float32))
    F_x = network(torch.cat((c_in * x, features), 1).to(dtype), time, label)
    return c_skip * x + c_out * F_x.to(x.dtype)


def loss_weight(kind: Preconditioning, sigma: Tensor, s_d: float) -> Tensor:
    """lambda = 1 / c_out^2."""
    if kind == "edm":
        return (sigma.square() + s_d**2) / (sigma * s_d).square()
    return 1 / sigma.square()


def vp_sigma(t: float) -> float:
    """sigma(t) of the variance-preserving SDE."""
    return math.sqrt(math.expm1(_B_D * t**2 / 2 + _B_MIN * t))


PRECONDITIONINGS: dict[Preconditioning, Callable[[Tensor, float], Coefficients]] = {
    "edm": _edm,
    "vp": _vp,
    "ve": _ve,
}
"""The coefficients at sigma, for data of standard deviation s_d."""
