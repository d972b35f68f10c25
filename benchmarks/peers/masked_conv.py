"""The masked convolution as usually written: a dense convolution with a masked weight.

Without gradients the mask is applied beforehand and costs nothing; with them it is part of each
call, as in training. Weight and image are channels-last, oneDNN's faster format.
"""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo_kernels.masked_conv.reference import mask, nhwc

_made: dict[int, tuple[Tensor, Tensor, Tensor]] = {}  # by id: the weight itself, so that it lives


def _weight(w: Tensor, kind: str, groups: int, gated: bool) -> Tensor:
    if id(w) not in _made:
        alive = nhwc(mask(w, kind, groups, gated).to(w).expand_as(w))
        _made[id(w)] = w, alive, nhwc(w.detach() * alive)
    _, alive, masked = _made[id(w)]
    return w * alive if torch.is_grad_enabled() else masked


def _conv(x: Tensor, w: Tensor, bias: Any, cond: Any, residual: Any, gated: bool) -> Tensor:
    y = F.conv2d(x, w, bias, padding=w.shape[-1] // 2)
    y = y if cond is None else y + cond
    if gated:
        a, b = y.chunk(2, dim=1)
        y = torch.tanh(a) * torch.sigmoid(b)
    return y if residual is None else y + residual


def dense(x: Tensor, w: Tensor, bias: Any, cond: Any, residual: Any, kind: str, groups: int,
          gated: bool) -> Tensor:  # fmt: skip
    return _conv(x, _weight(w, kind, groups, gated), bias, cond, residual, gated)


@cache
def _compiled() -> Any:
    return torch.compile(_conv, dynamic=False)


def dense_compiled(x: Tensor, w: Tensor, bias: Any, cond: Any, residual: Any, kind: str,
                   groups: int, gated: bool) -> Tensor:  # fmt: skip
    y: Tensor = _compiled()(x, _weight(w, kind, groups, gated), bias, cond, residual, gated)
    return y
