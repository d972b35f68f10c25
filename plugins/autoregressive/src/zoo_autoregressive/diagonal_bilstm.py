"""Diagonal BiLSTM: PixelRNN along both diagonals; each pixel sees all earlier ones.

Pixel recurrent neural networks (van den Oord et al., 2016), https://arxiv.org/abs/1601.06759,
sections 3.2, 3.3 and 3.5:

    x = x + up(h_left + h_right)                      L times, two scans of K_is x

in the stack of `pixelrnn.py`. The left scan (`lstm.py`) takes a pixel's state from the pixels
above and to its left, the right one from those above and to its right, moved one row down.

Shapes: B batch, C channels, H rows, W columns, U units.
"""

from torch import Tensor, nn

from zoo_autoregressive.incremental_decoding import Pass, PixelConv
from zoo_autoregressive.layers import add_class, class_weights
from zoo_autoregressive.lstm import DiagonalCell, diagonal_scan, mirrored_scan
from zoo_autoregressive.pixelrnn import PixelRNN, PixelRNNConfig
from zoo_core.plugin import dropout

__all__ = ["DiagonalBiLSTM", "PixelRNNConfig"]


class DiagonalBiLSTM(PixelRNN):
    """A residual stack of pairs of diagonal scans."""

    by_rows = False  # a pixel's state comes from the one to its left

    def __init__(self, config: PixelRNNConfig | None = None) -> None:
        super().__init__(config, DiagonalLayer)


class DiagonalLayer(nn.Module):
    """x + up(h_left + h_right), 2U to U to 2U features."""

    def __init__(self, c: PixelRNNConfig) -> None:
        super().__init__()
        U, self.dropout = c.hidden, c.dropout
        self.K_is = PixelConv(2 * U, 8 * U)  # [left | right]
        self.left, self.right = DiagonalCell(U), DiagonalCell(U)
        self.up = PixelConv(U, 2 * U)
        self.V = class_weights(c.classes, 8 * U)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        left, right = add_class(self.K_is(x), self.V, run.e).chunk(2, 1)
        h = diagonal_scan(self.left, left, run) + mirrored_scan(self.right, right, run)
        added: Tensor = self.up(dropout(h, self.dropout, self.training))
        return x + added
