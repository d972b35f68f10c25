"""Posterior collapse: levels of latents that carry no information on events.

The information of a unit u is KL(q(u|x) || p(u)), averaged over events. If no unit of a level is
active, its posterior has collapsed onto the prior (Bowman et al., 2016,
https://arxiv.org/abs/1511.06349).

Shapes: B events, Z_l units of level l.
"""

from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from zoo_core.catalog.capabilities import LatentVariableModel
from zoo_core.contracts import Diagnosis
from zoo_core.data.batches import take
from zoo_core.data.dataset import Split
from zoo_core.likelihoods.posterior import draw
from zoo_core.model import GenerativeModel
from zoo_core.nn.distributions import Normal, Product, kl_by_unit
from zoo_core.rng import Rng

__all__ = ["THRESHOLD", "Conditioned", "diagnose", "kl_by_level"]

THRESHOLD = 0.01
"""Nats above which a unit counts as active."""
_EVENTS = 256


@runtime_checkable
class Conditioned(Protocol):
    """A distribution over hierarchical latents, whose levels are conditioned on each other."""

    def given(self, z: Tensor) -> Product:
        """The conditionals at latents z (B, Z)."""
        ...


def kl_by_level(model: GenerativeModel, x: Tensor, cond: Tensor | None, rng: Rng) -> list[Tensor]:
    """The KL in nats of each unit, averaged over events: (Z_l,) for each level l.

    With several levels, it is that of the conditionals at one draw of z per event. The list is
    empty unless posterior and prior are normals, or a `Product` of normals.
    """
    latent = cast(LatentVariableModel, model)
    d = draw(latent, latent.encode(x, cond), cond, rng)
    q, prior = _normals(d.q, d.z), _normals(d.prior, d.z)
    return [kl_by_unit(*pair).detach().flatten(1).mean(0) for pair in zip(q, prior, strict=False)]


def diagnose(model: GenerativeModel, split: Split) -> Diagnosis:
    """The active units of each level on the first events, and a warning if a level collapsed."""
    rows = torch.arange(min(len(split.x), _EVENTS))
    levels = kl_by_level(model, *take(model, split, rows), Rng(0, rows).to(model.device))
    active = {l: int((each > THRESHOLD).sum()) for l, each in enumerate(levels, 1)}
    dead = [str(l) for l, units in active.items() if not units]
    warning = (
        f"posterior collapse: level {', '.join(dead)} of {len(levels)} carries nothing; no latent "
        f"has a KL of {THRESHOLD} nats. Try the loss's warmup or free_bits, or a smaller beta."
    )
    values = {f"active_{l}": float(units) for l, units in active.items()}
    return Diagnosis(values, warning if dead else None)


def _normals(latents: Any, z: Tensor) -> tuple[Normal, ...]:
    """The normals of each level of a distribution over latents, at a draw z; () for others."""
    latents = latents.given(z) if isinstance(latents, Conditioned) else latents
    if isinstance(latents, Product):
        return latents.normals
    return (latents,) if isinstance(latents, Normal) else ()
