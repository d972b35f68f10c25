"""Layers that the networks of this package share.

Shapes: M outputs, E context features, U hidden units.
"""

import torch
from torch import Tensor, nn

__all__ = ["context_layer", "init_output"]


def init_output(layer: nn.Linear | nn.Conv2d, initial: Tensor | None) -> None:
    """Set a layer's parameters so that its output is `initial` (M,), or zero, for every input."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    with torch.no_grad():
        layer.bias.copy_(torch.zeros_like(layer.bias) if initial is None else initial)


def context_layer(features: int, hidden: int) -> nn.Linear | None:
    """A linear map of a context (B, E) to hidden units; None without a context."""
    return nn.Linear(features, hidden, bias=False) if features else None
