"""Sampling as pytorch-generative and pythae do it, a full forward pass for each pixel; and the
cached reference with its inner step compiled.

The loop is at its best: inference mode, weights masked beforehand (cropped to their live taps,
which is less work than masking), the faster of both memory formats. Some pixels are timed and
scaled to the image; `pixels=None` runs all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from statistics import median
from time import perf_counter, process_time
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

import zoo_kernels
from zoo_kernels._spec import OpSpec
from zoo_kernels.pixelcnn_sampler import reference

TIMED_PIXELS = 4
ROUNDS = 9
FORMATS = (torch.contiguous_format, torch.channels_last)


@dataclass(frozen=True)
class Stack:
    """A stack's weights as convolution kernels (out, in, height, width) of one memory format."""

    layers: list[reference.Layer]
    head: tuple[Tensor, Tensor, Tensor, Tensor]
    format: torch.memory_format


def stack(weights: list[Tensor], memory_format: torch.memory_format) -> Stack:
    def conv(w: Tensor, inputs: int, height: int, width: int) -> Tensor:
        kernel = w.unflatten(0, (height, width, inputs)).permute(3, 2, 0, 1)
        return kernel.contiguous(memory_format=memory_format)

    made = []
    for layer in reference.layers(weights):
        (k, rows, taps), n, c = layer.taps, layer.inputs, layer.channels
        made.append(reference.Layer(
            conv(layer.row, n, 1, k), layer.row_bias, conv(layer.above, c, rows, 1),
            layer.above_bias, conv(layer.here, n, 1, 1), conv(layer.across, n, 1, taps),
            conv(layer.out, c, 1, 1), layer.out_bias,
        ))  # fmt: skip
    w1, b1, w2, b2 = weights[-4:]
    head = conv(w1, len(w1), 1, 1), b1, conv(w2, len(w2), 1, 1), b2
    return Stack(made, head, memory_format)


def gate(x: Tensor) -> Tensor:
    a, b = x.chunk(2, 1)
    return torch.tanh(a) * torch.sigmoid(b)


def forward(x: Tensor, net: Stack) -> Tensor:
    """Logits (B, P, H, W) of inputs x (B, C_in, H, W), all pixels at once."""
    width = x.shape[3]
    v = h = x
    skips: Any = 0
    for i, n in enumerate(net.layers):
        k, rows, taps = n.row.shape[3], n.above.shape[2], n.across.shape[3]
        a = F.conv2d(v, n.row, n.row_bias, padding=(0, k // 2))
        above = F.pad(a[:, :, :-1], (0, 0, rows, 0))
        g, link = F.conv2d(above, n.above, n.above_bias).chunk(2, 1)
        left = F.pad(h, (taps, 0, 0, 0))[..., :-1] if i == 0 else F.pad(h, (taps - 1, 0, 0, 0))
        out = F.conv2d(gate(link + F.conv2d(left, n.across)[..., :width]), n.out, n.out_bias)
        residual, skip = out.chunk(2, 1)
        h, skips = residual + h if i else residual, skips + skip
        if n is not net.layers[-1]:
            v = gate(g + F.conv2d(v, n.here))
    w1, b1, w2, b2 = net.head
    return F.conv2d(F.conv2d(skips.relu(), w1, b1).relu(), w2, b2)


def dense_stack(x: Tensor, net: Stack) -> Tensor:
    """The same convolutions, gates and sums unmasked: centred kernels, nothing shifted."""
    height, width = x.shape[2:]
    v = h = x
    skips: Any = 0
    for i, n in enumerate(net.layers):
        k, rows, taps = n.row.shape[3], n.above.shape[2], n.across.shape[3]
        a = F.conv2d(v, n.row, n.row_bias, padding=(0, k // 2))
        g, link = F.conv2d(a, n.above, n.above_bias, padding=(rows // 2, 0)).chunk(2, 1)
        across = F.conv2d(h, n.across, padding=(0, taps // 2))[..., :width]
        out = F.conv2d(gate(link[:, :, :height] + across), n.out, n.out_bias)
        residual, skip = out.chunk(2, 1)
        h, skips = residual + h if i else residual, skips + skip
        if n is not net.layers[-1]:
            v = gate(g[:, :, :height] + F.conv2d(v, n.here))
    w1, b1, w2, b2 = net.head
    return F.conv2d(F.conv2d(skips.relu(), w1, b1).relu(), w2, b2)


def seconds(f: Callable[[], Any]) -> float:
    """CPU time of one run."""
    start = process_time()
    f()
    return process_time() - start


def over_dense(x: Tensor, net: Stack) -> float:
    """One forward over a dense stack of the same shapes."""
    pairs = [
        (seconds(partial(forward, x, net)), seconds(partial(dense_stack, x, net)))
        for _ in range(ROUNDS)
    ]
    return median(a / b for a, b in pairs)


_fastest: dict[tuple[int, int], tuple[list[Tensor], Stack]] = {}  # with the weights, to keep ids


@torch.inference_mode()
def fastest(weights: list[Tensor], x: Tensor) -> Stack:
    """The stack in the memory format whose forward is faster for this batch."""
    key = id(weights[0]), len(x)
    if key not in _fastest:
        nets = [stack(weights, f) for f in FORMATS]
        took: dict[torch.memory_format, list[float]] = {n.format: [] for n in nets}
        for _ in range(ROUNDS):
            for n in nets:
                given = x.contiguous(memory_format=n.format)
                took[n.format].append(seconds(partial(forward, given, n)))
        _fastest[key] = weights, min(nets, key=lambda n: median(took[n.format]))
    return _fastest[key][1]


def inputs(x: Tensor, table: Tensor) -> Tensor:
    return table[x[:, 0]].movedim(-1, 1)


@torch.inference_mode()
def full_forward_loop(
    uniforms: Tensor, fixed: Tensor, cond: None, table: Tensor, extra: None,
    weights: list[Tensor], head: str, levels: int, *, pixels: int | None = TIMED_PIXELS,
    forward: Callable[..., Tensor] = forward,
) -> Tensor:  # fmt: skip
    x = torch.zeros_like(fixed)
    net = fastest(weights, inputs(x, table))
    for at in range(fixed[0, 0].numel() if pixels is None else pixels):
        r, c = divmod(at, fixed.shape[3])
        given = inputs(x, table).contiguous(memory_format=net.format)
        logits = forward(given, net)[:, :, r, c]
        x[:, :, r, c] = reference.draw(logits, uniforms[:, r, c], head, levels, 1)
    return x


@cache
def _compiled(f: Callable[..., Any]) -> Any:
    return torch.compile(f, dynamic=False)


def full_forward_loop_compiled(*args: Any) -> Tensor:
    drawn: Tensor = full_forward_loop(*args, forward=_compiled(forward))
    return drawn


@torch.inference_mode()
def cached_compiled(*args: Any) -> Tensor:
    """The reference with the stack of one pixel in one graph."""
    with mock.patch.object(reference, "_pixel", _compiled(reference._pixel)):
        return reference.sample(*args)


def scale(uniforms: Tensor, *rest: Any) -> float:
    """Image pixels over timed pixels."""
    return uniforms[0, ..., 0].numel() / TIMED_PIXELS


def proof(spec: OpSpec) -> dict[str, Any]:
    """Whole images by the loop, nothing scaled, at the first benchmarked batch size: time, equal
    pixels, and one forward over a dense stack of the same shapes."""
    args = spec.bench[0].make(torch.Generator().manual_seed(0))
    a = reference.SampleArguments(*args)
    with torch.inference_mode():
        blank = inputs(torch.zeros_like(a.fixed), a.table)
        net = fastest(a.weights, blank)
        ratio = over_dense(blank.contiguous(memory_format=net.format), net)
    start = process_time(), perf_counter()
    drawn = full_forward_loop(*args, pixels=None)
    took = process_time() - start[0], perf_counter() - start[1]
    with zoo_kernels.backend("cpp"):
        cached = spec(*args)
        start = process_time(), perf_counter()
        spec(*args)
    fast = process_time() - start[0], perf_counter() - start[1]
    return {
        "op": spec.name, "case": f"proof {spec.bench[0].name}", "pixels": drawn.numel(),
        "equal_pixels": int((drawn == cached).sum()), "forward_over_dense": ratio,
        "format": str(net.format), "threads": torch.get_num_threads(),
        "cpu_ms": {"full_forward_loop": took[0] * 1e3, "cpp": fast[0] * 1e3},
        "wall_ms": {"full_forward_loop": took[1] * 1e3, "cpp": fast[1] * 1e3},
    }  # fmt: skip


for _loop in (full_forward_loop, full_forward_loop_compiled):
    _loop.scale = scale  # type: ignore[attr-defined]
