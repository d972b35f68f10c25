"""The base of both PixelRNNs: a residual stack of LSTM scans (van den Oord et al., 2016).

Pixel recurrent neural networks, https://arxiv.org/abs/1601.06759, sections 3.3 and 3.5:

    x = conv_A k x k (image)                  the rows above and the pixels to the left
    x = x + up(h),  h = scan(K_is x)          L times, 2U to U to 2U features

The head is relu, 1 x 1, relu, 1 x 1 on x, or "copy_mixture" (`copy_mixture.py`). The paper splits
all features into channel groups; here only the head relates the channels of a pixel. A class c
adds V e_c to K_is x.

Shapes: B batch, C channels, H rows, W columns, U units.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from torch import Tensor, nn

from zoo_autoregressive.image_model import (
    AutoregressiveImageModel,
    StackConfig,
    make_head,
)
from zoo_autoregressive.incremental_decoding import Pass
from zoo_autoregressive.layers import TypeAConv
from zoo_core.plugin import Range

__all__ = ["PixelRNN", "PixelRNNConfig"]


@dataclass(frozen=True)
class PixelRNNConfig(StackConfig):
    """A `StackConfig` with the 7 layers that the paper uses on MNIST."""

    layers: Annotated[int, Range(1, 256)] = 7
    head: Annotated[int, Range(1, 65536)] | Literal["copy_mixture"] = 32  # type: ignore[assignment]


class PixelRNN(AutoregressiveImageModel):
    """A residual stack of scans; a subclass says which `layer` it stacks."""

    def __init__(
        self, config: PixelRNNConfig | None, layer: Callable[[PixelRNNConfig], nn.Module]
    ) -> None:
        c = config or PixelRNNConfig()
        super().__init__(c)
        self.first = TypeAConv(self.inputs, 2 * c.hidden, c.kernel_size)
        self.layers = nn.ModuleList(layer(c) for _ in range(c.layers))
        self.head = make_head(c.head, 2 * c.hidden, c.shape, c.levels)

    def vertical(self, above: Tensor, run: Pass) -> None:
        self.first.vertical(above, run)

    def horizontal(self, left: Tensor, here: Tensor, run: Pass) -> Tensor:
        x = self.first.horizontal(left, run)
        for layer in self.layers:
            x = layer(x, run)
        return x
