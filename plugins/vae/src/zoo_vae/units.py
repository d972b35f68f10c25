"""Which latents a model uses: their KL, their activity, and levels that have collapsed.

A unit is active when what it says depends on x, Var_x(E_q(u|x)[u]) > 0.01 (Burda, Grosse &
Salakhutdinov, 2016, https://arxiv.org/abs/1509.00519, section 5.2). A level has collapsed when
the posterior of none of its units differs from the prior: the decoder has learned to do without
(Bowman et al., 2016, https://arxiv.org/abs/1511.06349).

Shapes: B events, Z latents of all levels, in the order of the codes.
"""

from typing import Any

import torch
from torch import Tensor

from zoo_core import GenerativeModel, Rng, latent
from zoo_core.likelihoods.elbo import draw
from zoo_core.nn.distributions import Normal, Product, kl_by_unit
from zoo_core.sampling import evaluating, to_model
from zoo_vae.levels import Levels

__all__ = ["active", "activity", "kl", "symptoms"]

THRESHOLD = 0.01
"""Variance, or nats, above which a unit counts."""


def activity(model: GenerativeModel, x: Any, *, cond: Any = None) -> Tensor:
    """Var_x(E_q(u|x)[u]) of each unit over events x (B, *S): (Z,)."""
    return latent.encode(model, x, cond=cond).flatten(1).double().var(0)


def active(model: GenerativeModel, x: Any, *, cond: Any = None) -> int:
    """How many units are active on events x (B, *S)."""
    return int((activity(model, x, cond=cond) > THRESHOLD).sum())


def kl(model: GenerativeModel, x: Any, *, cond: Any = None, seed: int = 0) -> Tensor:
    """KL(q || prior) of each unit, averaged over events x (B, *S), in nats: (Z,).

    Of several levels these are the conditionals' at one draw of the others for each event.
    """
    x = to_model(model.event.check(x), model)
    cond = model.condition.check(cond, len(x), device=model.device)
    with evaluating(model):
        return torch.cat(_kl_by_level(model, x, cond, Rng(seed, len(x)).to(model.device))).cpu()


def symptoms(model: Any, x: Tensor, cond: Tensor | None, rng: Rng) -> list[str]:
    """A sentence for each level that has collapsed on events x (B, *S)."""
    levels = _kl_by_level(model, x, cond, rng)
    where = [f"level {l} of {len(levels)}" for l in range(1, len(levels) + 1)]
    return [
        f"posterior collapse: none of the {len(each)} latents of {name} carries {THRESHOLD} nats "
        f"(together {float(each.sum()):.2g}). Try the loss's warmup or free_bits, or less beta."
        for name, each in zip(where, levels, strict=True)
        if not bool((each > THRESHOLD).any())
    ]


def _kl_by_level(model: Any, x: Tensor, cond: Tensor | None, rng: Rng) -> list[Tensor]:
    """The mean KL of each unit, (Z_l,) for each level."""
    found = draw(model, model.encode(x, cond), cond, rng)
    q, prior = (_normals(side, found.z) for side in (found.q, found.prior))
    pairs = zip(q, prior, strict=True)
    return [kl_by_unit(*pair).detach().flatten(1).mean(0).double() for pair in pairs]


def _normals(side: Any, z: Tensor) -> tuple[Normal, ...]:
    """The normals of the levels at a draw z."""
    side = side.given(z) if isinstance(side, Levels) else side
    return side.parts if isinstance(side, Product) else (side,)
