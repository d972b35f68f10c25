"""Row LSTM: PixelRNN from the top row to the bottom one (van den Oord et al., 2016).

Pixel recurrent neural networks, https://arxiv.org/abs/1601.06759, sections 3.1, 3.3 and 3.5:

    x = x + up(h),  h = scan(K_is x)                      L times; K_is sees columns c - 1 and c

in the stack of `pixelrnn.py`, where the scan (`lstm.py`) takes each row's state from that of the
row above, three columns wide, so that a pixel sees a triangle above it.

Shapes: B batch, C channels, H rows, W columns, U units.
"""

from torch import Tensor, nn

from zoo_autoregressive.incremental_decoding import Pass, PixelConv, RasterConv
from zoo_autoregressive.layers import add_class, class_weights
from zoo_autoregressive.lstm import RowCell, row_scan
from zoo_autoregressive.pixelrnn import PixelRNN, PixelRNNConfig
from zoo_core.plugin import dropout

__all__ = ["PixelRNNConfig", "RowLSTM"]


class RowLSTM(PixelRNN):
    """A residual stack of row scans."""

    def __init__(self, config: PixelRNNConfig | None = None) -> None:
        super().__init__(config, RowLayer)


class RowLayer(nn.Module):
    """x + up(scan(K_is x + V e_c)), 2U to U to 2U features."""

    def __init__(self, c: PixelRNNConfig) -> None:
        super().__init__()
        U, self.dropout = c.hidden, c.dropout
        self.K_is = RasterConv(2 * U, 4 * U, 1, 2, left=1)
        self.cell = RowCell(U)
        self.up = PixelConv(U, 2 * U)
        self.V = class_weights(c.classes, 4 * U)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        h = row_scan(self.cell, add_class(run.conv(self.K_is, x), self.V, run.e), run)
        added: Tensor = self.up(dropout(h, self.dropout, self.training))
        return x + added
