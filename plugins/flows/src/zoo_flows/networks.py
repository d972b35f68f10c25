"""The conditioner of Glow: a network that predicts a coupling's parameters from other channels.

Conditioners are called as `net(x, h)`, with a context h (B, E) or None. Their initial output is
`initial` for every input, so that a fresh coupling is close to the identity. `dropout` acts on the
hidden units of every block. The residual ones are the core's (`zoo_core.nn`).

Shapes: B batch, N input and M output features or channels, U hidden units.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from zoo_core.plugin import context_layer, init_output

__all__ = ["ConvNet"]


class ConvNet(nn.Module):
    """3x3, 1x1 and 3x3 convolutions (Glow, section 4)."""

    def __init__(
        self,
        n: int,
        m: int,
        *,
        hidden: int,
        context: int = 0,
        dropout: float = 0.0,
        initial: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.first = nn.Conv2d(n, hidden, 3, padding=1)
        self.context = context_layer(context, hidden)
        self.middle = nn.Conv2d(hidden, hidden, 1)
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Conv2d(hidden, m, 3, padding=1)
        init_output(self.last, initial)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        y: Tensor = self.first(x)
        if self.context is not None:
            y = y + self.context(h)[:, :, None, None]
        y = self.last(self.dropout(F.relu(self.middle(F.relu(y)))))
        return y
