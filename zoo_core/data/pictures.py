"""Draws events as pictures: images in a grid, points in the plane as a density plot.

Pictures are uint8 arrays (H, W, 3).
"""

import math

import numpy as np
import torch
from torch import Tensor

from zoo_core.errors import UsageError
from zoo_core.spaces import Event

__all__ = ["MAX_PIXELS", "drawable", "grid", "grid_layout", "heat", "scatter", "shade"]

MAX_PIXELS = 1 << 26
GAP = 2
BACKGROUND = 128
_TILE = 64
_SCATTER_SIDE = 512
_SCATTER_MARGIN = 0.05


def drawable(event: Event) -> bool:
    """Whether events can be drawn: images with 1 or 3 channels, or points in the plane."""
    shape = event.shape
    image = len(shape) == 2 or (len(shape) == 3 and shape[0] in (1, 3))
    return image or (shape == (2,) and not event.discrete)


def shade(x: Tensor, event: Event, low: float, high: float) -> Tensor:
    """Brightness 0..255 (N, C, H, W), uint8, from 0..K-1 for integers, [low, high] for reals."""
    images = x.reshape(len(x), -1, *event.shape[-2:]).double()
    if event.levels is not None:
        low, high = 0, event.levels - 1
    return ((images - low) / max(high - low, 1e-12) * 255).round().clamp(0, 255).to(torch.uint8)


def heat(t: Tensor) -> Tensor:
    """Colours (N, 3, H, W) in [0, 1] of t (N, H, W) in [0, 1]: black, red, yellow, white."""
    return (3 * t[:, None] - torch.arange(3).view(3, 1, 1)).clamp(0, 1).float()


def grid_layout(
    event: Event, n: int, *, columns: int | None = None, scale: int | None = None
) -> tuple[int, int, int, int]:
    """(rows, columns, scale, pixels) of a grid of n images.

    Without `columns` the grid is about square; without `scale` images are magnified by whole
    numbers until a side has 64 pixels.
    """
    height, width = event.shape[-2:]
    columns = min(n, columns or math.ceil(math.sqrt(n)))
    rows = math.ceil(n / columns)
    scale = scale or max(1, math.ceil(_TILE / max(height, width)))
    pixels = (rows * (height * scale + GAP) + GAP) * (columns * (width * scale + GAP) + GAP)
    if pixels > MAX_PIXELS:
        raise UsageError(
            f"{n} images of {width}x{height}, magnified {scale} times, make a picture of "
            f"{pixels} pixels; at most {MAX_PIXELS} are drawn.",
            hint="draw fewer, or write .npz",
        )
    return rows, columns, scale, pixels


def grid(images: Tensor, rows: int, columns: int, scale: int) -> np.ndarray:
    """Images (N, C, H, W) uint8 in reading order, magnified without smoothing."""
    large = images.repeat_interleave(scale, -1).repeat_interleave(scale, -2)
    tiles = large.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
    height, width = tiles.shape[1] + GAP, tiles.shape[2] + GAP
    canvas = np.full((rows * height + GAP, columns * width + GAP, 3), BACKGROUND, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = GAP + i // columns * height, GAP + i % columns * width
        canvas[top : top + height - GAP, left : left + width - GAP] = tile
    return canvas


def scatter(points: Tensor, side: int = _SCATTER_SIDE) -> np.ndarray:
    """A density plot of points (N, 2): x to the right, y upwards, dark where dense.

    A pixel with c points has brightness 255 (1 - log(1 + c) / log(1 + max c)), at most 160 where
    there is any.
    """
    xy = points.double().numpy()
    low, high = xy.min(0), xy.max(0)
    half = max(float((high - low).max()) / 2 * (1 + 2 * _SCATTER_MARGIN), 1e-6)
    unit = (xy - (low + high) / 2) / (2 * half) + 0.5  # [0, 1]^2
    column, row = np.clip((unit * side).astype(np.int64), 0, side - 1).T
    count = np.zeros((side, side))
    np.add.at(count, (side - 1 - row, column), 1)
    light = 1 - np.log1p(count) / np.log1p(count.max())
    value = np.where(count > 0, np.minimum(255 * light, 160), 255)
    return np.repeat(value.astype(np.uint8)[:, :, None], 3, axis=2)
