"""Affine coupling: some channels pass, the others are scaled and shifted by what a network saw.

NICE / RealNVP (Dinh et al., 2017), https://arxiv.org/abs/1605.08803, eqs. 7-8, and Glow (Kingma &
Dhariwal, 2018), https://arxiv.org/abs/1807.03039, table 1. With t, r = params[:, 0], params[:, 1]
and a constant c, for the transformed channels:

    y = s x + t    (RealNVP)        or        y = s (x + t)    (Glow)

    exp      log s = r
    sigmoid  s = sigmoid(r + c)
    tanh     log s = c tanh(r / c)

Shapes: x, y (B, C, *S); params (B, 2, C', *S), C' <= C channels are transformed: the last ones, or
with `first` the first ones; ladj = sum of log s (B,), in float32 unless x is float64.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo_kernels._precision import to_float32

SCALES = ("exp", "sigmoid", "tanh")
ORDERS = ("scale_shift", "shift_scale")


def log_scale(r: Tensor, scale: str, constant: float) -> Tensor:
    if scale == "exp":
        return r
    if scale == "sigmoid":
        return F.logsigmoid(r + constant)
    return constant * torch.tanh(r / constant)


def _slope(r: Tensor, scale: str, constant: float) -> Tensor:
    """d log s / dr."""
    if scale == "exp":
        return torch.ones_like(r)
    if scale == "sigmoid":
        return torch.sigmoid(-(r + constant))
    return 1 - torch.tanh(r / constant) ** 2


def split(x: Tensor, params: Tensor, first: bool) -> tuple[Tensor, Tensor]:
    """(passing, transformed) channels."""
    n = params.shape[2]
    if first:
        return x[:, n:], x[:, :n]
    return x[:, : x.shape[1] - n], x[:, x.shape[1] - n :]


def _join(passing: Tensor, transformed: Tensor, first: bool) -> Tensor:
    return torch.cat([transformed, passing] if first else [passing, transformed], 1)


def forward(
    x: Tensor, params: Tensor, scale: str, order: str, constant: float, first: bool
) -> tuple[Tensor, Tensor]:
    """y and ladj."""
    passing, z = split(to_float32(x), params, first)
    t, r = to_float32(params).unbind(1)
    log_s = log_scale(r, scale, constant)
    z = log_s.exp() * z + t if order == "scale_shift" else log_s.exp() * (z + t)
    return _join(passing, z, first).to(x.dtype), log_s.flatten(1).sum(1)


def inverse(
    y: Tensor, params: Tensor, scale: str, order: str, constant: float, first: bool
) -> tuple[Tensor, Tensor]:
    """x and log |dx/dy|."""
    passing, z = split(to_float32(y), params, first)
    t, r = to_float32(params).unbind(1)
    log_s = log_scale(r, scale, constant)
    z = (z - t) * (-log_s).exp() if order == "scale_shift" else z * (-log_s).exp() - t
    return _join(passing, z, first).to(y.dtype), -log_s.flatten(1).sum(1)


def backward(
    z_in: Tensor,
    params: Tensor,
    grad: Tensor,
    grad_ladj: Tensor,
    scale: str,
    order: str,
    constant: float,
    first: bool,
    is_inverse: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients of the input and params; `grad` is the output's."""
    passing, g = split(to_float32(grad), params, first)
    z = split(to_float32(z_in), params, first)[1]
    t, r = to_float32(params).unbind(1)
    gl = to_float32(grad_ladj).reshape(-1, *[1] * (z.dim() - 1))
    log_s = log_scale(r, scale, constant)
    s = (-log_s).exp() if is_inverse else log_s.exp()
    if is_inverse:
        gz = g * s
        gt = -gz if order == "scale_shift" else -g
        g_log = -gz * (z - t if order == "scale_shift" else z) - gl
    else:
        gz = g * s
        gt = g if order == "scale_shift" else gz
        g_log = gz * (z if order == "scale_shift" else z + t) + gl
    g_params = torch.stack([gt, g_log * _slope(r, scale, constant)], 1)
    # the zeros give the sum the memory layout of params
    g_params = torch.zeros_like(params) + g_params.to(params.dtype)
    return _join(passing, gz, first).to(z_in.dtype), g_params
