"""Active units: which latents a model uses, by their variance over data and by their KL.

A unit u is active when its posterior mean depends on x, Var_x(E_q(u|x)[u]) > 0.01 (Burda, Grosse &
Salakhutdinov, 2016, https://arxiv.org/abs/1509.00519, section 5.2). The training log counts units
by their KL instead, and warns of posterior collapse
(`zoo_core.likelihoods.posterior_collapse`).

    active_units.count(model, x), active_units.kl(model, x)

Shapes: B events, S the event's shape, Z latents of all groups, z_1 first.
"""

from typing import Any

import torch
from torch import Tensor

from zoo_core import latent
from zoo_core.plugin import GenerativeModel, Rng, evaluating, kl_by_level, to_model

__all__ = ["THRESHOLD", "count", "kl", "variance"]

THRESHOLD = 0.01
"""Variance of the posterior mean above which a unit is active."""


def variance(model: GenerativeModel, x: Any, *, cond: Any = None) -> Tensor:
    """Var_x(E_q(u|x)[u]) of each unit over events x (B, *S), (Z,)."""
    return latent.encode(model, x, cond=cond).flatten(1).double().var(0)


def count(model: GenerativeModel, x: Any, *, cond: Any = None) -> int:
    """Number of active units on events x (B, *S)."""
    return int((variance(model, x, cond=cond) > THRESHOLD).sum())


def kl(model: GenerativeModel, x: Any, *, cond: Any = None, seed: int = 0) -> Tensor:
    """KL(q || prior) of each unit in nats, averaged over events x (B, *S), (Z,).

    With several latent groups it is the KL between conditionals, at one draw of the other groups
    per event.
    """
    x = to_model(model.event.check(x), model)
    cond = model.condition.check(cond, len(x), device=model.device)
    with evaluating(model):
        return torch.cat(kl_by_level(model, x, cond, Rng(seed, len(x)).to(model.device))).cpu()
