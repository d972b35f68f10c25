"""Masked convolution of an autoregressive image model, with bias, condition, gate and residual.

    y = masked_conv(x, w, bias, kind="B", groups=3, gated=True, cond=link, residual=x)

Equations, mask and shapes: `reference.py`. Only live taps are computed; results are channels-last.
float32 runs in C++ on the CPU; float32, bfloat16 and float16 in Triton. Forward and backward; the
backward pass keeps x, w and the pre-activation.
"""

__all__ = ["OPS", "masked_conv"]

from typing import Any

import torch
from torch import Tensor

from zoo_kernels._dispatch import lazy
from zoo_kernels._spec import Bench, Case, Cost, Derivative, Impl, OpSpec, Variant
from zoo_kernels.masked_conv import _cpp, reference


def masked_conv(
    x: Tensor,
    w: Tensor,
    bias: Tensor | None = None,
    *,
    kind: str = "B",
    groups: int = 1,
    gated: bool = False,
    cond: Tensor | None = None,
    residual: Tensor | None = None,
) -> Tensor:
    """x (B, C_in, H, W), w (O, C_in, k, k) -> (B, O, H, W), or (B, O / 2, H, W) if gated."""
    _check(x, w, bias, cond, residual, kind, groups, gated)
    y: Tensor = _FORWARD(x, w, bias, cond, residual, kind, groups, gated)[0]
    return y


def _check(
    x: Tensor,
    w: Tensor,
    bias: Tensor | None,
    cond: Tensor | None,
    residual: Tensor | None,
    kind: str,
    groups: int,
    gated: bool,
) -> None:
    if kind not in ("A", "B"):
        raise ValueError(f"kind must be 'A' or 'B', not {kind!r}")
    if x.dim() != 4 or not x.dtype.is_floating_point:
        raise ValueError(f"x must be floating (B, C, H, W), not {x.dtype} {tuple(x.shape)}")
    if w.dim() != 4 or w.shape[1] != x.shape[1] or w.shape[2] != w.shape[3] or not w.shape[2] % 2:
        raise ValueError(f"w must be (O, {x.shape[1]}, k, k) with odd k, not {tuple(w.shape)}")
    parts = 2 * groups if gated else groups
    if groups < 1 or x.shape[1] % groups or w.shape[0] % parts or not w.shape[0]:
        raise ValueError(f"groups must divide {x.shape[1]} input channels and {parts} parts "
                         f"must divide {w.shape[0]} output channels, not {groups}")  # fmt: skip
    b, _, h, width = x.shape
    o = w.shape[0]
    shapes: dict[str, tuple[Tensor | None, list[tuple[int, ...]]]] = {
        "w": (w, [tuple(w.shape)]),
        "bias": (bias, [(o,)]),
        "cond": (cond, [(b, o, h, width), (b, o, 1, 1)]),
        "residual": (residual, [(b, o // 2 if gated else o, h, width)]),
    }
    for name, (t, possible) in shapes.items():
        if t is None:
            continue
        if tuple(t.shape) not in possible or t.dtype != x.dtype or t.device != x.device:
            raise ValueError(
                f"{name} must be {x.dtype} on {x.device} of shape "
                f"{' or '.join(map(str, possible))}, not {t.dtype} on {t.device} {tuple(t.shape)}"
            )


def _empty(shape: tuple[Any, ...], like: Tensor) -> Tensor:
    return torch.empty(
        shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last
    )


def _fake(x: Tensor, w: Tensor, bias: Any, cond: Any, residual: Any, kind: str, groups: int,
          gated: bool) -> tuple[Tensor, Tensor]:  # fmt: skip
    b, _, h, width = x.shape
    o = w.shape[0]
    y = _empty((b, o // 2 if gated else o, h, width), x)
    return y, _empty((b, o, h, width), x) if gated else x.new_empty(0)


def _fake_backward(grad: Tensor, x: Tensor, w: Tensor, pre: Tensor, kind: str, groups: int,
                   gated: bool, need_x: bool) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    grad_x = _empty(tuple(x.shape), x) if need_x else x.new_empty(0)
    grad_pre = _empty((x.shape[0], w.shape[0], *x.shape[2:]), x)
    return grad_x, torch.empty_like(w, memory_format=torch.contiguous_format), grad_pre


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, w, bias, cond, residual, *ctx.options = inputs
    ctx.shapes = None if cond is None else cond.shape
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(x, w, output[1])


def _backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Any, ...]:
    x, w, pre = ctx.saved_tensors
    need_x, _, need_bias, need_cond, need_residual, *_ = ctx.needs_input_grad
    grad_x, grad_w, grad_pre = _BACKWARD(grad, x, w, pre, *ctx.options, need_x)
    return (
        grad_x if need_x else None,
        grad_w,
        grad_pre.sum((0, 2, 3)) if need_bias else None,
        grad_pre.sum_to_size(ctx.shapes) if need_cond else None,
        grad if need_residual else None,
        *[None] * 3,
    )


def _case(name: str, batch: int, size: tuple[int, int], inputs: int, outputs: int, k: int,
          kind: str, *, groups: int = 1, gated: bool = False, cond: str = "") -> Case:  # fmt: skip
    def make(generator: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        def normal(*shape: int, scale: float = 1.0) -> Tensor:
            return (torch.randn(shape, generator=generator) * scale).to(dtype)

        x = normal(batch, inputs, *size)
        w = normal(outputs, inputs, k, k, scale=(inputs * k * k) ** -0.5)
        bias = normal(outputs)
        add = {"map": size, "image": (1, 1)}.get(cond)
        extra = None if add is None else normal(batch, outputs, *add)
        residual = normal(batch, outputs // 2 if gated else outputs, *size) if cond else None
        return x, w, bias, extra, residual, kind, groups, gated

    return Case(name, make, rows=(0, 3, 4) if cond else (0,))


def _case_backward(name: str, forward: Case) -> Case:
    def make(generator: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        x, w, bias, cond, residual, *options = forward.make(generator, dtype)
        y, pre = reference.masked_conv(x, w, bias, cond, residual, *options)
        return torch.randn(y.shape, generator=generator).to(dtype), x, w, pre, *options, True

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


def _cost(x: Tensor, w: Tensor, bias: Any, cond: Any, residual: Any, kind: str, groups: int,
          gated: bool) -> Cost:  # fmt: skip
    pixels, o = x.numel() // max(x.shape[1], 1), w.shape[0]
    read = sum(t.numel() for t in (x, w, bias, cond, residual) if t is not None)
    return Cost((read + pixels * (o // 2 if gated else o)) * x.element_size(), _flops(x, w, kind))


def _cost_backward(grad: Tensor, x: Tensor, w: Tensor, pre: Tensor, kind: str, groups: int,
                   gated: bool, need_x: bool) -> Cost:  # fmt: skip
    moved = grad.numel() + 2 * x.numel() + 2 * w.numel() + 2 * pre.numel()
    return Cost(moved * x.element_size(), (1 + need_x) * _flops(x, w, kind))


_PEERS = {"dense": "peers.masked_conv:dense", "dense compiled": "peers.masked_conv:dense_compiled"}


def _bench(k: int, kind: str, gated: bool, backward: bool) -> Bench:
    def make(generator: torch.Generator) -> tuple[Any, ...]:
        case = _case("", 16, (28, 28), 64, 128, k, kind, gated=gated, cond="map" * gated)
        args = case.make(generator, torch.float32)
        return reference.nhwc(args[0]), reference.nhwc(args[1]), *args[2:]

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
        "_weight_grad_kernel": ("pixels", "height", "width", "channels", "outputs", "taps",
                                "per_part"),
        "_gate_backward_kernel": ("numel", "channels"),
    }[kernel]  # fmt: skip
    signature = dict.fromkeys(pointers, f"*{dtype}") | dict.fromkeys(integers, "i32")
    if kernel == "_weight_grad_kernel":
        signature["p_out"] = "*fp32"
    product = kernel != "_gate_backward_kernel"
    if product:
        constants = {"BK": 64, "BN": 64, "PRECISION": "tf32x3", "UPCAST": False} | constants
    even = tuple(n for n in integers if n in ("channels", "outputs", "numel"))
    return Variant(f"{__name__}._triton:{kernel}", signature, constants, registers, warps=warps,
                   stages=2 if dtype == "fp32" else 3, aligned=pointers + even,
                   tensor_cores=product, vector_loads=not product)  # fmt: skip


_EPILOGUE = {"K": 5, "SIGN": 1, "GATED": True, "BIAS": True, "COND": "map", "RESIDUAL": True}
_MIRRORED = {"K": 5, "SIGN": -1, "GATED": False, "BIAS": False, "COND": "none", "RESIDUAL": False}
_TOLERANCES = {
    torch.float32: (1e-5, 1e-5),
    torch.bfloat16: (1.6e-2, 1.6e-2),
    torch.float16: (2e-3, 2e-3),
}
_BACKWARD = OpSpec(
    name="masked_conv_backward",
    schema="(Tensor grad, Tensor x, Tensor w, Tensor pre, str kind, int groups, bool gated, "
    "bool need_x) -> (Tensor, Tensor, Tensor)",
    reference=reference.backward,
    fake=_fake_backward,
    cases=tuple(_case_backward(case.name, case) for case in _CASES[:4]),
    tolerances=_TOLERANCES,
    cost=_cost_backward,
    cpp=Impl(_cpp.backward, _cpp.verify, needs="gate_backward"),
    triton=Impl(lazy(f"{__name__}._triton:backward")),
    row_bitwise=False,
    variants=(
        _variant("_conv_kernel", "bf16", 136, 8, BM=128, **_MIRRORED),
        _variant("_weight_grad_kernel", "bf16", 128, 4, K=5, BM=64),
        _variant("_gate_backward_kernel", "bf16", 64, 4, BLOCK=1024),
    ),
)
_FORWARD = OpSpec(
    name="masked_conv",
    schema="(Tensor x, Tensor w, Tensor? bias, Tensor? cond, Tensor? residual, str kind, "
    "int groups, bool gated) -> (Tensor, Tensor)",
    reference=reference.masked_conv,
    fake=_fake,
    cases=_CASES,
    tolerances=_TOLERANCES,
    cost=_cost,
    cpp=Impl(_cpp.masked_conv, _cpp.verify, needs="gate_forward"),
    triton=Impl(lazy(f"{__name__}._triton:masked_conv")),
    derivative=Derivative(_setup, _backward),
    row_bitwise=False,
    bench=tuple(_bench(k, kind, gated, backward)
                for backward in (False, True)
                for k, kind, gated in [(3, "B", False), (5, "B", False), (7, "A", False),
                                       (5, "B", True)]),
    variants=(
        _variant("_conv_kernel", "bf16", 200, 8, BM=128, **_EPILOGUE),
        _variant("_conv_kernel", "fp32", 250, 4, BM=64, BN=32, BK=32, **_EPILOGUE),
    ),
)  # fmt: skip
OPS = (_FORWARD, _BACKWARD)
