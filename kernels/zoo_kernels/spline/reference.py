"""Monotonic rational-quadratic splines with linear tails.

Neural Spline Flows (Durkan, Bekasov, Murray, Papamakarios, 2019), https://arxiv.org/abs/1906.04032

On [left, right] the spline maps knots (x_k, y_k) with derivatives d_k onto each other, and it is
the identity outside. Within bin k, of width w, height h and slope s = h / w, with
theta = (x - x_k) / w and t = theta (1 - theta) (eqs. 4-8):

    k2 = d_k + d_{k+1} - 2 s        D = s + k2 t        A = s theta^2 + d_k t
    P  = d_{k+1} theta^2 + 2 s t + d_k (1 - theta)^2
    y  = y_k + h A / D              dy/dx = (s / D)^2 P

The 3 K - 1 parameters of an element are the unnormalised widths, heights and inner derivatives;
the outer derivatives are 1, which makes the tails smooth.

Shapes: x, y (B, *E); params (B, *E, 3 K - 1); ladj = sum over E of log |dy/dx| (B,), in float32
unless x is float64.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo_kernels._precision import to_float32


class Bounds(NamedTuple):
    """The interval, and the least sizes of its bins and slopes, the sizes as fractions of it."""

    left: float
    right: float
    min_width: float
    min_height: float
    min_derivative: float

    @property
    def span(self) -> float:
        return self.right - self.left

    def inside(self, x: Tensor) -> Tensor:
        return x.clamp(self.left, self.right)

    def outside(self, x: Tensor) -> Tensor:
        return (x < self.left) | (x > self.right)


@dataclass(frozen=True)
class Bin:
    """The bin of each element: all (B, *E) except the probabilities (B, *E, K)."""

    k: Tensor
    x: Tensor
    w: Tensor
    y: Tensor
    h: Tensor
    d0: Tensor
    d1: Tensor
    sigmoid0: Tensor  # softplus' at the derivatives' parameters, 0 for the outer ones
    sigmoid1: Tensor
    p_w: Tensor
    p_h: Tensor

    @property
    def s(self) -> Tensor:
        return self.h / self.w


def knots(p: Tensor, left: float, right: float, min_size: float) -> Tensor:
    """(..., K + 1) increasing from left to right, no closer than min_size (right - left)."""
    size = (right - left) * (min_size + (1 - min_size * p.shape[-1]) * p)
    inner = left + size.cumsum(-1)[..., :-1]
    ends = [torch.full_like(inner[..., :1], end) for end in (left, right)]
    return torch.cat([ends[0], inner, ends[1]], -1)


def _pick(t: Tensor, k: Tensor) -> Tensor:
    return t.gather(-1, k.unsqueeze(-1)).squeeze(-1)


def find(position: Tensor, params: Tensor, bounds: Bounds, *, inverse: bool) -> Bin:
    """The bin that holds `position`, an x, or a y for the inverse."""
    left, right = bounds.left, bounds.right
    n_bins = (params.shape[-1] + 1) // 3
    u_w, u_h, u_d = params.split([n_bins, n_bins, n_bins - 1], -1)
    p_w, p_h = u_w.softmax(-1), u_h.softmax(-1)
    x, y = knots(p_w, left, right, bounds.min_width), knots(p_h, left, right, bounds.min_height)
    d = F.pad(bounds.min_derivative + F.softplus(u_d), (1, 1), value=1.0)
    sigmoid = F.pad(u_d.sigmoid(), (1, 1))
    edges = (y if inverse else x)[..., 1:-1]
    k = (position.unsqueeze(-1) >= edges).sum(-1)
    return Bin(
        k=k,
        x=_pick(x, k),
        w=_pick(x.diff(dim=-1), k),
        y=_pick(y, k),
        h=_pick(y.diff(dim=-1), k),
        d0=_pick(d, k),
        d1=_pick(d, k + 1),
        sigmoid0=_pick(sigmoid, k),
        sigmoid1=_pick(sigmoid, k + 1),
        p_w=p_w,
        p_h=p_h,
    )


def log_slope(b: Bin, theta: Tensor) -> Tensor:
    """log dy/dx = log((s / D)^2 P)."""
    t = theta * (1 - theta)
    D = b.s + (b.d0 + b.d1 - 2 * b.s) * t
    P = b.d1 * theta**2 + 2 * b.s * t + b.d0 * (1 - theta) ** 2
    return torch.log((b.s / D) ** 2 * P)


def solve(b: Bin, y: Tensor) -> Tensor:
    """theta from y: the root in [0, 1] of a theta^2 + b theta + c (eqs. 29-31), without
    cancellation for either sign of b; the discriminant is clamped at 0."""
    k2 = b.d0 + b.d1 - 2 * b.s
    a = (y - b.y) * k2 + b.h * (b.s - b.d0)
    q = b.h * b.d0 - (y - b.y) * k2
    c = -b.s * (y - b.y)
    root = (q * q - 4 * a * c).clamp(min=1e-30).sqrt()
    rising = q > 0
    theta = torch.where(rising, 2 * c, root - q) / torch.where(rising, -q - root, 2 * a)
    return theta.clamp(0.0, 1.0)


def _row_sum(t: Tensor) -> Tensor:
    return t.flatten(1).sum(1) if t.dim() > 1 else t


def forward(x: Tensor, params: Tensor, *limits: float) -> tuple[Tensor, Tensor]:
    """y and ladj; `limits` are the fields of `Bounds`."""
    bounds = Bounds(*limits)
    wide = to_float32(x)
    outside, inside = bounds.outside(wide), bounds.inside(wide)
    b = find(inside, to_float32(params), bounds, inverse=False)
    theta = (inside - b.x) / b.w
    t = theta * (1 - theta)
    D = b.s + (b.d0 + b.d1 - 2 * b.s) * t
    y = b.y + b.h * (b.s * theta**2 + b.d0 * t) / D
    ladj = torch.where(outside, 0.0, log_slope(b, theta))
    return torch.where(outside, wide, y).to(x.dtype), _row_sum(ladj)


def inverse(y: Tensor, params: Tensor, *limits: float) -> tuple[Tensor, Tensor]:
    """x and log |dx/dy|."""
    bounds = Bounds(*limits)
    wide = to_float32(y)
    outside, inside = bounds.outside(wide), bounds.inside(wide)
    b = find(inside, to_float32(params), bounds, inverse=True)
    theta = solve(b, inside)
    ladj = torch.where(outside, 0.0, -log_slope(b, theta))
    return torch.where(outside, wide, b.x + theta * b.w).to(y.dtype), _row_sum(ladj)


def backward(
    position: Tensor, params: Tensor, grad: Tensor, grad_ladj: Tensor, *options: float
) -> tuple[Tensor, Tensor]:
    """Gradients of position and params; `position` is the input, `grad` that of the output;
    `options` are the fields of `Bounds` and whether it is the inverse that is differentiated.

    Forward: gy = grad, gl = grad_ladj in `_pull_back`. Inverse, with f the forward map and
    L = log f': dx = (dy - f_params dparams) / f' and ladj = -L, so

        gl = -grad_ladj,  gy = -(grad + gl L_x) / f',  grad of y = -gy.
    """
    *limits, is_inverse = options
    bounds = Bounds(*limits)
    wide, gy = to_float32(position), to_float32(grad)
    gl = to_float32(grad_ladj).reshape(-1, *[1] * (wide.dim() - 1)).expand_as(wide)
    outside, inside = bounds.outside(wide), bounds.inside(wide)
    b = find(inside, to_float32(params), bounds, inverse=bool(is_inverse))
    theta = solve(b, inside) if is_inverse else (inside - b.x) / b.w
    if is_inverse:
        gl = -gl
        L_x, _ = _pull_back(b, theta, torch.zeros_like(gl), gl, bounds)
        gy = -(gy + L_x) * torch.exp(-log_slope(b, theta))
    g_x, g_params = _pull_back(b, theta, gy, gl, bounds)
    g_in = torch.where(outside, to_float32(grad), -gy if is_inverse else g_x)
    g_params = torch.where(outside.unsqueeze(-1), 0.0, g_params)
    # the zeros give the sum the memory layout of params
    return g_in.to(position.dtype), torch.zeros_like(params) + g_params.to(params.dtype)


def _pull_back(
    b: Bin, theta: Tensor, gy: Tensor, gl: Tensor, bounds: Bounds
) -> tuple[Tensor, Tensor]:
    """Gradients of x and params from those of y and of log dy/dx, at fixed x."""
    s, d0, d1, n_bins = b.s, b.d0, b.d1, b.p_w.shape[-1]
    t, k2 = theta * (1 - theta), d0 + d1 - 2 * s
    D, A = s + k2 * t, s * theta**2 + d0 * t
    P = d1 * theta**2 + 2 * s * t + d0 * (1 - theta) ** 2
    gA = gy * b.h / D
    gD = -gA * A / D - 2 * gl / D
    gP = gl / P
    g_theta = (
        gA * (2 * s * theta + d0 * (1 - 2 * theta))
        + gD * k2 * (1 - 2 * theta)
        + gP * (2 * d1 * theta + 2 * s * (1 - 2 * theta) - 2 * d0 * (1 - theta))
    )
    gs = gA * theta**2 + gD * (1 - 2 * t) + 2 * gP * t + 2 * gl / s
    gd0, gd1 = (gA + gD) * t + gP * (1 - theta) ** 2, gD * t + gP * theta**2
    gh, gw = gy * A / D + gs / b.w, -(gs * s + g_theta * theta) / b.w
    gx = g_theta / b.w
    span_w = bounds.span * (1 - bounds.min_width * n_bins)
    span_h = bounds.span * (1 - bounds.min_height * n_bins)
    g_w = _softmax_backward(b.p_w, b.k, -gx * span_w, gw * span_w)
    g_h = _softmax_backward(b.p_h, b.k, gy * span_h, gh * span_h)
    inner = torch.arange(n_bins - 1, device=theta.device)
    k = b.k.unsqueeze(-1)
    g_d = torch.where(k == inner + 1, (gd0 * b.sigmoid0).unsqueeze(-1), 0.0)
    g_d = g_d + torch.where(k == inner, (gd1 * b.sigmoid1).unsqueeze(-1), 0.0)
    return gx, torch.cat([g_w, g_h, g_d], -1)


def _softmax_backward(p: Tensor, k: Tensor, g_edge: Tensor, g_size: Tensor) -> Tensor:
    """p_j (g_j - sum p g), where g_j is g_edge before bin k, g_size in it, 0 after it."""
    j = torch.arange(p.shape[-1], device=p.device)
    before, here = j < k.unsqueeze(-1), j == k.unsqueeze(-1)
    g = torch.where(before, g_edge.unsqueeze(-1), 0.0) + torch.where(
        here, g_size.unsqueeze(-1), 0.0
    )
    return p * (g - (p * g).sum(-1, keepdim=True))
