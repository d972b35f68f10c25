"""Counter-based random numbers: a function of seed, row, stream, step and element, nothing else.

A row has the same bits whatever batch it is drawn in, on every backend and device (Philox 4x32-10;
Salmon et al., 2011).

    rows = torch.arange(16)                                   # which samples, int64 (B,)
    z = normal(seed, rows, 784, stream=7, step=3)             # (B, 784) float32
    u = uniform(seed, rows, 784, stream=8, step=3)            # in [0, 1), multiples of 2^-24
    w = bits(seed, rows, 784, stream=9, step=3)               # int64 holding uint32

`seed` is any integer in [-2^63, 2^64), taken modulo 2^64; `stream` and `step` are in [0, 2^32) and
name the use and the time step; `offset` (a multiple of 4) skips elements, so that
`normal(..., 8, offset=4)` continues `normal(..., 4)`.
"""

__all__ = ["OPS", "bits", "normal", "uniform"]

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from zoo_kernels import _extension
from zoo_kernels._alloc import alloc
from zoo_kernels._dispatch import lazy
from zoo_kernels._spec import Impl, OpSpec
from zoo_kernels.rng import reference

_UINT32 = 2**32


def bits(
    seed: int, rows: Tensor, numel: int, *, stream: int, step: int, offset: int = 0
) -> Tensor:
    """The Philox words of each row, (B, numel) int64 with values in [0, 2^32).

    `rows` int64 (B,) are the sample indices, in [0, 2^32); `seed`, `stream`, `step` and `offset`
    as above. Raises ValueError, naming the argument, where one is out of its range.
    """
    drawn: Tensor = _BITS(*_checked(seed, rows, numel, stream, step, offset))
    return drawn


def uniform(
    seed: int, rows: Tensor, numel: int, *, stream: int, step: int, offset: int = 0
) -> Tensor:
    """Uniform numbers, (B, numel) float32: the upper 24 bits of `bits`, times 2^-24, in [0, 1).

    Arguments and errors as of `bits`.
    """
    drawn: Tensor = _UNIFORM(*_checked(seed, rows, numel, stream, step, offset))
    return drawn


def normal(
    seed: int, rows: Tensor, numel: int, *, stream: int, step: int, offset: int = 0
) -> Tensor:
    """Standard normals, (B, numel) float32, by Box-Muller from `bits`; |z| is at most 5.77.

    Arguments and errors as of `bits`.
    """
    drawn: Tensor = _NORMAL(*_checked(seed, rows, numel, stream, step, offset))
    return drawn


def _checked(
    seed: int, rows: Tensor, numel: int, stream: int, step: int, offset: int
) -> tuple[Any, ...]:
    if not isinstance(seed, int) or not -(2**63) <= seed < 2**64:
        raise ValueError(f"seed must be an integer in [-2^63, 2^64), not {seed!r}")
    _check_rows(rows)
    for name, value in {"stream": stream, "step": step}.items():
        if not 0 <= value < _UINT32:
            raise ValueError(f"{name} must be an integer in [0, 2^32), not {value!r}")
    if offset < 0 or offset % 4:
        raise ValueError(f"offset must be a non-negative multiple of 4, not {offset!r}")
    if numel < 0 or offset + numel > 4 * _UINT32:
        raise ValueError(f"numel must be in [0, 2^34 - offset], not {numel!r}")
    signed = seed - 2**64 if seed >= 2**63 else seed
    return signed, rows, numel, stream, step, offset


def _check_rows(rows: Tensor) -> None:
    if not isinstance(rows, Tensor) or rows.dtype != torch.int64 or rows.dim() != 1:
        what = f"{rows.dtype} {tuple(rows.shape)}" if isinstance(rows, Tensor) else repr(rows)
        raise ValueError(f"rows must be an int64 tensor of shape (B,), not {what}")
    if torch.compiler.is_compiling() or rows.device.type != "cpu" or not rows.numel():
        return  # no data to look at, or a look that would stall the device
    if rows.min() < 0 or rows.max() >= _UINT32:
        raise ValueError(f"rows must lie in [0, 2^32), not [{rows.min()}, {rows.max()}]")


def _cpp(name: str, dtype: torch.dtype) -> Callable[..., Tensor]:
    def run(seed: int, rows: Tensor, numel: int, stream: int, step: int, offset: int) -> Tensor:
        out = alloc((len(rows), numel), like=rows, dtype=dtype)
        _extension.cpp(name)(out, rows.contiguous(), seed, stream, step, offset)
        return out

    return run


def _spec(name: str, dtype: torch.dtype) -> OpSpec:
    def fake(seed: int, rows: Tensor, numel: int, *counter: int) -> Tensor:
        return rows.new_empty((rows.shape[0], numel), dtype=dtype)

    return OpSpec(
        name=f"rng_{name}",
        schema="(int seed, Tensor rows, SymInt numel, int stream, int step, int offset) -> Tensor",
        reference=getattr(reference, name),
        fake=fake,
        examples=lazy(f"zoo_kernels.rng._cases:{name}"),
        tolerances={dtype: (0.0, 0.0)},
        cpp=Impl(_cpp(f"rng_{name}", dtype), needs=f"rng_{name}"),
        triton=Impl(lazy(f"zoo_kernels.rng._triton:{name}")),
        differentiable=False,
    )


_BITS = _spec("bits", torch.int64)
_UNIFORM = _spec("uniform", torch.float32)
_NORMAL = _spec("normal", torch.float32)
OPS = (_BITS, _UNIFORM, _NORMAL)
