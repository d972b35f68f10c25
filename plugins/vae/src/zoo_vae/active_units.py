"""Which latents a model uses: their activity and their KL.

A unit is active when what it says depends on x, Var_x(E_q(u|x)[u]) > 0.01 (Burda, Grosse &
Salakhutdinov, 2016, https://arxiv.org/abs/1509.00519, section 5.2). Training looks at the KL
instead, and warns of levels that have collapsed (`zoo_core.likelihoods.posterior_collapse`).

Shapes: B events, Z latents of all levels, in the order of the codes.
"""

from typing import Any

import torch
from torch import Tensor

from zoo_core import latent
from zoo_core.plugin import GenerativeModel, Rng, evaluating, kl_by_level, to_model

__all__ = ["active", "activity", "kl"]

THRESHOLD = 0.01
"""Variance above which a unit counts."""


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
        return torch.cat(kl_by_level(model, x, cond, Rng(seed, len(x)).to(model.device))).cpu()
