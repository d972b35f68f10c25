"""Sample arguments, costs, benchmark rows and compiled variants of the masked convolution."""

from typing import Any

import torch
from torch import Tensor

from zoo_kernels._examples import Bench, Case, Cost, Examples, Variant, positions
from zoo_kernels.masked_conv import reference
from zoo_kernels.masked_conv.reference import ConvArguments, ConvBackwardArguments


def _case(
    name: str,
    batch: int,
    size: tuple[int, int],
    inputs: int,
    outputs: int,
    k: int,
    kind: str,
    *,
    groups: int = 1,
    gated: bool = False,
    cond: str = "",
) -> Case:
    def make(generator: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        def normal(*shape: int, scale: float = 1.0) -> Tensor:
            return (torch.randn(shape, generator=generator) * scale).to(dtype)

        x = normal(batch, inputs, *size)
        w = normal(outputs, inputs, k, k, scale=(inputs * k * k) ** -0.5)
        bias = normal(outputs)
        add = {"map": size, "image": (1, 1)}.get(cond)
        extra = None if add is None else normal(batch, outputs, *add)
        residual = normal(batch, outputs // 2 if gated else outputs, *size) if cond else None
        arguments = ConvArguments(
            x=x,
            w=w,
            bias=bias,
            cond=extra,
            residual=residual,
            kind=kind,
            groups=groups,
            gated=gated,
        )
        return tuple(arguments)

    batched = ["x"] + ["cond", "residual"] * bool(cond)
    return Case(name, make, positions(ConvArguments, *batched))


def _case_backward(name: str, forward: Case) -> Case:
    def make(generator: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        args = forward.make(generator, dtype)
        (y, pre), a = reference.masked_conv(*args), ConvArguments(*args)
        arguments = ConvBackwardArguments(
            grad=torch.randn(y.shape, generator=generator).to(dtype),
            x=a.x,
            w=a.w,
            pre=pre,
            kind=a.kind,
            groups=a.groups,
            gated=a.gated,
            need_x=True,
        )
        return tuple(arguments)

    return Case(name, make)


_CASES = (
    _case("5B-gated", 2, (5, 6), 6, 12, 5, "B", groups=3, gated=True, cond="map"),
    _case("3B", 3, (4, 7), 5, 3, 3, "B"),
    _case("7A", 1, (9, 8), 1, 7, 7, "A"),
    _case("7A-gated", 2, (3, 3), 3, 38, 7, "A", groups=3, gated=True, cond="image"),
    _case("one-pixel", 4, (1, 1), 2, 4, 5, "B", gated=True),
    _case("wide", 1, (2, 40), 17, 66, 3, "B", gated=True, cond="map"),
)


def _flops(x: Tensor, w: Tensor, kind: str) -> int:
    k = w.shape[-1]
    taps = k * k // 2 + (kind == "B")
    return 2 * taps * w.shape[0] * w.shape[1] * x.shape[0] * x.shape[2] * x.shape[3]


def _cost(*args: Any) -> Cost:
    a = ConvArguments(*args)
    pixels, o = a.x.numel() // max(a.x.shape[1], 1), a.w.shape[0]
    read = sum(t.numel() for t in (a.x, a.w, a.bias, a.cond, a.residual) if t is not None)
    moved = (read + pixels * (o // 2 if a.gated else o)) * a.x.element_size()
    return Cost(moved, _flops(a.x, a.w, a.kind))


def _cost_backward(*args: Any) -> Cost:
    a = ConvBackwardArguments(*args)
    moved = a.grad.numel() + 2 * (a.x.numel() + a.w.numel() + a.pre.numel())
    return Cost(moved * a.x.element_size(), (1 + a.need_x) * _flops(a.x, a.w, a.kind))


_PEERS = {"dense": "peers.masked_conv:dense", "dense compiled": "peers.masked_conv:dense_compiled"}


def _bench(k: int, kind: str, gated: bool, backward: bool) -> Bench:
    def make(generator: torch.Generator) -> tuple[Any, ...]:
        case = _case("", 16, (28, 28), 64, 128, k, kind, gated=gated, cond="map" * gated)
        a = ConvArguments(*case.make(generator, torch.float32))
        return tuple(a._replace(x=reference.nhwc(a.x), w=reference.nhwc(a.w)))

    name = f"{k}x{k}{kind}{' gated' * gated} 16x64x28x28{' forward+backward' * backward}"
    return Bench(name, make, _PEERS, backward=backward)


def _variant(kernel: str, dtype: str, registers: int, warps: int, **constants: Any) -> Variant:
    """64 -> 2 x 64 channels, the usual layer."""
    pointers = {
        "_conv_kernel": ("p_x", "p_w", "p_bias", "p_cond", "p_residual", "p_y", "p_pre"),
        "_weight_grad_kernel": ("p_x", "p_grad", "p_out"),
        "_gate_backward_kernel": ("p_out", "p_pre", "p_grad"),
    }[kernel]
    integers = {
        "_conv_kernel": ("pixels", "height", "width", "channels", "outputs", "taps"),
        "_weight_grad_kernel": (
            "pixels",
            "height",
            "width",
            "channels",
            "outputs",
            "taps",
            "per_part",
        ),
        "_gate_backward_kernel": ("numel", "channels"),
    }[kernel]
    signature = dict.fromkeys(pointers, f"*{dtype}") | dict.fromkeys(integers, "i32")
    if kernel == "_weight_grad_kernel":
        signature["p_out"] = "*fp32"
    product = kernel != "_gate_backward_kernel"
    if product:
        constants = {"BK": 64, "BN": 64, "PRECISION": "tf32x3", "UPCAST": False} | constants
    even = tuple(n for n in integers if n in ("channels", "outputs", "numel"))
    return Variant(
        f"zoo_kernels.masked_conv._triton:{kernel}",
        signature,
        constants,
        registers,
        warps=warps,
        stages=2 if dtype == "fp32" else 3,
        aligned=pointers + even,
        tensor_cores=product,
        vector_loads=not product,
    )


_EPILOGUE = {"K": 5, "SIGN": 1, "GATED": True, "BIAS": True, "COND": "map", "RESIDUAL": True}
_MIRRORED = {"K": 5, "SIGN": -1, "GATED": False, "BIAS": False, "COND": "none", "RESIDUAL": False}


def masked_conv() -> Examples:
    return Examples(
        cases=_CASES,
        cost=_cost,
        bench=tuple(
            _bench(k, kind, gated, backward)
            for backward in (False, True)
            for k, kind, gated in [
                (3, "B", False),
                (5, "B", False),
                (7, "A", False),
                (5, "B", True),
            ]
        ),
        variants=(
            _variant("_conv_kernel", "bf16", 200, 8, BM=128, **_EPILOGUE),
            _variant("_conv_kernel", "fp32", 250, 4, BM=64, BN=32, BK=32, **_EPILOGUE),
        ),
    )


def backward() -> Examples:
    return Examples(
        cases=tuple(_case_backward(case.name, case) for case in _CASES[:4]),
        cost=_cost_backward,
        variants=(
            _variant("_conv_kernel", "bf16", 136, 8, BM=128, **_MIRRORED),
            _variant("_weight_grad_kernel", "bf16", 128, 4, K=5, BM=64),
            _variant("_gate_backward_kernel", "bf16", 64, 4, BLOCK=1024),
        ),
    )
