"""A residual MLP over vectors, with features of a condition or a context.

    h = W x + V c,  h <- h + W_2 relu(W_1 relu(h)),  y = W_out relu(h)

Neural Spline Flows (Durkan et al., 2019), appendix B.1, https://arxiv.org/abs/1906.04032.

Shapes: B batch, N input and M output features, E context features, U hidden units.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from zoo_core.config import Range
from zoo_core.nn.layers import ResidualBranch, context_layer, init_output

__all__ = ["MLPConfig", "ResidualMLP", "build_mlp"]


@dataclass(frozen=True)
class MLPConfig:
    """`hidden` units in each of `blocks` residual blocks."""

    type: ClassVar[str] = "mlp"
    hidden: Annotated[int, Range(1, 65536)] = 128
    blocks: Annotated[int, Range(1, 256)] = 2
    dropout: Annotated[float, Range(0.0, 0.99)] = 0.0


class ResidualMLP(nn.Module):
    """A residual network over vectors: h <- h + W_2 relu(W_1 relu(h)) (NSF, appendix B.1)."""

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
        self.first = nn.Linear(max(1, n), hidden)  # without inputs it is fed ones
        self.context = context_layer(context, hidden)
        self.blocks = nn.ModuleList(
            ResidualBranch(nn.Linear(hidden, hidden), nn.Linear(hidden, hidden), dropout)
            for _ in range(blocks)
        )
        self.last = nn.Linear(hidden, m)
        init_output(self.last, initial)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        y: Tensor = self.first(x if x.shape[1] else x.new_ones(x.shape[0], 1))
        if self.context is not None:
            y = y + self.context(h)
        for block in self.blocks:
            y = y + block(y)
        y = self.last(F.relu(y))
        return y


def build_mlp(config: MLPConfig, *, inputs: int, outputs: int, features: int) -> ResidualMLP:
    """The network of the signature `vector`, whose last layer starts at random."""
    c = config
    net = ResidualMLP(
        inputs, outputs, hidden=c.hidden, blocks=c.blocks, context=features, dropout=c.dropout
    )
    net.last.reset_parameters()
    return net
