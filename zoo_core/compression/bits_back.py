"""Bits-back coding of a model with latents: -ELBO bits, in a chain over the events of a block.

Townsend, Bird & Barber (2019), https://arxiv.org/abs/1901.04866. The code is a stack. An event x
is coded by three steps:

    pop  z from q(z|x)     the stack's own bits choose z: they are had back when x is decoded
    push x by p(x|z)
    push z by p(z)

so that the stack grows by -log2 p(x|z) - log2 p(z) + log2 q(z|x), on average the negative ELBO.
The decoder does the opposite in the opposite order (`stack`: the initial bits).

Latents live on the lattice z = k / 64, |z| <= 8, on which normals are categories. Groups of
latents are coded one after another, as `ancestral_pass(choose)` of q and p visits them
(`Ancestral`).

Shapes: one event at a time, B = 1; Z_l latents of group l, K levels.
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from zoo_core.compression.grid import Grid
from zoo_core.compression.stack import SPARE, Stack, initial_bits, initial_words, packed, unpacked
from zoo_core.errors import NoCapabilityError
from zoo_core.nn.distributions import Normal

__all__ = ["Ancestral", "decode", "encode", "initial_bits"]

_PER_UNIT = 64
_REACH = 8
_BITS_PER_LATENT = 32


@runtime_checkable
class Ancestral(Protocol):
    """Normals in groups that depend on each other, as a hierarchical q(z|x) or p(z) is."""

    def ancestral_pass(self, choose: Callable[[int, Normal], Tensor]) -> Any:
        """Visit every group l after its parents; `choose(l, normal)` gives its value (B, *Z_l).

        Flat latents (B, Z) hold the groups in the order of l.
        """
        ...


def encode(model: Any, x: Tensor, cond: Tensor | None, grid: Grid) -> bytes:
    """The code of events x (B, *S), with the initial words that it used."""
    initial = _initial_words(model, cond)
    stack = Stack(initial, grid)
    for i in range(len(x)):
        c = None if cond is None else cond[i : i + 1]
        z = _Latents()
        _visit(model.encode(x[i : i + 1], c), z.popped_by(stack.pop_within))
        stack.push(x[i].flatten().cpu().numpy(), _logits(model.decode(z.flat(), c)))
        z.push_by(stack.push, model.prior(1, c))
    return packed(stack, initial)


def decode(model: Any, payload: bytes, n: int, cond: Tensor | None, grid: Grid) -> Tensor:
    """The n events (n, *S) of a code, int64; raises `ValueError` unless the stack is restored."""
    initial = _initial_words(model, cond)
    stack = Stack(unpacked(payload, initial), grid)
    x = torch.zeros((n, *model.event.shape), dtype=torch.long, device=model.device)
    for i in reversed(range(n)):
        c = None if cond is None else cond[i : i + 1]
        z = _Latents()
        _visit(model.prior(1, c), z.popped_by(stack.pop))
        symbols = stack.pop(_logits(model.decode(z.flat(), c)))
        x[i] = torch.from_numpy(symbols).to(x).view(model.event.shape)
        z.push_by(stack.push_within, model.encode(x[i : i + 1], c))
    if not np.array_equal(stack.coder.get_compressed(), initial):
        raise ValueError("the initial bits are not restored")
    return x


class _Latents:
    """The groups of latents of one event, as indices of the lattice and as reals."""

    def __init__(self) -> None:
        self.indices: dict[int, Any] = {}
        self.values: dict[int, Tensor] = {}

    def popped_by(self, pop: Callable[[Tensor], Any]) -> Callable[[int, Normal], Tensor]:
        """A choice of values: those that `pop` takes from a stack by logits."""

        def choose(l: int, normal: Normal) -> Tensor:
            self.indices[l] = pop(_lattice_logits(normal))
            z = (torch.from_numpy(self.indices[l]).double() - _REACH * _PER_UNIT) / _PER_UNIT
            self.values[l] = z.to(normal.mean).view_as(normal.mean)
            return self.values[l]

        return choose

    def push_by(self, push: Callable[[Any, Tensor], None], distribution: Any) -> None:
        """Push the groups, the last visited one first, so that they are popped in turn."""
        visited: list[tuple[int, Normal]] = []

        def choose(l: int, normal: Normal) -> Tensor:
            visited.append((l, normal))
            return self.values[l]

        _visit(distribution, choose)
        for l, normal in reversed(visited):
            push(self.indices[l], _lattice_logits(normal))

    def flat(self) -> Tensor:
        """The latents as the decoder takes them: (1, *Z) of one group, (1, Z) of several."""
        groups = [self.values[l] for l in sorted(self.values)]
        return groups[0] if len(groups) == 1 else torch.cat([z.flatten(1) for z in groups], 1)


def _visit(distribution: Any, choose: Callable[[int, Normal], Tensor]) -> None:
    if isinstance(distribution, Normal):
        choose(0, distribution)
    elif isinstance(distribution, Ancestral):
        distribution.ancestral_pass(choose)
    else:
        raise NoCapabilityError(
            f"latents of {type(distribution).__name__} cannot be coded.",
            hint="q(z|x) and p(z) must be a Normal, or have ancestral_pass(choose)",
        )


def _logits(p: Any) -> Tensor:
    """Logits (N, K) of the values of one event under p(x|z)."""
    masses = getattr(p, "log_masses", None)
    if masses is None:
        raise NoCapabilityError(
            f"p(x|z) is a {type(p).__name__}, which states no probability of each level.",
            hint="give it a property log_masses: logits (B, *S, K)",
        )
    logits: Tensor = masses.flatten(0, -2)
    return logits


def _lattice_logits(normal: Normal) -> Tensor:
    """-((k / 64 - m) / s)^2 / 2 on the lattice, (Z_l, K)."""
    mean = normal.mean.flatten()
    rate = (-normal.log_std.expand_as(normal.mean)).exp().flatten()
    k = torch.arange(-_REACH * _PER_UNIT, _REACH * _PER_UNIT + 1, device=mean.device)
    z = k.to(mean.dtype) / _PER_UNIT
    return -0.5 * ((z - mean[:, None]) * rate[:, None]).square()


def _initial_words(model: Any, cond: Tensor | None) -> Any:
    """Fixed random words, enough for the latents of one event and what is left of the stack."""
    latents = model.prior(1, None if cond is None else cond[:1]).mean.numel()
    return initial_words(latents * _BITS_PER_LATENT // 32 + 2 * SPARE)
