"""Calls the C++ loop: transposes the weights, pads their widths and lays them end to end."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo_kernels import _extension
from zoo_kernels._alloc import alloc

VECTOR = 16


def verify(x: Tensor, *rest: Any) -> tuple[bool, str]:
    return x.dtype == torch.float32, f"serves float32, not {x.dtype}"


def _to(t: Tensor, width: int) -> Tensor:
    return F.pad(t, (0, width - t.shape[-1]))


def sample(
    x: Tensor, table: Tensor, modulation: Tensor, weights: list[Tensor], rows: Tensor, seed: int,
    stream: int, clip: float, noisy: bool, remember: bool,
) -> Tensor:  # fmt: skip
    out = alloc(x.shape, like=x).copy_(x)
    if not out.numel():
        return out
    H, outputs = len(weights[0]), -(-x.shape[1] // VECTOR) * VECTOR
    lines = -(-H // VECTOR)
    ld = (lines + 1 - lines % 2) * VECTOR  # an odd number of cache lines
    hidden = [_to(w.T if w.dim() == 2 else w, ld) for w in weights[:-2]]
    last = [_to(weights[-2].T, outputs), _to(weights[-1], outputs)]
    _extension.cpp("mlp_sample")(
        out, table.contiguous(), _to(modulation, ld).contiguous(),
        torch.cat([w.reshape(-1) for w in (*hidden, *last)]), rows.contiguous(),
        H, lines * VECTOR, outputs, seed, stream, clip, noisy, remember,
    )  # fmt: skip
    return out
