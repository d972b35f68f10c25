"""Time embeddings: sinusoids (Ho et al., 2020) and random Fourier features (Song et al., 2021).

Shapes: B batch, E size of the embedding, N labels.
"""

import math

import torch
from torch import Tensor, nn

__all__ = ["RandomFourierFeatures", "SinusoidalEmbedding", "TimestepEmbedding", "embed_labels"]

_MAX_PERIOD = 10_000.0


class SinusoidalEmbedding(nn.Module):
    """[sin(w_i t), cos(w_i t)] with w_i = 10000^(-i / (E/2 - shift)); `flip` puts cos first."""

    def __init__(self, size: int, *, flip: bool = False, shift: float = 1.0) -> None:
        super().__init__()
        self.size, self.flip, self.shift = size, flip, shift

    def forward(self, time: Tensor) -> Tensor:
        half = self.size // 2
        i = torch.arange(half, device=time.device, dtype=time.dtype)
        w = torch.exp(-math.log(_MAX_PERIOD) * i / (half - self.shift))
        angle = time[:, None] * w
        features = (angle.cos(), angle.sin()) if self.flip else (angle.sin(), angle.cos())
        return nn.functional.pad(torch.cat(features, -1), (0, self.size % 2))


class RandomFourierFeatures(nn.Module):
    """[sin(2 pi w_i log t), cos(2 pi w_i log t)] with fixed w_i ~ N(0, 16^2).

    `flip` puts cos first; without `log` the features are those of t itself.
    """

    weight: Tensor

    def __init__(self, size: int, *, flip: bool = False, log: bool = True) -> None:
        super().__init__()
        self.flip, self.log = flip, log
        self.register_buffer("weight", 16.0 * torch.randn(size))

    def forward(self, time: Tensor) -> Tensor:
        t = time.log() if self.log else time
        angle = t[:, None] * self.weight.to(time.dtype) * (2 * math.pi)
        features = (angle.cos(), angle.sin()) if self.flip else (angle.sin(), angle.cos())
        return torch.cat(features, -1)


class TimestepEmbedding(nn.Module):
    """An MLP on the embedded time: linear, SiLU, linear."""

    def __init__(self, inputs: int, size: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(inputs, size)
        self.linear_2 = nn.Linear(size, size)

    def forward(self, e: Tensor) -> Tensor:
        out: Tensor = self.linear_2(nn.functional.silu(self.linear_1(e)))
        return out


def embed_labels(table: nn.Embedding, label: Tensor) -> Tensor:
    """The embedding (B, E) of one label (B,), or the sum of those of several (B, N)."""
    e: Tensor = table(label)
    return e if label.ndim == 1 else e.sum(1)
