"""Sample arguments, costs and benchmark rows of attention with narrow heads."""

from typing import Any

import torch
from torch import Tensor

from zoo_kernels._examples import Bench, Case, Cost, Examples, Variant


def _cost(q: Tensor, k: Tensor, v: Tensor) -> Cost:
    moved = 2 * q.numel() + k.numel() + v.numel()
    return Cost(moved * q.element_size(), 4 * q.numel() * k.shape[1])


def _arguments(
    generator: torch.Generator, B: int, N: int, M: int, H: int, d: int
) -> tuple[Tensor, Tensor, Tensor]:
    def draw(n: int) -> Tensor:
        return torch.randn((B, n, H, d), generator=generator)

    return draw(N), draw(M), draw(M)


def _case(name: str, *sizes: int) -> Case:
    def make(generator: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        return tuple(t.to(dtype) for t in _arguments(generator, *sizes))

    return Case(name, make, rows=(0, 1, 2))


def _variant(D: int) -> Variant:
    pointers = {name: "*fp32" for name in ("p_y", "p_q", "p_k", "p_v")}
    sizes = {name: "i32" for name in ("queries", "keys", "heads", "d", "pieces")}
    strides = {a + b: "i64" for a in "qkv" for b in ("b", "n", "h")}
    return Variant(
        "zoo_kernels.narrow_attention._triton:_attention_kernel",
        {**pointers, **sizes, "scale": "fp32", **strides},
        {"D": D, "BN": 32, "BM": 32},
        registers=255,
    )


def narrow_attention() -> Examples:
    return Examples(
        cases=(
            _case("square", 2, 16, 16, 3, 8),
            _case("odd", 3, 7, 37, 2, 5),
            _case("one", 2, 1, 1, 1, 1),
            _case("wide", 1, 18, 33, 2, 32),
        ),
        cost=_cost,
        bench=(
            Bench(
                "16 heads of 8, 256 tokens",
                lambda generator: _arguments(generator, 1, 256, 256, 16, 8),
                {
                    "torch": "peers.narrow_attention:attention",
                    "torch compiled": "peers.narrow_attention:attention_compiled",
                },
            ),
        ),
        variants=(_variant(16), _variant(64)),
    )
