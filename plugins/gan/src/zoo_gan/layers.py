"""Layers that the family's networks share: class conditioning, random Fourier features, MLPs.

Shapes: B batch, L latents, E embedding, F features.
"""

import math

import torch
from torch import Tensor, nn

from zoo_core.plugin import Condition, embed_classes

__all__ = [
    "EMBEDDING",
    "LEAKY_SLOPE",
    "ConditionalGenerator",
    "FourierFeatures",
    "ProjectionDiscriminator",
    "input_width",
    "mlp",
]

LEAKY_SLOPE = 0.2
"""Negative slope of the leaky ReLUs (Radford et al., 2016)."""

EMBEDDING = 32
"""Size of a generator's class embeddings, unless its architecture says otherwise."""


class ConditionalGenerator(nn.Module):
    """A network from vectors (B, L + E) to events; a class embedding, or the sum of those
    of several labels, is concatenated to z."""

    def __init__(
        self, body: nn.Module, condition: Condition | None = None, size: int = EMBEDDING
    ) -> None:
        super().__init__()
        self.body, self.condition = body, condition or Condition()
        self.embedding = class_table(self.condition, size)

    def forward(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        if self.embedding is not None:
            assert cond is not None  # the drivers see to it
            z = torch.cat((z, embed_classes(self.embedding, self.condition, cond)), 1)
        x: Tensor = self.body(z)
        return x


def class_table(condition: Condition, size: int) -> nn.Embedding | None:
    """Embeddings of every class of every label; None without classes."""
    return nn.Embedding(condition.features, size) if condition.features else None


def input_width(latent: int, condition: Condition, size: int = EMBEDDING) -> int:
    """Width L + E of what `ConditionalGenerator` feeds its body."""
    return latent + (size if condition.features else 0)


class ProjectionDiscriminator(nn.Module):
    """Scores w.h + e_c.h / sqrt(F) of a network's features h (B, F), with class
    embeddings e_c; those of several labels are added.

    cGANs with Projection Discriminator (Miyato & Koyama, 2018), eq. 3,
    https://arxiv.org/abs/1802.05637.
    """

    def __init__(self, body: nn.Module, features: int, condition: Condition | None = None) -> None:
        super().__init__()
        self.body, self.condition = body, condition or Condition()
        self.head = nn.Linear(features, 1)
        self.embedding = class_table(self.condition, features)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        h: Tensor = self.body(x)
        score: Tensor = self.head(h).squeeze(1)
        if self.embedding is not None:
            assert cond is not None
            e = embed_classes(self.embedding, self.condition, cond)
            score = score + (e * h).sum(1) / math.sqrt(h.shape[1])
        return score


class FourierFeatures(nn.Module):
    """Random Fourier features: x and the cosines and sines of 2 pi B x, (B, D) -> (B, D + 2 F).

    An MLP resolves structure far smaller than the data's extent with them (Tancik et al., 2020,
    section 6, https://arxiv.org/abs/2006.10739). The F frequencies B ~ N(0, frequency^2), in
    cycles per unit of x, are drawn once and saved with the weights.
    """

    def __init__(self, features: int, count: int, frequency: float) -> None:
        super().__init__()
        self.register_buffer("frequencies", frequency * torch.randn(features, count))

    def forward(self, x: Tensor) -> Tensor:
        assert isinstance(self.frequencies, Tensor)
        angles = 2 * math.pi * (x @ self.frequencies)
        return torch.cat((x, angles.cos(), angles.sin()), 1)


def mlp(widths: tuple[int, ...], *, last: bool) -> nn.Sequential:
    """Linear layers of `widths` with leaky ReLUs between them and, if `last`, at the end."""
    layers: list[nn.Module] = []
    for a, b in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(a, b), nn.LeakyReLU(LEAKY_SLOPE)]
    return nn.Sequential(*layers[: None if last else -1])
