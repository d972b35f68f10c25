"""Calls the C++ loop: transposes the weights, pads their widths and lays them end to end."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo_kernels import _extension
from zoo_kernels._alloc import alloc
from zoo_kernels.mlp_sampler.reference import MlpArguments

VECTOR = 16


def _to(t: Tensor, width: int) -> Tensor:
    return F.pad(t, (0, width - t.shape[-1]))


def sample(*args: Any) -> Tensor:
    a = MlpArguments(*args)
    out = alloc(a.x.shape, like=a.x).copy_(a.x)
    if not out.numel():
        return out
    H, outputs = len(a.weights[0]), -(-out.shape[1] // VECTOR) * VECTOR
    lines = -(-H // VECTOR)
    ld = (lines + 1 - lines % 2) * VECTOR  # an odd number of cache lines
    *hidden, last, last_bias = a.weights
    padded = [_to(w.T if w.dim() == 2 else w, ld) for w in hidden]
    padded += [_to(last.T, outputs), _to(last_bias, outputs)]
    _extension.cpp("mlp_sample")(
        out,
        a.table.contiguous(),
        _to(a.modulation, ld).contiguous(),
        torch.cat([w.reshape(-1) for w in padded]),
        a.rows.contiguous(),
        H,
        lines * VECTOR,
        outputs,
        a.seed,
        a.stream,
        a.clip,
        a.noisy,
        a.remember,
    )
    return out
