"""What both PixelRNNs share: a residual stack of scans (van den Oord et al., 2016).

Pixel recurrent neural networks, https://arxiv.org/abs/1601.06759, sections 3.3 and 3.5:

    x = conv_A k x k (image)                  the rows above and the pixels to the left
    x = x + up(h),  h = scan(K_is x)          L times, 2U to U to 2U features

The head is relu, 1 x 1, relu, 1 x 1 on x. The paper splits all features into channel groups; here
a pixel's channels meet in the head. A class c adds V e_c to K_is x.

Shapes: B batch, C channels, H rows, W columns, U units.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from torch import Tensor, nn

from zoo_autoregressive.heads import Categorical
from zoo_autoregressive.image_model import CONSTANTS, RasterModel
from zoo_autoregressive.incremental_decoding import Pass
from zoo_autoregressive.layers import Surroundings
from zoo_core.plugin import Range

__all__ = ["Config", "PixelRNN"]


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


class PixelRNN(RasterModel):
    """A residual stack of scans; a subclass says which `layer` it stacks."""

    def __init__(self, config: Config | None, layer: Callable[[Config], nn.Module]) -> None:
        c = config or Config()
        super().__init__(c)
        self.first = Surroundings(c.shape[0] + CONSTANTS, 2 * c.hidden, c.kernel)
        self.layers = nn.ModuleList(layer(c) for _ in range(c.layers))
        self.head = Categorical(2 * c.hidden, c.head, c.shape[0], c.levels)

    def vertical(self, above: Tensor, run: Pass) -> None:
        self.first.vertical(above, run)

    def horizontal(self, left: Tensor, here: Tensor, run: Pass) -> Tensor:
        x = self.first.horizontal(left, run)
        for layer in self.layers:
            x = layer(x, run)
        return x
