"""Discretized mixture of logistics (PixelCNN++): exact log-likelihood for any number of levels.

    log_p = log_prob(x, params, levels=256)     # x (B, C, *S) in 0..255, params (B, 3M or 10M, *S)

`params` is the network's output as it stands, channels first or channels last in memory: for each
pixel M logits, then for each of the C = 1 or 3 channels M means, M log scales and, for C = 3, M
coefficients that shift the means of later channels (levels lie on [-1, 1]). log_prob (B,) is in
nats; over all levels the probabilities add up to 1.

PixelCNN++ (Salimans, Karpathy, Chen, Kingma, 2017), https://arxiv.org/abs/1701.05517
"""

__all__ = ["MAX_COMPONENTS", "OPS", "log_prob"]

import math
from typing import Any

import torch
from torch import Tensor

from zoo_kernels import _extension
from zoo_kernels._alloc import alloc, alloc_like
from zoo_kernels._dispatch import lazy
from zoo_kernels._extension import Support
from zoo_kernels._precision import not_float64, to_float32
from zoo_kernels._spec import Derivative, Impl, OpSpec
from zoo_kernels.mixture_logistics import reference

MAX_COMPONENTS = 64


def log_prob(x: Tensor, params: Tensor, *, levels: int) -> Tensor:
    """log p(x) of each row in nats, (B,), summed over channels and positions.

    x (B, C, *S) holds whole levels 0..levels - 1 as integers or floats, C = 1 or 3; params
    (B, 3M or 10M, *S) floating point with M in [1, MAX_COMPONENTS]; `levels` in [2, 65536].
    Differentiable in params, once. Raises ValueError, naming the argument, for what does not fit;
    on a GPU the values of x are not looked at.
    """
    _check(x, params, levels)
    total: Tensor = _LOG_PROB(x, params, levels)
    return total


def _check(x: Tensor, params: Tensor, levels: int) -> None:
    if not isinstance(levels, int) or not 2 <= levels <= 2**16:
        raise ValueError(f"levels must be an integer in [2, 65536], not {levels!r}")
    if x.dim() < 2 or x.shape[1] not in (1, 3):
        raise ValueError(f"x must have shape (B, 1 or 3, ...), not {tuple(x.shape)}")
    if x.dtype.is_complex or x.dtype == torch.bool:
        raise ValueError(f"x must hold levels as integers or floats, not {x.dtype}")
    _check_params(x, params)
    if torch.compiler.is_compiling() or x.device.type != "cpu" or not x.numel():
        return  # no data to look at, or a look that would stall the device
    if not (x.min() >= 0 and x.max() < levels):
        raise ValueError(f"x must lie in [0, {levels}), not [{x.min()}, {x.max()}]")
    if x.dtype.is_floating_point and not torch.equal(x, x.floor()):
        raise ValueError("x must hold whole levels, not fractions (0..levels - 1, not [-1, 1])")


def _check_params(x: Tensor, params: Tensor) -> None:
    each = 3 if x.shape[1] == 1 else 10
    fits = params.dim() == x.dim() and (params.shape[0], *params.shape[2:]) == (
        x.shape[0],
        *x.shape[2:],
    )
    m = reference.components(params, x.shape[1]) if fits else 0
    if not 1 <= m <= MAX_COMPONENTS:
        wanted = f"({x.shape[0]}, {each} M{''.join(f', {n}' for n in x.shape[2:])})"
        raise ValueError(
            f"params must have shape {wanted} with M in [1, {MAX_COMPONENTS}], "
            f"not {tuple(params.shape)}"
        )
    if not params.dtype.is_floating_point or params.device != x.device:
        raise ValueError(
            f"params must be floating point on {x.device} like x, "
            f"not {params.dtype} on {params.device}"
        )


def collapsed(params: Tensor) -> Tensor:
    """(B, P, S), a view where strides allow, else a copy."""
    return params.reshape(*params.shape[:2], math.prod(params.shape[2:]))


def _view(params: Tensor) -> Tensor:
    """As collapsed, but of memory that is written: never a copy."""
    return params.view(*params.shape[:2], math.prod(params.shape[2:]))


def _log_prob_cpp(x: Tensor, params: Tensor, levels: int) -> Tensor:
    p = to_float32(params)
    out = alloc(x.shape[:1], like=p)
    if not x.numel():
        return out.zero_()
    each = alloc((len(x), math.prod(x.shape[2:])), like=p)
    _extension.cpp("mixture_log_prob")(
        out, each, x.to(torch.float32).contiguous(), collapsed(p), levels, x.shape[1]
    )
    return out


def grad_like(params: Tensor) -> Tensor:
    """Of params' strides where its positions form one dimension in memory, else contiguous."""
    return alloc_like(params) if _dense_view(params) else alloc(params.shape, like=params)


def _dense_view(params: Tensor) -> bool:
    try:
        _view(torch.empty_like(params, device="meta"))
    except RuntimeError:
        return False
    return True


def _backward_cpp(x: Tensor, params: Tensor, grad: Tensor, levels: int) -> Tensor:
    p = to_float32(params)
    out = grad_like(p)
    if x.numel():
        _extension.cpp("mixture_backward")(
            _view(out),
            x.to(torch.float32).contiguous(),
            collapsed(p),
            grad.float().contiguous(),
            levels,
            x.shape[1],
        )
    return out.to(params.dtype)


def _backward_reference(x: Tensor, params: Tensor, grad: Tensor, levels: int) -> Tensor:
    out = reference.backward(x, params, grad, levels)
    return out if _dense_view(params) else out.contiguous()


def _supports(x: Tensor, params: Tensor, *rest: Any) -> Support:
    return not_float64(params)


def _fake_log_prob(x: Tensor, params: Tensor, levels: int) -> Tensor:
    wide = torch.float64 if params.dtype == torch.float64 else torch.float32
    return params.new_empty(x.shape[:1], dtype=wide)


def _fake_backward(x: Tensor, params: Tensor, grad: Tensor, levels: int) -> Tensor:
    return torch.empty_like(params) if _dense_view(params) else params.new_empty(params.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    x, params, ctx.levels = inputs
    ctx.save_for_backward(x, params)


def _derivative(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    x, params = ctx.saved_tensors
    return None, _BACKWARD(x, params, grad, ctx.levels), None


_KERNEL = "zoo_kernels.mixture_logistics._triton"
_CASES = "zoo_kernels.mixture_logistics._cases"
_TOLERANCES = {torch.float32: (1e-5, 1e-4), torch.bfloat16: (8e-3, 1e-3)}
_LOG_PROB = OpSpec(
    name="mixture_log_prob",
    schema="(Tensor x, Tensor params, int levels) -> Tensor",
    reference=reference.log_prob,
    fake=_fake_log_prob,
    examples=lazy(f"{_CASES}:log_prob"),
    tolerances=_TOLERANCES,
    cpp=Impl(_log_prob_cpp, _supports, needs="mixture_log_prob"),
    triton=Impl(lazy(f"{_KERNEL}:log_prob"), _supports),
    derivative=Derivative(_setup_context, _derivative),
)
_BACKWARD = OpSpec(
    name="mixture_backward",
    schema="(Tensor x, Tensor params, Tensor grad, int levels) -> Tensor",
    reference=_backward_reference,
    fake=_fake_backward,
    examples=lazy(f"{_CASES}:backward"),
    tolerances=_TOLERANCES,
    cpp=Impl(_backward_cpp, _supports, needs="mixture_backward"),
    triton=Impl(lazy(f"{_KERNEL}:backward"), _supports),
)
OPS = (_LOG_PROB, _BACKWARD)
