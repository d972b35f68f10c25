"""Attention through `scaled_dot_product_attention`: which positions see which, and the cache.

    softmax(q k^T / sqrt(d)) v,   position i sees position j where block(j) <= block(i)

One rule gives every mask of a decoder: if each position is a block of its own, attention is
causal; if the condition's tokens are one block, they also see one another (a prefix); blocks of
several positions are drawn at once.

Shapes: B batch, T new and S all positions, h heads, d size of a head.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Blocks", "KVCache", "Mask", "rotary_angles", "rotate"]

_BASE = 10_000.0
"""Of the wavelengths of rotary positions (Su et al., 2021)."""


class KVCache:
    """Keys and values (B, h, S, d) of the positions so far, for every layer.

    Row b of every tensor belongs to event b.
    """

    def __init__(self, layers: int, shape: tuple[int, int, int, int], like: Tensor) -> None:
        """`shape` is (B, h, the most positions, d); `like` gives the type and the device."""
        self.keys = [like.new_zeros(shape) for _ in range(layers)]
        self.values = [like.new_zeros(shape) for _ in range(layers)]
        self.length = 0
        """How many positions all layers have seen."""

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store the keys and values of new positions; returns those of all positions so far."""
        end = self.length + k.shape[2]
        self.keys[layer][:, :, self.length : end] = k
        self.values[layer][:, :, self.length : end] = v
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]


class Blocks:
    """Which of the positions 0, 1, ... sees which, by the sizes of the blocks in turn.

    >>> Blocks([2, 1]).mask(3, 3, torch.device("cpu"))  # a prefix of two
    tensor([[ True,  True, False],
            [ True,  True, False],
            [ True,  True,  True]])
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._causal = all(size == 1 for size in sizes)
        self.length = sum(sizes)
        self._block = [number for number, size in enumerate(sizes) for _ in range(size)]

    def mask(self, T: int, S: int, device: torch.device) -> Tensor:
        """Whether each of the last T of S positions sees each of the S, (T, S) bool."""
        block = torch.tensor(self._block[:S], device=device)
        return block[S - T :, None] >= block

    def of(self, T: int, S: int, device: torch.device) -> "Mask":
        """The mask of the last T of S positions, as `scaled_dot_product_attention` takes it."""
        if self._block[S - T] == self._block[S - 1]:  # nothing comes after any of them
            return Mask()
        if self._causal and T == S:
            return Mask(causal=True)
        return Mask(self.mask(T, S, device))


class Mask(NamedTuple):
    """What new positions see: all positions so far, those up to their own, or what `seen` says."""

    seen: Tensor | None = None
    causal: bool = False

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The attention of T new positions, (B, h, T, d), to all S of them."""
        return F.scaled_dot_product_attention(q, k, v, attn_mask=self.seen, is_causal=self.causal)


def rotary_angles(places: Tensor, d: int) -> Tensor:
    """Angles (S, d / 2) of places (S, A) on A axes, in float64; each axis has d / (2 A) pairs.

        angle_i = place * 10000^(-i / pairs),   i = 0 .. pairs - 1

    RoFormer (Su et al., 2021), https://arxiv.org/abs/2104.09864, and on two axes as in LlamaGen
    (Sun et al., 2024), https://arxiv.org/abs/2406.06525: rows first.
    """
    pairs = d // (2 * places.shape[1])
    i = torch.arange(pairs, dtype=torch.float64, device=places.device)
    return (places.double()[:, :, None] * _BASE ** (-i / pairs)).flatten(1)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotate neighbouring pairs of x (B, h, T, d) by angles (T, d / 2)."""
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)
