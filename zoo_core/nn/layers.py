"""Layers that the networks of this package share.

Shapes: M outputs, E context features, U hidden units.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ResidualBranch", "context_layer", "init_output"]


class ResidualBranch(nn.Sequential):
    """W_2 dropout(relu(W_1 relu(y))), of two linear or convolutional layers.

    It is a Sequential of five by the names of its weights. Calls of small layers cost as much as
    their products, so that functions stand for the ReLUs, and nothing for a dropout of zero.
    """

    def __init__(self, first: nn.Module, second: nn.Module, dropout: float) -> None:
        super().__init__(nn.ReLU(), first, nn.ReLU(), nn.Dropout(dropout), second)

    def forward(self, y: Tensor) -> Tensor:
        _, first, _, dropout, second = self
        h = F.relu_(first(F.relu(y)))
        branch: Tensor = second(dropout(h) if dropout.p else h)
        return branch


def init_output(layer: nn.Linear | nn.Conv2d, initial: Tensor | None) -> None:
    """Set a layer's parameters so that its output is `initial` (M,), or zero, for every input."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    with torch.no_grad():
        layer.bias.copy_(torch.zeros_like(layer.bias) if initial is None else initial)


def context_layer(features: int, hidden: int) -> nn.Linear | None:
    """A linear map of a context (B, E) to hidden units; None without a context."""
    return nn.Linear(features, hidden, bias=False) if features else None
