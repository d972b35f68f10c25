"""A residual network over images that keeps their size (RealNVP, section 3).

    h = conv(x) + V c,  h <- h + conv(relu(conv(relu(h)))),  y = conv_1x1(relu(h))

Density estimation using Real NVP (Dinh et al., 2017), https://arxiv.org/abs/1605.08803.

Shapes: B batch, N input and M output channels, E context features, U hidden channels.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from zoo_core.config import Range
from zoo_core.nn.layers import ResidualBranch, context_layer, init_output

__all__ = ["ResNetConfig", "ResidualConvNet", "build_resnet"]


@dataclass(frozen=True)
class ResNetConfig:
    """`hidden` channels in each of `blocks` residual blocks of two 3x3 convolutions."""

    type: ClassVar[str] = "resnet"
    hidden: Annotated[int, Range(1, 65536)] = 64
    blocks: Annotated[int, Range(1, 256)] = 2
    dropout: Annotated[float, Range(0.0, 0.99)] = 0.0


class ResidualConvNet(nn.Module):
    """A residual network over images, of 3x3 convolutions (RealNVP, section 3)."""

    def __init__(
        self,
        n: int,
        m: int,
        *,
        hidden: int,
        blocks: int,
        context: int = 0,
        dropout: float = 0.0,
        initial: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.first = nn.Conv2d(n, hidden, 3, padding=1)
        self.context = context_layer(context, hidden)
        self.blocks = nn.ModuleList(
            ResidualBranch(_conv(hidden), _conv(hidden), dropout) for _ in range(blocks)
        )
        self.last = nn.Conv2d(hidden, m, 1)
        init_output(self.last, initial)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        y: Tensor = self.first(x)
        if self.context is not None:
            y = y + self.context(h)[:, :, None, None]
        for block in self.blocks:
            y = y + block(y)
        y = self.last(F.relu(y))
        return y


def build_resnet(
    config: ResNetConfig, *, inputs: int, outputs: int, size: tuple[int, int]
) -> ResidualConvNet:
    """The network of the signature `image`, whose last layer starts at random."""
    c = config
    net = ResidualConvNet(inputs, outputs, hidden=c.hidden, blocks=c.blocks, dropout=c.dropout)
    net.last.reset_parameters()
    return net


def _conv(hidden: int) -> nn.Conv2d:
    return nn.Conv2d(hidden, hidden, 3, padding=1)
