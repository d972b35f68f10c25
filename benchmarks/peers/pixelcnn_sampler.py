"""Sampling as pytorch-generative and pythae do it: a full forward pass for each pixel.

At its best: inference mode, weights masked beforehand (here cropped to their live taps, less work
than masking), channels-last. A few pixels are timed and scaled to the image; `pixels=None` runs
all of them.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo_kernels.masked_conv.reference import nhwc
from zoo_kernels.pixelcnn_sampler import reference

TIMED_PIXELS = 4


_kernels: dict[int, Tensor] = {}


def _conv(w: Tensor, inputs: int, height: int, width: int) -> Tensor:
    """(taps inputs, O) -> (O, inputs, height, width), channels-last; made once a weight."""
    if id(w) not in _kernels:
        _kernels[id(w)] = nhwc(w.unflatten(0, (height, width, inputs)).permute(3, 2, 0, 1))
    return _kernels[id(w)]


def forward(x: Tensor, weights: list[Tensor]) -> Tensor:
    """Logits (B, P, H, W) of inputs x (B, C_in, H, W), all pixels at once."""
    height, width = x.shape[2:]
    v = h = x
    skips: Any = 0
    for i, layer in enumerate(reference.layers(weights)):
        (k, rows, taps), n, c = layer.taps, layer.inputs, layer.channels
        a = F.conv2d(v, _conv(layer.row, n, 1, k), layer.row_bias, padding=(0, k // 2))
        above = F.pad(a[:, :, :-1], (0, 0, rows, 0))
        g, link = F.conv2d(above, _conv(layer.above, c, rows, 1), layer.above_bias).chunk(2, 1)
        left = F.pad(h, (taps if i == 0 else taps - 1, 0, 0, 0))
        across = F.conv2d(left, _conv(layer.across, n, 1, taps))[..., :width]
        out = F.conv2d(_gate(link + across), _conv(layer.out, c, 1, 1), layer.out_bias)
        residual, skip = out.chunk(2, 1)
        h, skips = residual + h if i else residual, skips + skip
        v = _gate(g + F.conv2d(v, _conv(layer.here, n, 1, 1)))
    w1, b1, w2, b2 = weights[-4:]
    hidden = F.conv2d(skips.relu(), _conv(w1, len(w1), 1, 1), b1)
    return F.conv2d(hidden.relu(), _conv(w2, len(w2), 1, 1), b2)


def _gate(x: Tensor) -> Tensor:
    a, b = x.chunk(2, 1)
    return torch.tanh(a) * torch.sigmoid(b)


@torch.inference_mode()
def full_forward_loop(
    uniforms: Tensor, fixed: Tensor, cond: None, table: Tensor, extra: None,
    weights: list[Tensor], head: str, levels: int, *, pixels: int | None = TIMED_PIXELS,
) -> Tensor:  # fmt: skip
    x = torch.zeros_like(fixed)
    for at in range(fixed[0, 0].numel() if pixels is None else pixels):
        r, c = divmod(at, fixed.shape[3])
        inputs = nhwc(table[x[:, 0]].movedim(-1, 1))
        logits = forward(inputs, weights)[:, :, r, c]
        x[:, :, r, c] = reference.draw(logits, uniforms[:, r, c], head, levels, 1)
    return x


def scale(uniforms: Tensor, *rest: Any) -> float:
    """Image pixels over timed pixels."""
    return uniforms[0, ..., 0].numel() / TIMED_PIXELS


full_forward_loop.scale = scale  # type: ignore[attr-defined]
