"""Sample arguments, costs, benchmark rows and compiled variants of the random numbers."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from zoo_kernels._examples import Bench, Case, Cost, Examples, Variant


def _case(batch: int, numel: int, *, first: int = 0, offset: int = 0) -> Case:
    def make(generator: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        return 2**40 + 11, torch.arange(first, first + batch), numel, 5, 9, offset

    return Case(f"{batch}x{numel}+{offset}", make, rows=(1,))


_CASES = (
    _case(1, 1),
    _case(3, 63, first=2**32 - 3),
    _case(2, 4),
    _case(5, 130, offset=8),
    _case(2, 20_000, offset=4 * (2**32 - 5_000)),
    _case(4, 0),
)


def _images(generator: torch.Generator) -> tuple[Any, ...]:
    return 0, torch.arange(64), 3 * 64 * 64, 0, 0, 0


def _cost(itemsize: int, seed: int, rows: Tensor, numel: int, *counter: int) -> Cost:
    return Cost(bytes=8 * len(rows) + itemsize * len(rows) * numel, flops=0)


def _examples(name: str, dtype: torch.dtype, type_name: str) -> Examples:
    peers = {"torch": f"peers.rng:{name}", "torch compiled": f"peers.rng:{name}_compiled"}
    integers = dict.fromkeys(("seed", "stream", "step", "first"), "i64")
    variant = Variant(
        "zoo_kernels.rng._triton:_draw_kernel",
        {"p_out": f"*{type_name}", "p_rows": "*i64", **integers, "numel": "i32", "pieces": "i32"},
        {"KIND": name, "BLOCK": 256},
        registers=64,
        aligned=("p_out", "p_rows", "numel"),
        deterministic=True,
        fused=11,  # of the two square roots
    )
    return Examples(
        _CASES,
        partial(_cost, dtype.itemsize),
        bench=(Bench("64x3x64x64", _images, peers),),
        variants=(variant,),
    )


def bits() -> Examples:
    return _examples("bits", torch.int64, "i64")


def uniform() -> Examples:
    return _examples("uniform", torch.float32, "fp32")


def normal() -> Examples:
    return _examples("normal", torch.float32, "fp32")
