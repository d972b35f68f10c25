"""Sampling a batch of images from a gated PixelCNN in one call, every activation computed once.

The model is the two-stack network of van den Oord et al. (2016), equations in `reference.py`:
L layers of C channels, the first seeing strictly earlier pixels (type A), the later ones with a
residual on the horizontal stack; skips summed; head 1x1 -> relu -> 1x1 on relu(skips).

    stack = pack(layers, head)                     # from convolution weights, once a model
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

**Heads** (P = outputs of the head, n = uniforms a pixel)

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
from zoo_kernels._spec import Bench, Case, Cost, Impl, OpSpec, Variant
from zoo_kernels.pixelcnn_sampler import _cpp, reference
from zoo_kernels.pixelcnn_sampler.reference import HEAD_TENSORS, LAYER_TENSORS

HEADS = ("binary", "softmax", "mixture")
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
    """The stack's matrices, 8 a layer (reference.Layer) and 4 of the head: what `sample` takes.

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
    """(B, I, H, W) int64 levels drawn pixel by pixel, left to right and top to bottom.

    weights from `pack`; uniforms (B, H, W, n) in [0, 1); table (levels, E_t); shape (I, H, W).
    """
    weights = list(weights)
    _check(weights, uniforms, table, shape, head, levels, extra, cond)
    if fixed is None:
        fixed = torch.full((len(uniforms), *shape), -1, device=uniforms.device)
    _check_fixed(fixed, (len(uniforms), *shape), levels)
    drawn: Tensor = _SAMPLE(uniforms, fixed, cond, table, extra, weights, head, levels)
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
        raise _wrong("weights", "what pack() returns: 8 tensors a layer and 4", len(weights))
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
        sizes = ((None, c), (c,), (None, 4 * c), (4 * c,), (n, 2 * c), (None, 2 * c), (c, 2 * c),
                 (2 * c,))  # fmt: skip
        for j, size in enumerate(sizes):
            _require(w[i * LAYER_TENSORS + j], f"weights[{i * LAYER_TENSORS + j}]", size, like)
        for t, of in ((layer.row, n), (layer.above, c), (layer.across, n)):
            if t.shape[0] == 0 or t.shape[0] % of:
                raise _wrong("weights", f"taps times {of} rows in layer {i}", t)
        if layer.taps[0] % 2 == 0:
            raise _wrong("weights", f"an odd row kernel in layer {i}", layer.taps[0])
    outputs = {"binary": 1, "softmax": levels}.get(head)
    for t, size in zip(w[-4:], ((c, None), (None,), (w[-3].numel(), outputs), (outputs,)),
                       strict=True):  # fmt: skip
        _require(t, "weights of the head", size, like)
    unit = 3 if image == 1 else 1 + 3 * image
    if head == "mixture" and (w[-1].numel() % unit or not w[-1].numel()):
        raise _wrong("weights of the head", f"a multiple of {unit} outputs wide", w[-1])


def _check_fixed(fixed: Tensor, size: tuple[int, ...], levels: int) -> None:
    if not isinstance(fixed, Tensor) or fixed.dtype != torch.int64 or fixed.shape != size:
        raise _wrong("fixed", f"int64 of shape {size}", fixed)
    if torch.compiler.is_compiling() or not fixed.numel():
        return
    if fixed.min() < -1 or fixed.max() >= levels:
        raise _wrong("fixed", f"-1 or a level in [0, {levels})", f"{fixed.min()}..{fixed.max()}")


def random_layers(
    generator: torch.Generator, layers: int, channels: int, inputs: int, *, first: int = 7
) -> list[GatedLayer]:
    """Layers of the usual sizes with weights that keep activations near 1."""

    def conv(*size: int) -> Pair:
        fan = size[1] * size[2] * size[3]
        weight = torch.randn(size, generator=generator) * fan**-0.5
        return weight, torch.randn(size[0], generator=generator) * 0.1

    made = []
    for i in range(layers):
        c, n, k = channels, inputs if i == 0 else channels, first if i == 0 else 3
        made.append(GatedLayer(
            v_row=conv(c, n, 1, k), v_col=conv(2 * c, c, k // 2 + 1, 1),
            v_here=conv(2 * c, n, 1, 1), link=conv(2 * c, 2 * c, 1, 1),
            h_row=conv(2 * c, n, 1, k // 2 + 1), residual=conv(c, c, 1, 1),
            skip=conv(c, c, 1, 1),
        ))  # fmt: skip
    return made


def random_arguments(
    generator: torch.Generator,
    *,
    batch: int,
    shape: tuple[int, int, int],
    layers: int,
    channels: int,
    hidden: int,
    head: str,
    levels: int = 2,
    mixtures: int = 0,
    extra: int = 0,
    first: int = 7,
    conditional: bool = False,
    known: float = 0.0,
) -> tuple[Any, ...]:
    """Arguments of the op for tests and benchmarks."""
    image, *size = shape
    outputs = {"binary": 1, "softmax": levels}.get(head, mixtures * (3 if image == 1 else 10))
    made = random_layers(generator, layers, channels, image + extra, first=first)

    def matrix(out: int, inputs: int) -> Pair:
        w = torch.randn(out, inputs, 1, 1, generator=generator) * (3 / inputs) ** 0.5
        return w, torch.randn(out, generator=generator) * 0.3

    weights = pack(made, (matrix(hidden, channels), matrix(outputs, hidden)))
    draws = 1 + image if head == "mixture" else 1
    uniforms = torch.rand(batch, *size, draws, generator=generator)
    given = torch.rand(batch, *shape, generator=generator) < known
    values = torch.randint(levels, (batch, *shape), generator=generator)
    fixed = torch.where(given, values, -1)
    cond = torch.randn(batch, layers, 2, 2 * channels, generator=generator) * 0.5
    constants = torch.randn(extra, *size, generator=generator) if extra else None
    table = torch.linspace(-1, 1, levels)[:, None]
    return uniforms, fixed, cond if conditional else None, table, constants, weights, head, levels


def _case(name: str, **options: Any) -> Case:
    def make(generator: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        return random_arguments(generator, **options)

    rows = (0, 1, 2) if options.get("conditional") else (0, 1)
    return Case(name, make, rows=rows)


def _fake(uniforms: Tensor, fixed: Tensor, *rest: Any) -> Tensor:
    return torch.empty_like(fixed, memory_format=torch.contiguous_format)


def _cost(uniforms: Tensor, fixed: Tensor, cond: Any, table: Any, extra: Any,
          weights: list[Tensor], head: str, levels: int) -> Cost:  # fmt: skip
    """Each weight is used once a pixel."""
    numel = sum(w.numel() for w in weights)
    pixels = uniforms.shape[0] * uniforms.shape[1] * uniforms.shape[2]
    moved = 4 * uniforms.numel() + 16 * fixed.numel() + 4 * numel
    return Cost(bytes=moved, flops=2 * numel * pixels)


def _bench(batch: int) -> Bench:
    def make(generator: torch.Generator) -> tuple[Any, ...]:
        return random_arguments(generator, batch=batch, shape=(1, 28, 28), layers=9, channels=64,
                                hidden=32, head="binary")  # fmt: skip

    peers = {"reference compiled": "cached_compiled", "full_forward_loop": "full_forward_loop",
             "full_forward_loop compiled": "full_forward_loop_compiled"}  # fmt: skip
    peers = {name: f"peers.pixelcnn_sampler:{attr}" for name, attr in peers.items()}
    return Bench(f"64ch 1+8 layers 28x28 B={batch}", make, peers)


def _variant(head: str, outputs: int, rows: int, *, image: int = 1,
             conditional: bool = False, stack: int = 0) -> Variant:  # fmt: skip
    """The usual stack: 64 channels, 7 x 7 then 3 x 3; `rows` is _triton.rows_of_a_tile."""
    floats = ("p_u", "p_cond", "p_table", "p_extra", "p_w", "p_ring", "p_begun", "p_v", "p_past")
    sizes = ("batch", "height", "width", "layers", "levels", "outputs", "n_table", "n_extra")
    strides = ("ring_stride", "begun_stride", "v_stride", "past_stride")
    signature = {"p_x": "*i64"} | dict.fromkeys(floats, "*fp32")
    signature |= dict.fromkeys(sizes, "i32") | dict.fromkeys(strides, "i64")
    constants = {"CI": 16, "K0": 7, "R0": 4, "T0": 4, "C": 64, "K": 3, "R": 2, "T": 2, "D": 32,
                 "P": outputs, "I": image, "HEAD": head, "COND": conditional, "EXTRA": False,
                 "BT": 16, "BM": rows, "PRECISION": "tf32"}  # fmt: skip
    return Variant(f"{__name__}._triton:_sample_kernel", signature, constants, 255, warps=8,
                   stages=1, aligned=("p_x", *floats, *strides), stack=stack,
                   tensor_cores=True)  # fmt: skip


_SAMPLE = OpSpec(
    name="pixelcnn_sample",
    schema=(
        "(Tensor uniforms, Tensor fixed, Tensor? cond, Tensor table, Tensor? extra, "
        "Tensor[] weights, str head, int levels) -> Tensor"
    ),
    reference=reference.sample,
    fake=_fake,
    cases=(
        _case("tiny", batch=2, shape=(1, 2, 2), layers=2, channels=16, hidden=8, head="binary",
              first=3, conditional=True),
        _case("binary", batch=3, shape=(1, 3, 4), layers=3, channels=16, hidden=8, head="binary"),
        _case("row", batch=1, shape=(1, 1, 7), layers=1, channels=16, hidden=16, head="binary"),
        _case("softmax", batch=5, shape=(1, 3, 3), layers=2, channels=20, hidden=12,
              head="softmax", levels=17, extra=2, conditional=True, known=0.3),
        _case("mixture", batch=2, shape=(1, 2, 3), layers=2, channels=16, hidden=16,
              head="mixture", levels=256, mixtures=3, first=3),
        _case("rgb", batch=17, shape=(3, 2, 2), layers=2, channels=16, hidden=16, head="mixture",
              levels=256, mixtures=5, first=5, conditional=True, known=0.2),
    ),
    tolerances={torch.float32: (0.0, 0.0)},
    cost=_cost,
    cpp=Impl(_cpp.sample, _cpp.verify, needs="pixelcnn_sample"),
    triton=Impl(lazy(f"{__name__}._triton:sample"), lazy(f"{__name__}._triton:verify")),
    differentiable=False,
    bench=tuple(_bench(batch) for batch in (1, 2, 16)),
    # with 256 levels ptxas reserves two words for sm_90 that nothing reads or writes
    variants=(_variant("binary", 16, 64), _variant("binary", 16, 32, conditional=True),
              _variant("softmax", 64, 64), _variant("softmax", 256, 32, stack=8),
              _variant("mixture", 128, 32, image=3)),
)  # fmt: skip
OPS = (_SAMPLE,)
