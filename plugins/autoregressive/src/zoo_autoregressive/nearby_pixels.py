"""What a pixel of a drawing is often a copy of, or a blend of: pixels that are known before it.

The candidates are eight causal neighbours, the mirrored pixel of the row and its neighbour, the
mirrored pixel of the column, and one colour of the whole data set, such as the background's. That
colour also stands for the value of a candidate that is outside the image or comes later in raster
order.

Shapes: B batch, C channels, H rows, W columns, K levels, N candidates; (h, w) are the positions
that are looked at.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoo_autoregressive.heads import ALL
from zoo_core.plugin import rescale_levels

__all__ = ["CANDIDATES", "Candidates", "NearbyPixels"]

_NEIGHBOURS = ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-1, -2), (-1, 2))
W, N, NW, NE, WW, NN, NWW, NEE, MIRROR, MIRROR_W, MIRROR_ROW, COLOUR = range(12)
"""The candidates by their places relative to the pixel; W is the one to its left. The mirror is
the middle column, for `MIRROR_ROW` the middle row, and `MIRROR_W` mirrors W."""
CANDIDATES = COLOUR + 1


class Candidates(NamedTuple):
    """What a pixel may be a copy of, at some positions of an image."""

    values: Tensor
    """From -1 to 1, (B, C, N, h, w)."""
    levels: Tensor
    """The same as levels, int64 (B, C, N, h, w)."""
    known: Tensor
    """Whether the candidate is in the image and comes before the pixel, (N, h, w)."""
    seen: Tensor
    """All of this for a network, and which candidates are equal, (B, inputs, h, w)."""


class NearbyPixels(nn.Module):
    """Finds the candidates of every pixel of images (C, H, W) of K levels.

    `colour` (C,) are the levels of the last candidate, at first the highest.
    """

    colour: Tensor
    places: Tensor
    known: Tensor
    pairs: Tensor

    def __init__(self, shape: tuple[int, int, int], levels: int) -> None:
        super().__init__()
        C, H, W = shape
        pairs = torch.combinations(torch.arange(CANDIDATES)).T
        self.levels, self.inputs = levels, CANDIDATES * (C + 1) + pairs.shape[1]
        places, known = _places(H, W)
        self.register_buffer("colour", torch.full((C,), levels - 1))
        self.register_buffer("places", places, persistent=False)
        self.register_buffer("known", known, persistent=False)
        self.register_buffer("pairs", pairs, persistent=False)

    def forward(
        self, x: Tensor, dtype: torch.dtype, rows: slice = ALL, columns: slice = ALL
    ) -> Candidates:
        """The candidates at some positions of images x (B, C, H, W), from earlier pixels alone."""
        places, known = self.places[:, rows, columns], self.known[:, rows, columns]
        colour = self.colour.to(x.dtype)[:, None].expand(len(x), -1, -1)
        found = torch.cat((x.flatten(2), colour), 2)[:, :, places.flatten()]
        found = found.unflatten(2, places.shape)
        values, levels = rescale_levels(found, self.levels, dtype), found.long()
        return Candidates(values, levels, known, self._seen(values, levels, known))

    @torch.no_grad()
    def set_colour(self, x: Tensor) -> None:
        """Take the most frequent colour of images x (B, C, H, W) for the last candidate."""
        colours, counts = x.movedim(1, -1).flatten(0, -2).unique(dim=0, return_counts=True)
        self.colour.copy_(colours[counts.argmax()])

    def _seen(self, values: Tensor, levels: Tensor, known: Tensor) -> Tensor:
        a, b = self.pairs
        power = self.levels ** torch.arange(levels.shape[1], device=levels.device)
        code = (levels * power.view(-1, 1, 1, 1)).sum(1)  # one number for each colour
        equal = (code[:, a] == code[:, b]) & known[a] & known[b]
        known = known.to(values.dtype).expand(len(values), -1, -1, -1)
        return torch.cat((values.flatten(1, 2), known, equal.to(values.dtype)), 1)


def _places(H: int, W: int) -> tuple[Tensor, Tensor]:
    """Where the candidates are, flat (N, H, W), H W for the colour; and which are known."""
    r, c = torch.arange(H)[:, None], torch.arange(W)[None]
    places = [(r + dr, c + dc) for dr, dc in _NEIGHBOURS]
    places += [(r, W - 1 - c), (r, W - c), (H - 1 - r, c)]
    found, known = [], []
    for row, column in places:
        earlier = (row < r) | ((row == r) & (column < c))
        inside = (row >= 0) & (column >= 0) & (column < W) & earlier
        found.append(torch.where(inside, row * W + column, H * W))
        known.append(inside)
    found.append(torch.full((H, W), H * W))
    known.append(torch.ones(H, W, dtype=torch.bool))
    return torch.stack(found), torch.stack(known)
