"""Codes of several levels, z = (z_1, ..., z_L), each normal given others of them.

A flat code holds its levels side by side, z_1 first, whatever order they depend on each other in.

Shapes: B batch, Z latents of all levels, Z_l those of a level, of a shape of its own.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Size, Tensor

from zoo_core.plugin import Normal, Product, Rng

__all__ = ["Level", "Levels", "Pick", "flat", "split"]

Pick = Callable[[int, Normal], Tensor]
"""The value z_l of level l (from 0) given its conditional: a draw, the mean, or a known one."""

Level = tuple[Normal, Tensor]
"""A level's conditional and its value."""


class Levels(ABC):
    """A distribution over flat codes (B, Z), told level by level."""

    def __init__(self, shapes: Sequence[Size]) -> None:
        self.shapes = shapes

    @abstractmethod
    def walk(self, pick: Pick) -> list[Level]:
        """All levels in the order of the code, each conditioned on what was picked before it."""

    @property
    def mean(self) -> Tensor:
        """Each level's mean given the means before it, (B, Z)."""
        return flat(self.walk(lambda l, q: q.mean))

    def sample(self, rng: Rng, *, stream: str, step: int = 0) -> Tensor:
        """(B, Z), differentiable."""
        return flat(self.walk(lambda l, q: q.sample(rng, stream=f"{stream}{l}", step=step)))

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of z (B, Z), (B,)."""
        return self.given(z).log_prob(z)

    def given(self, z: Tensor) -> Product:
        """The conditionals at z (B, Z)."""
        known = split(z, self.shapes)
        return Product(tuple(q for q, _ in self.walk(lambda l, q: known[l])))


def flat(levels: Sequence[Level]) -> Tensor:
    """Values of levels side by side, (B, Z)."""
    return torch.cat([z.flatten(1) for _, z in levels], 1)


def split(z: Tensor, shapes: Sequence[Size]) -> list[Tensor]:
    """Codes (B, Z) as levels (B, *Z_l)."""
    parts = torch.split(z, [shape.numel() for shape in shapes], 1)
    return [part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]
