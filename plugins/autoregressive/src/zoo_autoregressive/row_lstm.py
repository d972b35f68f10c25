"""Row LSTM: PixelRNN from the top row to the bottom one (van den Oord et al., 2016).

Pixel recurrent neural networks, https://arxiv.org/abs/1601.06759, sections 3.1, 3.3 and 3.5:

    x = conv_A k x k (image)                              the rows above and the pixels to the left
    x = x + up(h),  h = scan(K_is x)                      L times; K_is sees columns c - 1 and c

where the scan (`scans.py`) takes each row's state from that of the row above, three columns wide,
so that a pixel sees a triangle above it. The head is relu, 1 x 1, relu, 1 x 1 on x. The paper
splits all features into channel groups; here a pixel's channels meet in the head. A class c adds
V e_c to K_is x.

Shapes: B batch, C channels, H rows, W columns, U units.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from zoo_autoregressive.heads import Categorical
from zoo_autoregressive.layers import Surroundings
from zoo_autoregressive.passes import Pass, RasterConv
from zoo_autoregressive.raster import CONSTANTS, RasterModel
from zoo_autoregressive.scans import RowCell, row_scan
from zoo_core import Range

__all__ = ["Config", "RowLSTM"]


@dataclass(frozen=True)
class Config:
    """Event, width U and depth, and the first layer's k. `classes` makes it class-conditional."""

    shape: Annotated[tuple[int, int, int], Range(1, 4096)] = (1, 28, 28)
    levels: Annotated[int, Range(2, 65536)] = 2
    classes: Annotated[int, Range(1, 65536)] | None = None
    hidden: Annotated[int, Range(1, 65536)] = 16
    layers: Annotated[int, Range(1, 256)] = 7
    kernel: Literal[3, 5, 7, 9, 11] = 7
    head: Annotated[int, Range(1, 65536)] = 32
    dropout: Annotated[float, Range(0.0, 0.99)] = 0.0


class RowLSTM(RasterModel):
    """A residual stack of row scans."""

    def __init__(self, config: Config | None = None) -> None:
        c = config or Config()
        super().__init__(c)
        self.first = Surroundings(c.shape[0] + CONSTANTS, 2 * c.hidden, c.kernel)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.layers))
        self.head = Categorical(2 * c.hidden, c.head, c.shape[0], c.levels)

    def vertical(self, above: Tensor, run: Pass) -> None:
        self.first.vertical(above, run)

    def horizontal(self, left: Tensor, here: Tensor, run: Pass) -> Tensor:
        x = self.first.horizontal(left, run)
        for layer in self.layers:
            x = layer(x, run)
        return x


class Layer(nn.Module):
    """x + up(scan(K_is x + V e_c)), 2U to U to 2U features."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        U, self.dropout = c.hidden, c.dropout
        self.K_is = RasterConv(2 * U, 4 * U, 1, 2, left=1)
        self.cell = RowCell(U)
        self.up = nn.Conv2d(U, 2 * U, 1)
        self.V = nn.Linear(c.classes, 4 * U, bias=False) if c.classes else None

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        y = run.conv(self.K_is, x)
        if self.V is not None:
            y = y + self.V(run.e)[..., None, None]
        h = row_scan(self.cell, y, run)
        added: Tensor = self.up(F.dropout(h, self.dropout, self.training))
        return x + added
