"""Sampling a batch of images from a gated PixelCNN in one call, every activation computed once.

The model is the two-stack network of van den Oord et al. (2016), equations in `reference.py`:
L layers of C channels, the first seeing strictly earlier pixels (type A), the later ones with a
residual on the horizontal stack; skips summed; head 1x1 -> relu -> 1x1 on relu(skips).

    stack = pack(layers, head)                     # from convolution weights, once per model
    u = rng.uniform(seed, rows, H * W * n, stream=..., step=0).view(B, H, W, n)
    x = sample(stack, uniforms=u, table=table, shape=(I, H, W), head="binary", levels=2)

**Convolution weights** (`GatedLayer`, torch's (out, in, height, width) layout, C_in = inputs of
the layer, odd k, R rows above, T taps across):

    v_row   (C, C_in, 1, k)    a = conv over the row, zero padding k // 2 left and right
    v_col   (2C, C, R, 1)      g(r) = sum over j of v_col[:, :, j] a(r - R + j): strictly above
    v_here  (2C, C_in, 1, 1)   v' = gate(g + v_here v)
    link    (2C, 2C, 1, 1)     p = link g + h_row h
    h_row   (2C, C_in, 1, T)   taps c-T+1..c; in the first layer c-T..c-1
    residual, skip (C, C, 1, 1) of gate(p)

each with a bias. k = 7, R = T = 4 in the first layer and k = 3, R = T = 2 in the others are the
usual sizes. A gate takes its tanh from the first C channels and its sigmoid from the last C.

**Inputs.** A pixel with levels x_1..x_I enters as table[x_1], ..., table[x_I] followed by the
constants `extra[:, r, c]` (coordinates, for example): C_in of the first layer is I E_t + E.
Outside the image everything is zero.

**Heads** (P = outputs of the head, n = uniforms per pixel)

    binary    P = 1: logit of level 1, n = 1, I = 1
    softmax   P = K logits, n = 1, I = 1
    mixture   M logistics (PixelCNN++)
              I = 1: [logits M | mean M | log scale M], P = 3M, n = 2
              I = 3: [logits M | a channel: mean M, log scale M, coefficient M], P = 10M, n = 4

**Conditioning** `cond` (B, L, 2, 2C) is added to the pre-activations: [:, l, 0] vertical,
[:, l, 1] horizontal. **Completion**: `fixed` (B, I, H, W) int64, -1 where a value is to be drawn.

Row b of the result depends on row b of uniforms, fixed and cond, and on nothing else; for C++
bitwise. Not differentiable. float64 weights run on the reference.
"""

__all__ = ["OPS", "GatedLayer", "pack", "sample"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo_kernels._dispatch import lazy
from zoo_kernels._precision import only_float32
from zoo_kernels._spec import Impl, OpSpec
from zoo_kernels.pixelcnn_sampler import _cpp, reference
from zoo_kernels.pixelcnn_sampler.reference import HEAD_TENSORS, LAYER_TENSORS, SampleArguments

HEADS = _cpp.HEADS
Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class GatedLayer:
    """(weight, bias) of one layer's convolutions, shapes in the module's docstring."""

    v_row: Pair
    v_col: Pair
    v_here: Pair
    link: Pair
    h_row: Pair
    residual: Pair
    skip: Pair


def pack(layers: Sequence[GatedLayer], head: tuple[Pair, Pair]) -> list[Tensor]:
    """The stack's matrices, 8 for each layer (reference.Layer) and 4 for the head, for `sample`.

    `link` is folded into the product over the rows above: [g | link g] = a @ above, the same work
    in half the products. Pack again after the weights have changed.
    """
    packed = [t for layer in layers for t in _pack_layer(layer)]
    for weight, bias in head:
        packed += [weight.flatten(1).T, bias]
    return [t.detach().contiguous() for t in packed]


def _taps_first(weight: Tensor) -> Tensor:
    """(out, in, height, width) -> (taps * in, out)."""
    return weight.flatten(2).permute(2, 1, 0).flatten(0, 1)


def _pack_layer(layer: GatedLayer) -> list[Tensor]:
    column, link = _taps_first(layer.v_col[0]), layer.link[0].flatten(1).T
    g_bias = layer.v_col[1]
    link_bias = g_bias @ link + layer.link[1] + layer.h_row[1]
    return [
        _taps_first(layer.v_row[0]),
        layer.v_row[1],
        torch.cat([column, column @ link], 1),
        torch.cat([g_bias + layer.v_here[1], link_bias]),
        _taps_first(layer.v_here[0]),
        _taps_first(layer.h_row[0]),
        torch.cat([_taps_first(layer.residual[0]), _taps_first(layer.skip[0])], 1),
        torch.cat([layer.residual[1], layer.skip[1]]),
    ]


@torch.no_grad()
def sample(
    weights: Sequence[Tensor],
    *,
    uniforms: Tensor,
    table: Tensor,
    shape: tuple[int, int, int],
    head: str,
    levels: int,
    extra: Tensor | None = None,
    fixed: Tensor | None = None,
    cond: Tensor | None = None,
) -> Tensor:
    """Images (B, I, H, W) of int64 levels, drawn pixel by pixel, left to right and top to bottom.

    - `weights`: what `pack` returns, float32 or float64; the other floats have its dtype.
    - `uniforms`: (B, H, W, n) in [0, 1), the randomness.
    - `table`: (levels, E_t), what a level is to the network; `extra`: constants (E, H, W).
    - `shape`: (I, H, W); `head`: "binary", "softmax" or "mixture"; `levels`: K.
    - `fixed`: int64 (B, I, H, W), -1 where a value is to be drawn; `cond`: (B, L, 2, 2C).

    Raises ValueError, naming the argument, for shapes, dtypes and values that do not fit.
    """
    weights = list(weights)
    _check(weights, uniforms, table, shape, head, levels, extra, cond)
    if fixed is None:
        fixed = torch.full((len(uniforms), *shape), -1, device=uniforms.device)
    _check_fixed(fixed, (len(uniforms), *shape), levels)
    drawn: Tensor = _SAMPLE(
        *SampleArguments(
            uniforms=uniforms,
            fixed=fixed,
            cond=cond,
            table=table,
            extra=extra,
            weights=weights,
            head=head,
            levels=levels,
        )
    )
    return drawn


def _wrong(name: str, wanted: str, given: object) -> ValueError:
    if isinstance(given, Tensor):
        given = f"{given.dtype} {tuple(given.shape)} on {given.device}"
    return ValueError(f"{name} must be {wanted}, not {given}")


def _require(t: Any, name: str, shape: tuple[int | None, ...], like: Tensor) -> None:
    """A tensor of like's dtype and device; None in `shape` is any size."""
    ok = isinstance(t, Tensor) and t.dim() == len(shape) and t.dtype == like.dtype
    ok = ok and t.device == like.device
    if not ok or any(n is not None and n != m for n, m in zip(shape, t.shape, strict=True)):
        raise _wrong(name, f"{like.dtype} on {like.device} of shape {shape}", t)


def _check(
    weights: list[Tensor],
    uniforms: Tensor,
    table: Tensor,
    shape: tuple[int, int, int],
    head: str,
    levels: int,
    extra: Tensor | None,
    cond: Tensor | None,
) -> None:
    if head not in HEADS:
        raise _wrong("head", f"one of {HEADS}", repr(head))
    images = (1, 3) if head == "mixture" else (1,)
    if len(shape) != 3 or shape[0] not in images or min(shape) < 1:
        raise _wrong("shape", f"(I, H, W) with I = 1{' or 3' * (head == 'mixture')}", shape)
    if levels < 2 or (head == "binary" and levels != 2):
        raise _wrong("levels", "2 for binary, at least 2 otherwise", levels)
    if len(weights) < LAYER_TENSORS + HEAD_TENSORS or (len(weights) - 4) % LAYER_TENSORS:
        raise _wrong("weights", "what pack() returns: 8 tensors per layer and 4", len(weights))
    if weights[0].dtype not in (torch.float32, torch.float64):
        raise _wrong("weights", "float32 or float64", weights[0].dtype)
    like = weights[0]
    draws = 1 + shape[0] if head == "mixture" else 1
    _require(uniforms, "uniforms", (None, *shape[1:], draws), like)
    _require(table, "table", (levels, None), like)
    if extra is not None:
        _require(extra, "extra", (None, *shape[1:]), like)
    inputs = shape[0] * table.shape[1] + (0 if extra is None else extra.shape[0])
    _check_weights(weights, inputs, head, levels, shape[0])
    if cond is not None:
        size = (len(uniforms), (len(weights) - 4) // LAYER_TENSORS, 2, 2 * weights[0].shape[1])
        _require(cond, "cond", size, like)


def _check_weights(w: list[Tensor], inputs: int, head: str, levels: int, image: int) -> None:
    like, c = w[0], w[0].shape[-1]
    for i, layer in enumerate(reference.layers(w)):
        n = inputs if i == 0 else c
        sizes = (
            (None, c),
            (c,),
            (None, 4 * c),
            (4 * c,),
            (n, 2 * c),
            (None, 2 * c),
            (c, 2 * c),
            (2 * c,),
        )
        for j, size in enumerate(sizes):
            _require(w[i * LAYER_TENSORS + j], f"weights[{i * LAYER_TENSORS + j}]", size, like)
        for t, of in ((layer.row, n), (layer.above, c), (layer.across, n)):
            if t.shape[0] == 0 or t.shape[0] % of:
                raise _wrong("weights", f"taps times {of} rows in layer {i}", t)
        if layer.taps[0] % 2 == 0:
            raise _wrong("weights", f"an odd row kernel in layer {i}", layer.taps[0])
    outputs = {"binary": 1, "softmax": levels}.get(head)
    for t, size in zip(
        w[-4:], ((c, None), (None,), (w[-3].numel(), outputs), (outputs,)), strict=True
    ):
        _require(t, "weights of the head", size, like)
    per_component = 3 if image == 1 else 1 + 3 * image
    if head == "mixture" and (w[-1].numel() % per_component or not w[-1].numel()):
        raise _wrong("weights of the head", f"a multiple of {per_component} outputs wide", w[-1])


def _check_fixed(fixed: Tensor, size: tuple[int, ...], levels: int) -> None:
    if not isinstance(fixed, Tensor) or fixed.dtype != torch.int64 or fixed.shape != size:
        raise _wrong("fixed", f"int64 of shape {size}", fixed)
    if torch.compiler.is_compiling() or not fixed.numel():
        return
    if fixed.min() < -1 or fixed.max() >= levels:
        raise _wrong("fixed", f"-1 or a level in [0, {levels})", f"{fixed.min()}..{fixed.max()}")


def _fake(uniforms: Tensor, fixed: Tensor, *rest: Any) -> Tensor:
    return torch.empty_like(fixed, memory_format=torch.contiguous_format)


_SAMPLE = OpSpec(
    name="pixelcnn_sample",
    schema=(
        "(Tensor uniforms, Tensor fixed, Tensor? cond, Tensor table, Tensor? extra, "
        "Tensor[] weights, str head, int levels) -> Tensor"
    ),
    reference=reference.sample,
    fake=_fake,
    examples=lazy("zoo_kernels.pixelcnn_sampler._cases:pixelcnn_sample"),
    tolerances={torch.float32: (0.0, 0.0)},
    cpp=Impl(_cpp.sample, only_float32, needs="pixelcnn_sample"),
    triton=Impl(lazy(f"{__name__}._triton:sample"), lazy(f"{__name__}._triton:verify")),
    differentiable=False,
)
OPS = (_SAMPLE,)
