"""Sample arguments, costs, benchmark rows and compiled variants of the mixture of logistics."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from zoo_kernels._examples import Bench, Case, Cost, Examples, Variant


def _draw(
    shape: tuple[int, ...], m: int, levels: int, scale: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    b, c, *space = shape
    x = torch.randint(levels, shape, generator=generator)
    x.view(-1)[0], x.view(-1)[-1] = 0, levels - 1
    params = scale * torch.randn(b, m * (3 if c == 1 else 10), *space, generator=generator)
    return x, params


def _case(*shape: int, m: int, levels: int, scale: float = 1.0, backward: bool = False) -> Case:
    def make(generator: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        x, params = _draw(shape, m, levels, scale, generator)
        extra = (torch.randn(shape[:1], generator=generator),) if backward else ()
        return x, params.to(dtype), *extra, levels

    name = f"{'x'.join(map(str, shape))}-M{m}-K{levels}-scale{scale:g}"
    return Case(name, make, rows=(0, 1, 2) if backward else (0, 1))


def _cases(*, backward: bool = False) -> tuple[Case, ...]:
    return (
        _case(2, 3, 3, 7, m=2, levels=256, backward=backward),
        _case(1, 1, m=1, levels=2, backward=backward),
        _case(3, 1, 37, m=3, levels=32, scale=3.0, backward=backward),
        _case(2, 3, 5, m=2, levels=65536, scale=8.0, backward=backward),
    )


def _cost_log_prob(x: Tensor, params: Tensor, levels: int) -> Cost:
    return Cost(bytes=params.nbytes + x.nbytes + 4 * len(x), flops=40 * params.numel())


def _cost_backward(x: Tensor, params: Tensor, *rest: Any) -> Cost:
    return Cost(bytes=2 * params.nbytes + x.nbytes + 4 * len(x), flops=80 * params.numel())


def _images(*, backward: bool = False) -> Callable[[torch.Generator], tuple[Any, ...]]:
    def make(generator: torch.Generator) -> tuple[Any, ...]:
        x, params = _draw((16, 3, 32, 32), 10, 256, 1.0, generator)
        return x, params, *[torch.ones(16)] * backward, 256

    return make


_KERNEL = "zoo_kernels.mixture_logistics._triton"
_INTEGERS = {"places": "i32", "blocks": "i32", "sb": "i64", "sp": "i64", "ss": "i64"}
_FLOATS = {"step": "fp32", "log_step": "fp32"}
_CONSTANTS = {"M": 10, "C": 3, "BLOCK": 128}
_POINTERS = {"p_x": "*fp32", "p_params": "*fp32"}


def log_prob() -> Examples:
    return Examples(
        cases=_cases(),
        cost=_cost_log_prob,
        bench=(
            Bench(
                "16x3x32x32 M=10",
                _images(),
                {
                    "pixelcnn++": "peers.mixture_logistics:log_prob",
                    "pixelcnn++ compiled": "peers.mixture_logistics:log_prob_compiled",
                },
            ),
        ),
        variants=(
            Variant(
                f"{_KERNEL}:_log_prob_kernel",
                {"p_out": "*fp32", **_POINTERS, **_INTEGERS, **_FLOATS},
                _CONSTANTS,
                registers=128,
            ),
        ),
    )


def backward() -> Examples:
    return Examples(
        cases=_cases(backward=True),
        cost=_cost_backward,
        variants=(
            Variant(
                f"{_KERNEL}:_backward_kernel",
                {
                    "p_gparams": "*fp32",
                    **_POINTERS,
                    "p_grad": "*fp32",
                    **_INTEGERS,
                    **_FLOATS,
                    "tb": "i64",
                    "tp": "i64",
                    "ts": "i64",
                },
                _CONSTANTS,
                registers=128,
                maxnreg=128,
            ),
        ),
    )
