"""Half precision is a storage format: arithmetic is done in float32, or in float64 if asked."""

from typing import Any

import torch
from torch import Tensor

from zoo_kernels._extension import Support

_HALVES = (torch.float16, torch.bfloat16)


def to_float32(t: Tensor) -> Tensor:
    """t in the precision of its arithmetic: halves as float32, others as they are."""
    return t.float() if t.dtype in _HALVES else t


def not_float64(x: Tensor, *rest: Any) -> Support:
    return x.dtype != torch.float64, "float64 is for the reference"


def only_float32(x: Tensor, *rest: Any) -> Support:
    return x.dtype == torch.float32, f"supports float32, not {x.dtype}"
