"""What tests and benchmarks know of an op: sample arguments, costs, timed rows, compiled variants.

Each op states its own in `<op>/_cases.py`, which no call of the op imports.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

__all__ = ["Bench", "Case", "Cost", "Examples", "Variant", "positions"]


@dataclass(frozen=True)
class Cost:
    """What a call must do at least: bytes moved (each input read once, each output written
    once) and floating-point operations."""

    bytes: int
    flops: int


@dataclass(frozen=True)
class Case:
    """Sample arguments: `make(generator, dtype)` -> args. `rows` are the positions of the tensor
    arguments whose dimension 0 is the batch; the outputs' dimension 0 is then the batch too."""

    name: str
    make: Callable[[torch.Generator, torch.dtype], tuple[Any, ...]]
    rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class Bench:
    """A benchmark row: arguments and named peers, `"module:function"` called with them. With
    `backward` the gradients of the summed outputs are part of the time, of a peer's as well."""

    name: str
    make: Callable[[torch.Generator], tuple[Any, ...]]
    peers: Mapping[str, str] = field(default_factory=dict)
    backward: bool = False


@dataclass(frozen=True)
class Variant:
    """One ahead-of-time compilation of a Triton kernel `"module:kernel"`.

    `signature` maps argument names to Triton types ("*fp32", "i32", ...); pointers and the
    integers named in `aligned` are compiled as divisible by 16. `deterministic` forbids fused
    multiply-add except for `fused` instructions (of square roots and divisions); `tensor_cores`
    and `vector_loads` demand their instructions. `registers` is the most a thread may take, and
    `stack` the bytes it may reserve: 0 unless the op says why. None may spill. `maxnreg` is the
    register limit that the launch states.
    """

    kernel: str
    signature: Mapping[str, str]
    constexprs: Mapping[str, Any]
    registers: int
    warps: int = 4
    stages: int = 2
    aligned: tuple[str, ...] = ()
    deterministic: bool = False
    fused: int = 0
    stack: int = 0
    maxnreg: int | None = None
    tensor_cores: bool = False
    vector_loads: bool = False


@dataclass(frozen=True)
class Examples:
    """All of these for one op; `cost(*args)` is that of a call."""

    cases: Sequence[Case]
    cost: Callable[..., Cost]
    bench: Sequence[Bench] = ()
    variants: Sequence[Variant] = ()


def positions(arguments: Any, *names: str) -> tuple[int, ...]:
    """Where a named tuple of arguments has the fields `names`."""
    return tuple(i for i, name in enumerate(arguments._fields) if name in names)
