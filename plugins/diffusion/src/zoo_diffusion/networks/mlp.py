"""A residual MLP for events of a few reals, modulated by the embedded time and label.

    h <- h + W_2 silu((1 + a) norm(W_1 h) + b),    (a, b) = V silu(e)

Shapes: B batch, S the event's shape, H hidden units.
"""

from dataclasses import dataclass
from math import prod
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_core.plugin import Range
from zoo_diffusion.networks.embedding import Positional, TimeMLP

__all__ = ["MLP", "MLPConfig"]


@dataclass(frozen=True)
class MLPConfig:
    """Width and depth."""

    type: ClassVar[str] = "mlp"
    hidden: Annotated[int, Range(2, 65536)] = 128
    layers: Annotated[int, Range(1, 256)] = 3


class _Block(nn.Module):
    def __init__(self, H: int) -> None:
        super().__init__()
        self.inner = nn.Linear(H, H)
        self.norm = nn.LayerNorm(H, elementwise_affine=False)
        self.modulation = nn.Linear(H, 2 * H)
        self.outer = nn.Linear(H, H)
        nn.init.zeros_(self.outer.weight)

    def modulated(self, e: Tensor) -> Tensor:
        """[a, b], (B, 2, H)."""
        both: Tensor = self.modulation(e)
        return both.view(len(both), 2, -1)

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        a, b = self.modulated(e).unbind(-2)
        out: Tensor = h + self.outer(F.silu((1 + a) * self.norm(self.inner(h)) + b))
        return out


class MLP(nn.Module):
    """m(x_t, time, label) for events of any shape, flattened."""

    def __init__(
        self, config: MLPConfig, shape: tuple[int, ...], inputs: int, labels: int = 0
    ) -> None:
        super().__init__()
        H = config.hidden
        self.shape, self.inputs = shape, inputs
        self.embedding = Positional(H)
        self.time = TimeMLP(H, H)
        self.label = nn.Embedding(labels, H) if labels else None
        self.first = nn.Linear(inputs, H)
        self.blocks = nn.ModuleList(_Block(H) for _ in range(config.layers))
        self.last = nn.Linear(H, prod(shape))
        nn.init.zeros_(self.last.weight)

    def modulation(self, time: Tensor) -> Tensor:
        """(a, b) of every block at times (T,), without a label: (T, blocks, 2, H)."""
        e = F.silu(self.time(self.embedding(time).to(self.first.weight.dtype)))
        return torch.stack([self._block(i).modulated(e) for i in range(len(self.blocks))], 1)

    def weights(self) -> list[Tensor]:
        """All else, as `zoo_kernels.mlp_sampler` takes it."""
        blocks = [self._block(i) for i in range(len(self.blocks))]
        layers = [self.first, *(f for b in blocks for f in (b.inner, b.outer)), self.last]
        return [t.detach() for layer in layers for t in (layer.weight, layer.bias)]

    def _block(self, i: int) -> _Block:
        block = self.blocks[i]
        assert isinstance(block, _Block)
        return block

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        """x (B, C, ...), time (B,), label (B,) int64 -> (B, *S)."""
        e = self.time(self.embedding(time).to(x.dtype))
        if self.label is not None and label is not None:
            e = e + self.label(label)
        e, h = F.silu(e), self.first(x.flatten(1))
        for block in self.blocks:
            h = block(h, e)
        out: Tensor = self.last(F.silu(h))
        return out.view(len(x), *self.shape)
