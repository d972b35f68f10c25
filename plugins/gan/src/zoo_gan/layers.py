"""How a class enters networks, and networks for vectors.

Shapes: B batch, L latents, E embedding, F features.
"""

import math

import torch
from torch import Tensor, nn

__all__ = ["SLOPE", "Critic", "Generator", "Waves", "mlp", "width_of"]

SLOPE = 0.2
"""Of leaky rectifiers below 0 (Radford et al., 2016)."""

_EMBEDDING = 32


class Generator(nn.Module):
    """A body from vectors (B, L + E) to events; a class is a learned vector beside z."""

    def __init__(self, body: nn.Module, classes: int | None = None) -> None:
        super().__init__()
        self.body = body
        self.embedding = nn.Embedding(classes, _EMBEDDING) if classes else None

    def forward(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        if self.embedding is not None:
            z = torch.cat((z, self.embedding(cond)), 1)
        x: Tensor = self.body(z)
        return x


def width_of(latent: int, classes: int | None) -> int:
    """How long the vectors are that a generator's body is given."""
    return latent + (_EMBEDDING if classes else 0)


class Critic(nn.Module):
    """Scores of a body's features h (B, F): w.h + e_c.h / sqrt(F), the class being projected.

    cGANs with Projection Discriminator (Miyato & Koyama, 2018), eq. 3.
    """

    def __init__(self, body: nn.Module, features: int, classes: int | None = None) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(features, 1)
        self.embedding = nn.Embedding(classes, features) if classes else None

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        h: Tensor = self.body(x)
        score: Tensor = self.head(h).squeeze(1)
        if self.embedding is not None:
            score = score + (self.embedding(cond) * h).sum(1) / math.sqrt(h.shape[1])
        return score


class Waves(nn.Module):
    """(B, D) -> (B, D + 2 F): x beside cos and sin of 2 pi B x, with F random frequencies B.

    They let an MLP bend on lengths far below those of the data (Tancik et al., 2020, section 6).
    B ~ N(0, frequency^2), in cycles a unit, is drawn once and kept with the weights.
    """

    def __init__(self, features: int, count: int, frequency: float) -> None:
        super().__init__()
        self.register_buffer("frequencies", frequency * torch.randn(features, count))

    def forward(self, x: Tensor) -> Tensor:
        assert isinstance(self.frequencies, Tensor)
        angles = 2 * math.pi * (x @ self.frequencies)
        return torch.cat((x, angles.cos(), angles.sin()), 1)


def mlp(widths: tuple[int, ...], *, last: bool) -> nn.Sequential:
    """Linear maps between `widths` with leaky rectifiers between, and after the `last` if so."""
    layers: list[nn.Module] = []
    for a, b in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(a, b), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers[: None if last else -1])
