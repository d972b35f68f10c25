"""Attention whose heads have few channels, for sampling and scoring.

    y_n = sum_m softmax_m(q_n k_m / sqrt(d)) v_m

Libraries compute both products by matrix kernels, which d = 8 leaves mostly empty. Here tokens lie
along the vectors. float32 runs in C++ and in Triton; there is no derivative. Networks call it
where no gradient is asked for, on the CPU, and torch's attention elsewhere.

Shapes: B batch, N queries, M keys, H heads, d channels of a head.
"""

__all__ = ["OPS", "WIDEST", "narrow_attention"]

import torch
from torch import Tensor

from zoo_kernels import _extension
from zoo_kernels._alloc import alloc
from zoo_kernels._dispatch import lazy
from zoo_kernels._extension import Support
from zoo_kernels._precision import only_float32
from zoo_kernels._spec import Impl, OpSpec

WIDEST = 8
"""Channels of a head up to which this is faster than torch's attention."""


def narrow_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention y (B, N, H, d) of q (B, N, H, d) to k and v (B, M, H, d), M >= 1, of one dtype.

    Raises ValueError, naming the argument, for shapes and dtypes that do not fit.
    """
    _check(q, k, v)
    y: Tensor = _ATTENTION(q, k, v)
    return y


def _check(q: Tensor, k: Tensor, v: Tensor) -> None:
    if q.dim() != 4 or not q.dtype.is_floating_point:
        raise ValueError(f"q must be floating (B, N, H, d), not {q.dtype} {tuple(q.shape)}")
    B, _, H, d = q.shape
    for name, t in (("k", k), ("v", v)):
        if t.dim() != 4 or t.shape[0] != B or tuple(t.shape[2:]) != (H, d) or not t.shape[1]:
            raise ValueError(
                f"{name} must be ({B}, M, {H}, {d}) with M >= 1, not {tuple(t.shape)}"
            )
        if t.dtype != q.dtype or t.device != q.device:
            raise ValueError(
                f"{name} must be {q.dtype} on {q.device} like q, not {t.dtype} on {t.device}"
            )
    if k.shape != v.shape:
        raise ValueError(f"k and v must have one shape, not {tuple(k.shape)}, {tuple(v.shape)}")


def _reference(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = torch.einsum("bnhc,bmhc->bhnm", q, k) * q.shape[-1] ** -0.5
    return torch.einsum("bhnm,bmhc->bnhc", scores.softmax(-1), v).contiguous()


def _cpp(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    out = alloc(q.shape, like=q)
    if out.numel():
        _extension.cpp("narrow_attention")(out, *(_dense(t) for t in (q, k, v)))
    return out


def _fits(q: Tensor, k: Tensor, v: Tensor) -> Support:
    ok, reason = only_float32(q)
    if ok and q.shape[3] > 64:
        return False, "needs heads of at most 64 channels"
    return ok, reason


def _dense(t: Tensor) -> Tensor:
    return t if t.stride(3) == 1 else t.contiguous()


_ATTENTION = OpSpec(
    name="narrow_attention",
    schema="(Tensor q, Tensor k, Tensor v) -> Tensor",
    reference=_reference,
    fake=lambda q, k, v: q.new_empty(q.shape),
    examples=lazy("zoo_kernels.narrow_attention._cases:narrow_attention"),
    tolerances={torch.float32: (2e-6, 2e-6)},
    cpp=Impl(_cpp, only_float32, needs="narrow_attention"),
    triton=Impl(lazy("zoo_kernels.narrow_attention._triton:attention"), _fits),
    differentiable=False,
)
OPS = (_ATTENTION,)
