"""Latents in groups, z = (z_1, ..., z_L), each normal given some of the others.

A flat latent vector holds the groups side by side, z_1 first, whichever order they depend on each
other in.

Shapes: B batch, Z latents of all groups; Z_l latents of group l, whose shape is its own.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Size, Tensor

from zoo_core.plugin import Normal, Product, Rng

__all__ = ["ChooseValue", "Group", "HierarchicalLatents", "concatenate", "split_groups"]

ChooseValue = Callable[[int, Normal], Tensor]
"""The value z_l of group l (from 0) given its conditional: a draw, the mean, or a known value."""

Group = tuple[Normal, Tensor]
"""A group's conditional and its value, both (B, *Z_l)."""


class HierarchicalLatents(ABC):
    """A distribution over flat latents (B, Z) that factorizes over groups.

    A subclass implements `ancestral_pass`; mean, draws and densities follow from it.
    """

    def __init__(self, shapes: Sequence[Size]) -> None:
        self.shapes = shapes

    @abstractmethod
    def ancestral_pass(self, choose: ChooseValue) -> list[Group]:
        """All groups from z_1 on, each conditioned on the values chosen for its parents."""

    @property
    def mean(self) -> Tensor:
        """Each group's mean given the means of its parents, (B, Z)."""
        return concatenate(self.ancestral_pass(lambda l, q: q.mean))

    def sample(self, rng: Rng, *, stream: str, step: int = 0) -> Tensor:
        """A reparameterized draw (B, Z)."""
        return concatenate(
            self.ancestral_pass(lambda l, q: q.sample(rng, stream=f"{stream}{l}", step=step))
        )

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of z (B, Z) in nats, (B,)."""
        return self.given(z).log_prob(z)

    def given(self, z: Tensor) -> Product:
        """The conditionals of all groups at z (B, Z)."""
        values = split_groups(z, self.shapes)
        return Product(tuple(q for q, _ in self.ancestral_pass(lambda l, q: values[l])))


def concatenate(groups: Sequence[Group]) -> Tensor:
    """Values of the groups as flat latents (B, Z)."""
    return torch.cat([z.flatten(1) for _, z in groups], 1)


def split_groups(z: Tensor, shapes: Sequence[Size]) -> list[Tensor]:
    """Flat latents (B, Z) as groups (B, *Z_l).

    >>> groups = split_groups(torch.zeros(4, 7), [Size((3,)), Size((1, 2, 2))])
    >>> [tuple(z_l.shape) for z_l in groups]
    [(4, 3), (4, 1, 2, 2)]
    """
    chunks = torch.split(z, [shape.numel() for shape in shapes], 1)
    return [chunk.reshape(-1, *shape) for chunk, shape in zip(chunks, shapes, strict=True)]
