"""Latents of events: encoding, decoding, interpolation, for every family that has latents.

The latents z of an event are the mean of q(z|x) of an `Encoder`, or its image under a `Bijection`.
A `Decoder` (the mean of p(x|z)), a `Generator` or a `Bijection` maps them to events. Draws of the
prior are latents too. Paths and planes are plain tensors, so that they also work with other maps
from latents to events, such as a deterministic sampler from its noise.

Shapes: B latents, T points of a path, Z the shape of one latent, S an event's.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from zoo_core.catalog.capabilities import Bijection, Decoder, Encoder, Generator, has
from zoo_core.data.batches import cond_to_model, to_model
from zoo_core.errors import NoCapabilityError, UsageError
from zoo_core.memory import require_memory
from zoo_core.model import GenerativeModel
from zoo_core.modes import evaluating
from zoo_core.sampling import batches

__all__ = ["decode", "encode", "interpolate", "lerp", "plane", "reconstruct", "slerp"]

Path = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From latents a and b, (B, *Z) each, and times t (T,) to latents (B, T, *Z)."""

_PARALLEL = 1e-6
"""Sine of the angle below which `slerp` uses the straight line."""


def encode(model: GenerativeModel, x: Any, *, cond: Any = None) -> Tensor:
    """The latents of events x (B, *S), (B, *Z), on the model's device.

    Raises `NoCapabilityError` unless the model is an `Encoder` or a `Bijection`.
    """
    x = model.event.check(x)
    return _in_batches(model, _encoder(model), x, model.condition.check(cond, len(x)))


def decode(model: GenerativeModel, z: Tensor, *, cond: Any = None) -> Tensor:
    """The events of latents z (B, *Z), (B, *S), on the model's device.

    A decoder gives the means of p(x|z), which are reals even if events are integers. Raises
    `NoCapabilityError` unless the model is a `Decoder`, a `Generator` or a `Bijection`.
    """
    return _in_batches(model, _decoder(model), z, model.condition.check(cond, len(z)))


def reconstruct(model: GenerativeModel, x: Any, *, cond: Any = None) -> Tensor:
    """Encode and decode events x (B, *S): (B, *S), as `decode` returns them."""
    return decode(model, encode(model, x, cond=cond), cond=cond)


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Linear interpolation (1 - t) a + t b of latents a and b, (B, *Z) each: (B, T, *Z)."""
    a, b, t = _rows(a, b, t)
    return (1 - t) * a + t * b


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Spherical linear interpolation of latents a and b, (B, *Z) each: (B, T, *Z).

        (sin((1 - t) w) a + sin(t w) b) / sin w,   cos w = a b / (|a| |b|)

    Between draws of a Gaussian prior it stays on the shell where the draws are; a straight line
    would leave it. If a and b are on one line through the origin, it is `lerp`. Animating Rotation
    with Quaternion Curves (Shoemake, 1985).
    """
    line = lerp(a, b, t)
    a, b, t = _rows(a.double(), b.double(), t)
    w = _angle(a, b)
    arc = (((1 - t) * w).sin() * a + (t * w).sin() * b) / w.sin()
    return torch.where(w.sin() < _PARALLEL, line, arc.to(line.dtype))


def interpolate(a: Tensor, b: Tensor, *, steps: int = 8, path: Path = slerp) -> Tensor:
    """Latents at even times from a to b, ends included: (B, *Z) each -> (B, steps, *Z)."""
    if a.shape != b.shape or a.ndim < 2:
        raise UsageError(
            f"a and b have shapes {tuple(a.shape)} and {tuple(b.shape)}; expected latents (B, *Z)."
        )
    if steps < 2:
        raise UsageError(f"steps = {steps}; a path has at least its two ends.")
    require_memory(
        steps * a.numel() * a.element_size(),
        f"{steps:,} steps of {len(a):,} paths",
        hint="fewer steps",
    )
    times = torch.linspace(0, 1, steps, dtype=torch.float64)
    return path(a, b, times.to(a.device, a.dtype))


def plane(z: Tensor, *, side: int = 16, axes: tuple[int, int] = (0, 1)) -> Tensor:
    """A grid of latents in the plane of two coordinates through z (*Z): (side^2, *Z).

    Coordinate `axes[0]` falls from row to row and `axes[1]` rises from column to column, over the
    quantiles (i + 1/2) / side of N(0, 1), so that all cells have the same prior probability
    (Kingma & Welling, 2014, figure 4). The other coordinates are those of z.
    """
    d = z.numel()
    if len({i % d for i in axes if -d <= i < d}) != 2:
        raise UsageError(f"axes = {axes}; give two different coordinates of {d}.")
    require_memory(
        side * side * d * z.element_size(), f"{side:,} x {side:,} latents", hint="a smaller side"
    )
    quantiles = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    ticks = (math.sqrt(2) * torch.erfinv(2 * quantiles - 1)).to(z)
    grid = z.reshape(1, d).repeat(side * side, 1)
    grid[:, axes[0]] = ticks.flip(0).repeat_interleave(side)
    grid[:, axes[1]] = ticks.repeat(side)
    return grid.view(-1, *z.shape)


def _encoder(model: GenerativeModel) -> Callable[[Tensor, Tensor | None], Tensor]:
    if has(model, "Bijection") and isinstance(model, Bijection):
        return lambda x, cond: model.forward_and_ladj(x, cond)[0]
    if has(model, "Encoder") and isinstance(model, Encoder):
        return lambda x, cond: model.encode(x, cond).mean
    raise NoCapabilityError(
        f"{type(model).__name__} gives events no latents.",
        hint="models with the capability Encoder or Bijection do; a prior's draws are latents too",
    )


def _decoder(model: GenerativeModel) -> Callable[[Tensor, Tensor | None], Tensor]:
    if has(model, "Bijection") and isinstance(model, Bijection):
        return lambda z, cond: model.inverse_and_ladj(z, cond)[0]
    if has(model, "Decoder") and isinstance(model, Decoder):
        return lambda z, cond: model.decode(z, cond).mean
    if has(model, "Generator") and isinstance(model, Generator):
        return lambda z, cond: model.generate(z, cond)
    raise NoCapabilityError(
        f"{type(model).__name__} has no map from latents to events.",
        hint="models with the capability Decoder, Generator or Bijection have one",
    )


def _in_batches(
    model: GenerativeModel,
    function: Callable[[Tensor, Tensor | None], Tensor],
    values: Tensor,
    cond: Tensor | None,
) -> Tensor:
    parts = []
    with evaluating(model):
        for rows in batches(len(values), model.event, None):
            c = None if cond is None else cond_to_model(cond[rows], model)
            parts.append(function(to_model(values[rows], model), c))
    return torch.cat(parts)


def _rows(a: Tensor, b: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """a and b as (B, 1, *Z), t as (1, T, 1...)."""
    return a.unsqueeze(1), b.unsqueeze(1), t.to(a).view(1, -1, *[1] * (a.ndim - 1))


def _angle(a: Tensor, b: Tensor) -> Tensor:
    """The angle between codes (B, 1, *Z), over all of Z: (B, 1, 1...); 0 to the origin."""
    a, b, ones = a.flatten(2), b.flatten(2), [1] * (a.ndim - 2)
    lengths = a.norm(dim=2) * b.norm(dim=2)
    cosine = torch.where(lengths > 0, (a * b).sum(2) / lengths, 1.0)
    return cosine.clamp(-1, 1).acos().view(*lengths.shape, *ones)
