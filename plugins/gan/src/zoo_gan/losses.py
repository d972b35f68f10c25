"""Adversarial losses: a game and the penalties that D pays, for any model with two networks.

A loss has a method for each player, by the player's name:

    L_D = game(D(x), D(G(z))) + r1 R1 + r2 R2 + gradient_penalty GP
    L_G = game(D(x), D(G(z)))

With `lazy` k the penalties act in every k-th step and weigh k times as much (Karras et al., 2020,
Analyzing and Improving the Image Quality of StyleGAN, appendix B), so that their mean stays.
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from zoo_core.plugin import Batch, Diagnosis, Loss, Range, Rng, Split
from zoo_gan import penalties
from zoo_gan.diagnosis import diagnose
from zoo_gan.model import Adversaries
from zoo_gan.objectives import HINGE, NON_SATURATING, RELATIVISTIC, WASSERSTEIN, Game

__all__ = ["Adversarial", "Hinge", "NonSaturating", "Relativistic", "Wasserstein"]

_Weight = Annotated[float, Range(0.0, 1e6)]


@dataclass(frozen=True)
class Adversarial:
    """What every adversarial loss shares; weights of 0 leave a penalty out.

    The discriminator takes `steps` optimizer steps for each one of the generator.
    """

    game: ClassVar[Game]

    r1: _Weight = 0.0
    r2: _Weight = 0.0
    gradient_penalty: _Weight = 0.0
    lazy: Annotated[int, Range(1, 1024)] = 1
    steps: Annotated[int, Range(1, 100)] = 1

    def discriminator(self, model: Adversaries, batch: Batch, rng: Rng, step: int) -> Loss:
        """Tell real events from generated ones; `real` and `fake` are mean scores."""
        x, cond = batch
        due = step % self.lazy == 0
        real = model.normalize(x).detach().requires_grad_(due and self.r1 > 0)
        with torch.no_grad():
            fake = _draw(model, rng, cond, step)
        fake.requires_grad_(due and self.r2 > 0)
        r, f = model.discriminator(real, cond), model.discriminator(fake, cond)
        terms = {"real": r.detach().mean(), "fake": f.detach().mean()}
        total = self.game.discriminator(r, f)
        if due and self.r1:
            terms["r1"] = penalties.r1(r, real)
            total = total + self.lazy * self.r1 * terms["r1"]
        if due and self.r2:
            terms["r2"] = penalties.r2(f, fake)
            total = total + self.lazy * self.r2 * terms["r2"]
        if due and self.gradient_penalty:
            critic, t = partial(_score, model, cond), rng.uniform(stream="t", step=step)
            terms["gradient_penalty"] = penalties.gradient_penalty(critic, real, fake, t)
            total = total + self.lazy * self.gradient_penalty * terms["gradient_penalty"]
        return Loss(total, {name: value.detach() for name, value in terms.items()})

    def generator(self, model: Adversaries, batch: Batch, rng: Rng, step: int) -> Loss:
        """Draw events that are scored like real ones."""
        x, cond = batch
        f = model.discriminator(_draw(model, rng, cond, step), cond)
        r = f.detach()
        if self.game.paired:
            with torch.no_grad():
                r = model.discriminator(model.normalize(x), cond)
        return Loss(self.game.generator(r, f), {"fake": f.detach().mean()})

    def diagnose(self, model: Adversaries, split: Split) -> Diagnosis:
        """How the training goes, for its log."""
        return diagnose(model, split)


@dataclass(frozen=True)
class NonSaturating(Adversarial):
    """The game of Goodfellow et al. (2014), section 3, by which DCGAN is trained."""

    game: ClassVar[Game] = NON_SATURATING


@dataclass(frozen=True)
class Hinge(Adversarial):
    """The game of Geometric GAN (Lim & Ye, 2017), with margins of 1."""

    game: ClassVar[Game] = HINGE


@dataclass(frozen=True)
class Wasserstein(Adversarial):
    """The dual of the Wasserstein-1 distance, D's slope held at 1 by a penalty (WGAN-GP)."""

    game: ClassVar[Game] = WASSERSTEIN

    gradient_penalty: _Weight = 10.0
    steps: Annotated[int, Range(1, 100)] = 5


@dataclass(frozen=True)
class Relativistic(Adversarial):
    """The pairwise game with R1 and R2 of R3GAN (Huang et al., 2024, eqs. 2-4)."""

    game: ClassVar[Game] = RELATIVISTIC

    r1: _Weight = 1.0
    r2: _Weight = 1.0


def _draw(model: Adversaries, rng: Rng, cond: Tensor | None, step: int) -> Tensor:
    """Generated events on the networks' scale (B, *S)."""
    z = model.prior(len(rng), cond).sample(rng, stream="z", step=step)
    fake: Tensor = model.generator(z, cond)
    return fake


def _score(model: Adversaries, cond: Tensor | None, x: Tensor) -> Tensor:
    score: Tensor = model.discriminator(x, cond)
    return score
