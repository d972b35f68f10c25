"""Log-likelihood of the discretized mixture of logistics.

PixelCNN++ (Salimans, Karpathy, Chen, Kingma, 2017), https://arxiv.org/abs/1701.05517, eqs. 2-3.
Level k of K lies at v = 2 k / (K - 1) - 1. A logistic of mean mu and log scale l gives it the mass
between v - 1 / (K - 1) and v + 1 / (K - 1), the outer levels all that lies beyond. With

    mid = e^-l (v - mu)    delta = 2 e^-l / (K - 1)    a, b = mid + delta / 2, mid - delta / 2

    log(sigmoid(a) - sigmoid(b)) = log sigmoid(a) + log sigmoid(-b) + log(1 - e^-delta)

which never subtracts: the masses add up to 1 without the paper's 1e-12. The mean of channel i is
shifted by tanh(coefficient) v_j of each channel j < i, component by component.

Shapes: x (B, C, *S) levels, C = 1 or 3; params (B, P, *S), P = 3 M or 10 M: M logits, then for
each channel M means, M log scales, (C = 3) M coefficients: 0 on 1, 0 on 2, 1 on 2; log_prob (B,)
in nats, in float32 unless params is float64.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo_kernels._precision import to_float32

MIN_LOG_SCALE = -7.0
MEAN, LOG_SCALE, COEFFICIENT = range(3)
"""The parameters of a component for one channel, in their order in P; as csrc/mixture.h."""


def components(params: Tensor, channels: int) -> int:
    """M, or 0 where P does not fit."""
    each = 3 if channels == 1 else 10
    return params.shape[1] // each if params.shape[1] % each == 0 else 0


def log_series(delta: Tensor, log_delta: Tensor) -> Tensor:
    """log(1 - e^-delta), for small delta as log delta + log(1 - delta / 2 + ...)."""
    small = delta < 0.5
    near = torch.where(small, delta, 0.5).clamp(min=1e-37)  # of huge scales, whose delta is 0
    far = torch.where(small, 0.5, delta)
    return torch.where(small, log_delta + torch.log(-torch.expm1(-near) / near), _log1mexp(far))


def _log1mexp(delta: Tensor) -> Tensor:
    return torch.log1p(-torch.exp(-delta))


def log_mass(v: Tensor, mean: Tensor, log_scale: Tensor, levels: int) -> Tensor:
    """Of one channel: v (B, 1, *S), the others (B, M, *S)."""
    l = log_scale.clamp(min=MIN_LOG_SCALE)
    delta, log_delta = 2 / (levels - 1) * torch.exp(-l), math.log(2 / (levels - 1)) - l
    mid = torch.exp(-l) * (v - mean)
    below = F.logsigmoid(mid + delta / 2)  # log of the mass below the upper edge
    above = F.logsigmoid(delta / 2 - mid)
    between = below + above + log_series(delta, log_delta)
    edge = 1 / (levels - 1)
    return torch.where(v < edge - 1, below, torch.where(v > 1 - edge, above, between))


def log_prob(x: Tensor, params: Tensor, levels: int) -> Tensor:
    """(B,) nats, summed over pixels."""
    p = to_float32(params)
    channels = x.shape[1]
    m = components(params, channels)
    v = x.to(p.dtype) * (2 / (levels - 1)) - 1
    logits, rest = p[:, :m], p[:, m:].unflatten(1, (channels, -1, m))
    total = logits.log_softmax(1)
    for i in range(channels):
        mean = rest[:, i, MEAN]
        for j in range(i):
            mean = mean + torch.tanh(rest[:, i * (i - 1) // 2 + j, COEFFICIENT]) * v[:, j : j + 1]
        total = total + log_mass(v[:, i : i + 1], mean, rest[:, i, LOG_SCALE], levels)
    return total.logsumexp(1, keepdim=True).flatten(1).sum(1)


def backward(x: Tensor, params: Tensor, grad: Tensor, levels: int) -> Tensor:
    """Gradient of params; `grad` (B,) is the log-likelihoods'.

    With r the posterior of the components and pi the prior, d logits = r - pi, and with
    A = sigmoid(-a), B = sigmoid(b) (0 at the outer edges), delta E = delta / (e^delta - 1):

        d mean = -r e^-l (A - B)     d l = -r (mid (A - B) + delta (A + B) / 2 + delta E)
    """
    p = to_float32(params)
    channels = x.shape[1]
    m, spatial = components(params, channels), params.dim() - 2
    g = grad.to(p.dtype).reshape(-1, *[1] * (1 + spatial))
    v = x.to(p.dtype) * (2 / (levels - 1)) - 1
    logits, rest = p[:, :m], p[:, m:].unflatten(1, (channels, -1, m))
    joint = logits.log_softmax(1)
    means = []
    for i in range(channels):
        mean = rest[:, i, MEAN]
        for j in range(i):
            mean = mean + torch.tanh(rest[:, i * (i - 1) // 2 + j, COEFFICIENT]) * v[:, j : j + 1]
        means.append(mean)
        joint = joint + log_mass(v[:, i : i + 1], mean, rest[:, i, LOG_SCALE], levels)
    r = g * joint.softmax(1)
    grads = [[torch.zeros_like(r) for _ in range(rest.shape[2])] for _ in range(channels)]
    for i in range(channels):
        g_mean, grads[i][LOG_SCALE] = _mass_backward(
            r, v[:, i : i + 1], means[i], rest[:, i, LOG_SCALE], levels
        )
        grads[i][MEAN] = g_mean
        for j in range(i):
            k = i * (i - 1) // 2 + j
            slope = 1 - torch.tanh(rest[:, k, COEFFICIENT]) ** 2
            grads[k][COEFFICIENT] = g_mean * v[:, j : j + 1] * slope
    flat = [t for channel in grads for t in channel]
    out = torch.cat([r - g * logits.softmax(1), *flat], 1)
    # the zeros give the sum the memory layout of params
    return torch.zeros_like(params) + out.to(params.dtype)


def _mass_backward(
    r: Tensor, v: Tensor, mean: Tensor, log_scale: Tensor, levels: int
) -> tuple[Tensor, Tensor]:
    l = log_scale.clamp(min=MIN_LOG_SCALE)
    per, edge = torch.exp(-l), 1 / (levels - 1)
    delta, mid = 2 * edge * per, per * (v - mean)
    lowest, highest = v < edge - 1, v > 1 - edge
    A = torch.where(highest, 0.0, torch.sigmoid(-(mid + delta / 2)))
    B = torch.where(lowest, 0.0, torch.sigmoid(mid - delta / 2))
    E = torch.where(delta > 1e-30, delta / torch.expm1(delta.clamp(min=1e-30)), 1.0)
    E = torch.where(lowest | highest | (delta > 80), 0.0, E)
    g_scale = -r * (mid * (A - B) + delta * (A + B) / 2 + E)
    return -r * per * (A - B), torch.where(log_scale < MIN_LOG_SCALE, 0.0, g_scale)
