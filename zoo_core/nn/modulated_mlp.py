"""A residual MLP for vectors of a few values, modulated by the embedded time and label.

    h <- h + W_2 silu((1 + a) norm(W_1 h) + b),    (a, b) = V silu(e)

Shapes: B batch, S the event's shape, H hidden units.
"""

from dataclasses import dataclass
from math import prod
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_core.config import Range
from zoo_core.nn.embedding import SinusoidalEmbedding, TimestepEmbedding, embed_labels

__all__ = ["ModulatedMLP", "ModulatedMLPConfig"]


@dataclass(frozen=True)
class ModulatedMLPConfig:
    """`hidden` units in each of `layers` residual blocks."""

    type: ClassVar[str] = "mlp"
    hidden: Annotated[int, Range(2, 65536)] = 128
    layers: Annotated[int, Range(1, 256)] = 3


class _ResidualBlock(nn.Module):
    """h + W_2 silu((1 + a) norm(W_1 h) + b), starting as the identity."""

    def __init__(self, H: int) -> None:
        super().__init__()
        self.inner = nn.Linear(H, H)
        self.norm = nn.LayerNorm(H, elementwise_affine=False)
        self.modulation = nn.Linear(H, 2 * H)
        self.outer = nn.Linear(H, H)
        nn.init.zeros_(self.outer.weight)

    def modulated(self, e: Tensor) -> Tensor:
        """a and b for silu(embedding) e (B, H), stacked: (B, 2, H)."""
        a_b: Tensor = self.modulation(e)
        return a_b.view(len(a_b), 2, -1)

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        a, b = self.modulated(e).unbind(-2)
        out: Tensor = h + self.outer(F.silu((1 + a) * self.norm(self.inner(h)) + b))
        return out


class ModulatedMLP(nn.Module):
    """m(x_t, time, label) for events of any shape, flattened; `inputs` counts channels."""

    def __init__(
        self,
        config: ModulatedMLPConfig,
        shape: tuple[int, ...],
        inputs: int,
        num_labels: int = 0,
    ) -> None:
        super().__init__()
        H = config.hidden
        self.shape, self.inputs = shape, inputs * prod(shape[1:])
        self.embedding = SinusoidalEmbedding(H)
        self.time = TimestepEmbedding(H, H)
        self.label = nn.Embedding(num_labels, H) if num_labels else None
        self.first = nn.Linear(self.inputs, H)
        self.blocks = nn.ModuleList(_ResidualBlock(H) for _ in range(config.layers))
        self.last = nn.Linear(H, prod(shape))
        nn.init.zeros_(self.last.weight)

    def modulation(self, time: Tensor) -> Tensor:
        """(a, b) of every block at times (T,), without a label: (T, blocks, 2, H)."""
        e = F.silu(self.time(self.embedding(time).to(self.first.weight.dtype)))
        return torch.stack([self._block(i).modulated(e) for i in range(len(self.blocks))], 1)

    def weights(self) -> list[Tensor]:
        """Weights and biases without the modulation's, as `zoo_kernels.mlp_sampler` takes them."""
        blocks = [self._block(i) for i in range(len(self.blocks))]
        layers = [self.first, *(f for b in blocks for f in (b.inner, b.outer)), self.last]
        return [t.detach() for layer in layers for t in (layer.weight, layer.bias)]

    def _block(self, i: int) -> _ResidualBlock:
        block = self.blocks[i]
        assert isinstance(block, _ResidualBlock)
        return block

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        """x (B, C, ...), time (B,), label (B,) or (B, N) int64 -> (B, *S)."""
        e = self.time(self.embedding(time).to(x.dtype))
        if self.label is not None and label is not None:
            e = e + embed_labels(self.label, label)
        e, h = F.silu(e), self.first(x.flatten(1))
        for block in self.blocks:
            h = block(h, e)
        out: Tensor = self.last(F.silu(h))
        return out.view(len(x), *self.shape)
