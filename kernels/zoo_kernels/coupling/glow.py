"""Glow's linear part: y = W (s x + t) at every place is one convolution with W diag(s) and W t.

Glow (Kingma & Dhariwal, 2018), table 1: actnorm and the invertible 1x1 convolution.

Shapes: x, y (B, C, *S); weight (C, C); log_scale, shift (C,); ladj (B,) in nats.
"""

import math

import torch
from torch import Tensor


def _check(x: Tensor, weight: Tensor, log_scale: Tensor, shift: Tensor) -> None:
    if x.dim() < 2:
        raise ValueError(f"x must be (B, C, ...), not {tuple(x.shape)}")
    c = x.shape[1]
    shapes = {"weight": (weight, (c, c)), "log_scale": (log_scale, (c,)), "shift": (shift, (c,))}
    for name, (t, shape) in shapes.items():
        if t.shape != shape:
            raise ValueError(f"{name} must have shape {shape} for x's channels, "
                             f"not {tuple(t.shape)}")  # fmt: skip


def _ladj(x: Tensor, weight: Tensor, log_scale: Tensor, logabsdet: Tensor | None) -> Tensor:
    places = math.prod(x.shape[2:])
    if logabsdet is None:
        logabsdet = torch.linalg.slogdet(weight).logabsdet
    return (places * (log_scale.sum() + logabsdet)).expand(x.shape[0])


def actnorm_conv(
    x: Tensor, weight: Tensor, *, log_scale: Tensor, shift: Tensor, logabsdet: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(y, ladj) of y = weight (exp(log_scale) x + shift); `logabsdet` is that of weight (), where
    it is known, as that of a product of triangular matrices is."""
    _check(x, weight, log_scale, shift)
    folded, bias = weight * log_scale.exp(), weight @ shift
    y = torch.baddbmm(bias[:, None], folded.expand(len(x), -1, -1), x.flatten(2, -1)
                      if x.dim() > 2 else x.unsqueeze(-1))  # fmt: skip
    return y.reshape(x.shape), _ladj(x, weight, log_scale, logabsdet)


def actnorm_conv_inverse(
    y: Tensor, weight: Tensor, *, log_scale: Tensor, shift: Tensor, logabsdet: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(x, ladj) of x = exp(-log_scale) (weight^-1 y - shift), the inverse folded likewise."""
    _check(y, weight, log_scale, shift)
    back = torch.linalg.inv(weight.double()).to(weight.dtype)  # float64: 1x1 kernels grow stiff
    folded = (-log_scale).exp()[:, None] * back
    bias = -(-log_scale).exp() * shift
    x = torch.baddbmm(bias[:, None], folded.expand(len(y), -1, -1), y.flatten(2, -1)
                      if y.dim() > 2 else y.unsqueeze(-1))  # fmt: skip
    return x.reshape(y.shape), -_ladj(y, weight, log_scale, logabsdet)
