"""The fused sampler of Gated PixelCNN: one kernel call draws a batch of one-channel images.

The kernel computes what `GatedLayer` and `GatedPixelCNN.decode_step` compute, pixel by pixel, with
every cache inside; this file packs the weights for it. A temperature divides the head's last
convolution. The last layer has no v' and h', so their weights are zeros.

Shapes: B batch, H rows, W columns, U units, L layers, K levels.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from zoo_core.plugin import Inpainting, rescale_levels
from zoo_kernels import pixelcnn_sampler as kernel

if TYPE_CHECKING:
    from zoo_autoregressive.gated_pixelcnn import GatedLayer, GatedPixelCNN

__all__ = ["sample"]

Pair = tuple[Tensor, Tensor]


def sample(
    model: "GatedPixelCNN",
    u: Tensor,
    cond: Tensor | None,
    fixed: Inpainting | None,
    temperature: float,
) -> Tensor:
    """Images (B, 1, H, W), int64, from uniforms (B, H W) in raster order."""
    c = model.config
    weights = kernel.pack([_convolutions(layer) for layer in model.stack()], _head(model))
    *weights, last, bias = weights
    return kernel.sample(
        [*weights, last / temperature, bias / temperature],
        uniforms=u.to(model.dtype).view(len(u), *c.shape[1:], 1),
        table=rescale_levels(torch.arange(c.levels, device=u.device), c.levels, model.dtype)[
            :, None
        ],
        shape=c.shape,
        head="binary" if c.levels == 2 else "softmax",
        levels=c.levels,
        extra=model.coordinates.to(model.dtype) if c.coordinates else None,
        fixed=None if fixed is None else torch.where(fixed.mask, fixed.observed.long(), -1),
        cond=None if cond is None else _shifts(model, cond),
    )


def _convolutions(layer: "GatedLayer") -> kernel.GatedLayer:
    U = layer.v_row.out_channels
    residual, skip = (None, _pair(layer.out)) if layer.last else _halves(layer.out)
    zeros = layer.link.weight.new_zeros
    return kernel.GatedLayer(
        v_row=_pair(layer.v_row),
        v_col=_pair(layer.v_col),
        v_here=_pair(layer.v_here) if layer.v_here else (zeros(2 * U, U, 1, 1), zeros(2 * U)),
        link=_pair(layer.link),
        h_row=_pair(layer.h_row),
        residual=residual or (zeros(U, U, 1, 1), zeros(U)),
        skip=skip,
    )


def _head(model: "GatedPixelCNN") -> tuple[Pair, Pair]:
    first, last = (part for part in model.head if isinstance(part, nn.Conv2d))
    return _pair(first), _pair(last)


def _pair(conv: nn.Conv2d) -> Pair:
    assert conv.bias is not None
    return conv.weight, conv.bias


def _halves(conv: nn.Conv2d) -> tuple[Pair, Pair]:
    """The two convolutions that one convolution computes side by side."""
    (w_1, w_2), (b_1, b_2) = (t.chunk(2) for t in _pair(conv))
    return (w_1, b_1), (w_2, b_2)


def _shifts(model: "GatedPixelCNN", cond: Tensor) -> Tensor:
    """V_v e_c and V_h e_c of every layer, (B, L, 2, 2U)."""
    e = model.one_hot(cond)
    return torch.stack([torch.stack(layer.shifts(e), 1) for layer in model.stack()], 1)[..., 0, 0]
