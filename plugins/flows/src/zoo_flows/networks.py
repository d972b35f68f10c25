"""Conditioners: networks that predict a coupling's parameters from the channels that pass.

Each is called as `net(x, h)`, with a context h (B, E) or None. Its initial output is `initial`
for every input, so that a fresh coupling is close to the identity. `dropout` acts on the hidden
units of every block.

Shapes: B batch, N input and M output features or channels, U hidden units.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ConvNet", "ResidualConvNet", "ResidualMLP", "init_output"]


def init_output(layer: nn.Linear | nn.Conv2d, initial: Tensor | None) -> None:
    """Set a layer's parameters so that its output is `initial` (M,), or zero, for every input."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    with torch.no_grad():
        layer.bias.copy_(torch.zeros_like(layer.bias) if initial is None else initial)


def _context(features: int, hidden: int) -> nn.Linear | None:
    return nn.Linear(features, hidden, bias=False) if features else None


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
        self.context = _context(context, hidden)
        self.blocks = nn.ModuleList(_dense_block(hidden, dropout) for _ in range(blocks))
        self.last = nn.Linear(hidden, m)
        init_output(self.last, initial)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        y: Tensor = self.first(x if x.shape[1] else x.new_ones(len(x), 1))
        if self.context is not None:
            y = y + self.context(h)
        for block in self.blocks:
            y = y + block(y)
        y = self.last(F.relu(y))
        return y


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
        self.context = _context(context, hidden)
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
        self.context = _context(context, hidden)
        self.blocks = nn.ModuleList(_conv_block(hidden, dropout) for _ in range(blocks))
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


def _dense_block(hidden: int, dropout: float) -> nn.Sequential:
    first, second = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
    return nn.Sequential(nn.ReLU(), first, nn.ReLU(), nn.Dropout(dropout), second)


def _conv_block(hidden: int, dropout: float) -> nn.Sequential:
    first, second = (nn.Conv2d(hidden, hidden, 3, padding=1) for _ in range(2))
    return nn.Sequential(nn.ReLU(), first, nn.ReLU(), nn.Dropout(dropout), second)
