"""The masked convolution as usually written: a dense convolution with a pre-masked weight."""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo_kernels.masked_conv.reference import mask, nhwc

_masked: dict[int, Tensor] = {}


def dense(x: Tensor, w: Tensor, bias: Any, cond: Any, residual: Any, kind: str, groups: int,
          gated: bool) -> Tensor:  # fmt: skip
    """Pre-masked channels-last weight (masking itself is not timed), then the eager epilogue."""
    if id(w) not in _masked:
        _masked[id(w)] = nhwc(torch.where(mask(w, kind, groups, gated), w, 0))
    return _epilogue(F.conv2d(x, _masked[id(w)], bias, padding=w.shape[-1] // 2), cond, residual,
                     gated)  # fmt: skip


def _epilogue(y: Tensor, cond: Tensor | None, residual: Tensor | None, gated: bool) -> Tensor:
    y = y if cond is None else y + cond
    if gated:
        a, b = y.chunk(2, dim=1)
        y = torch.tanh(a) * torch.sigmoid(b)
    return y if residual is None else y + residual


@cache
def _compiled() -> Any:
    return torch.compile(_epilogue)


def dense_compiled(x: Tensor, w: Tensor, bias: Any, cond: Any, residual: Any, kind: str,
                   groups: int, gated: bool) -> Tensor:  # fmt: skip
    """The same convolution with its epilogue by torch.compile."""
    if id(w) not in _masked:
        dense(x, w, bias, cond, residual, kind, groups, gated)
    y = F.conv2d(x, _masked[id(w)], bias, padding=w.shape[-1] // 2)
    return _compiled()(y, cond, residual, gated)
