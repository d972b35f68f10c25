"""Posterior collapse: levels of codes that say nothing, since the decoder does without them.

A unit carries what KL(q(u|x) || p(u)) says, on the average of events. Where no unit of a level
carries anything, its posterior has collapsed onto the prior (Bowman et al., 2016,
https://arxiv.org/abs/1511.06349).

Shapes: B events, Z_l units of level l.
"""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from zoo_core.contracts import Diagnosis
from zoo_core.data.batches import take
from zoo_core.data.dataset import Split
from zoo_core.likelihoods.posterior import draw
from zoo_core.nn.distributions import Normal, Product, kl_by_unit
from zoo_core.rng import Rng

__all__ = ["THRESHOLD", "Conditioned", "diagnose", "kl_by_level"]

THRESHOLD = 0.01
"""Nats above which a unit counts as active."""
_EVENTS = 256


@runtime_checkable
class Conditioned(Protocol):
    """A distribution over codes of several levels, each given others."""

    def given(self, z: Tensor) -> Product:
        """The conditionals at codes z (B, Z)."""
        ...


def kl_by_level(model: Any, x: Tensor, cond: Tensor | None, rng: Rng) -> list[Tensor]:
    """The KL of each unit on the average of events, (Z_l,) for each level, in nats.

    Of several levels these are the conditionals' at one draw of the others for each event. The
    list is empty where a posterior or a prior is not made of normals.
    """
    found = draw(model, model.encode(x, cond), cond, rng)
    q, prior = _normals(found.q, found.z), _normals(found.prior, found.z)
    return [kl_by_unit(*pair).detach().flatten(1).mean(0) for pair in zip(q, prior, strict=False)]


def diagnose(model: Any, split: Split) -> Diagnosis:
    """The active units of each level on the first events, and which levels have collapsed."""
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


def _normals(side: Any, z: Tensor) -> tuple[Normal, ...]:
    """The normals that a distribution over codes is made of, at a draw z; none for others."""
    side = side.given(z) if isinstance(side, Conditioned) else side
    return (side,) if isinstance(side, Normal) else side.parts if isinstance(side, Product) else ()
