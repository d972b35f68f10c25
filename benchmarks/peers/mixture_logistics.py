"""PixelCNN++'s discretized_mix_logistic_loss as its PyTorch ports write it."""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo_kernels.mixture_logistics.reference import COEFFICIENT, LOG_SCALE, MEAN


def log_prob(x: Tensor, params: Tensor, levels: int) -> Tensor:
    """(B,) with the published guards: 1e-12 and the density where a bin has hardly any mass."""
    m, channels = params.shape[1] // 10, 3
    v = (x.to(params.dtype) * (2 / (levels - 1)) - 1).unsqueeze(2)  # (B, 3, 1, H, W)
    logits, rest = params[:, :m], params[:, m:].unflatten(1, (channels, 3, m))
    means, scales, c = (rest[:, :, kind] for kind in (MEAN, LOG_SCALE, COEFFICIENT))
    scales, c = scales.clamp(min=-7), torch.tanh(c)
    green = means[:, 1] + c[:, 0] * v[:, 0]
    blue = means[:, 2] + c[:, 1] * v[:, 0] + c[:, 2] * v[:, 1]
    centred = v - torch.stack([means[:, 0], green, blue], 1)
    per, half = torch.exp(-scales), 1 / (levels - 1)
    upper, lower, mid = per * (centred + half), per * (centred - half), per * centred
    mass = torch.sigmoid(upper) - torch.sigmoid(lower)
    density = mid - scales - 2 * F.softplus(mid) - torch.log(torch.tensor((levels - 1) / 2))
    inner = torch.where(mass > 1e-5, torch.log(mass.clamp(min=1e-12)), density)
    top = torch.where(v > 0.999, -F.softplus(lower), inner)
    each = torch.where(v < -0.999, upper - F.softplus(upper), top).sum(1)
    return torch.logsumexp(each + F.log_softmax(logits, 1), 1).flatten(1).sum(1)


@cache
def _compiled() -> Any:
    return torch.compile(log_prob)


def log_prob_compiled(*args: Any) -> Tensor:
    return _compiled()(*args)
