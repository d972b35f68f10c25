"""Adversarial losses: an objective and D's gradient penalties, for any G with a D.

A loss has a method for each player, named after it:

    L_D = objective_D(D(x), D(G(z))) + r1 R1 + r2 R2 + gradient_penalty GP
    L_G = objective_G(D(x), D(G(z)))

With `lazy = k` (lazy regularization; Karras et al., 2020, Analyzing and Improving the Image
Quality of StyleGAN, appendix B) the penalties are computed every k-th step with k times their
weight, which keeps their mean.
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
from zoo_gan.objectives import HINGE, NON_SATURATING, RELATIVISTIC, WASSERSTEIN, Objective

__all__ = ["AdversarialLoss", "Hinge", "NonSaturating", "Relativistic", "Wasserstein"]

_Weight = Annotated[float, Range(0.0, 1e6)]


@dataclass(frozen=True)
class AdversarialLoss:
    """Base of the adversarial losses; a penalty of weight 0 is not computed.

    The discriminator takes `steps` optimizer steps per step of the generator.
    """

    objective: ClassVar[Objective]

    r1: _Weight = 0.0
    r2: _Weight = 0.0
    gradient_penalty: _Weight = 0.0
    lazy: Annotated[int, Range(1, 1024)] = 1
    steps: Annotated[int, Range(1, 100)] = 1

    def discriminator(self, model: Adversaries, batch: Batch, rng: Rng, step: int) -> Loss:
        """L_D, whose terms `real` and `fake` are D's mean scores."""
        x, cond = batch
        due = step % self.lazy == 0
        real = model.normalize(x).detach().requires_grad_(due and self.r1 > 0)
        with torch.no_grad():
            fake = _draw(model, rng, cond, step)
        fake.requires_grad_(due and self.r2 > 0)
        r, f = model.discriminator(real, cond), model.discriminator(fake, cond)
        terms = {"real": r.detach().mean(), "fake": f.detach().mean()}
        total = self.objective.discriminator(r, f)
        if due and self.r1:
            terms["r1"] = penalties.r1(r, real)
            total = total + self.lazy * self.r1 * terms["r1"]
        if due and self.r2:
            terms["r2"] = penalties.r2(f, fake)
            total = total + self.lazy * self.r2 * terms["r2"]
        if due and self.gradient_penalty:
            score, t = partial(_score, model, cond), rng.uniform(stream="t", step=step)
            terms["gradient_penalty"] = penalties.gradient_penalty(score, real, fake, t)
            total = total + self.lazy * self.gradient_penalty * terms["gradient_penalty"]
        return Loss(total, {name: value.detach() for name, value in terms.items()})

    def generator(self, model: Adversaries, batch: Batch, rng: Rng, step: int) -> Loss:
        """L_G."""
        x, cond = batch
        f = model.discriminator(_draw(model, rng, cond, step), cond)
        r = f.detach()
        if self.objective.paired:
            with torch.no_grad():
                r = model.discriminator(model.normalize(x), cond)
        return Loss(self.objective.generator(r, f), {"fake": f.detach().mean()})

    def diagnose(self, model: Adversaries, split: Split) -> Diagnosis:
        """Numbers for the training log; warns of mode collapse or a winning discriminator."""
        return diagnose(model, split)


@dataclass(frozen=True)
class NonSaturating(AdversarialLoss):
    """The non-saturating loss of Goodfellow et al. (2014), section 3, which trains DCGAN."""

    objective: ClassVar[Objective] = NON_SATURATING


@dataclass(frozen=True)
class Hinge(AdversarialLoss):
    """The hinge loss of Geometric GAN (Lim & Ye, 2017), with margins of 1."""

    objective: ClassVar[Objective] = HINGE


@dataclass(frozen=True)
class Wasserstein(AdversarialLoss):
    """The dual of the Wasserstein-1 distance, with WGAN-GP's gradient penalty on D."""

    objective: ClassVar[Objective] = WASSERSTEIN

    gradient_penalty: _Weight = 10.0
    steps: Annotated[int, Range(1, 100)] = 5


@dataclass(frozen=True)
class Relativistic(AdversarialLoss):
    """The relativistic pairing loss with R1 and R2 of R3GAN (Huang et al., 2024, eqs. 2-4)."""

    objective: ClassVar[Objective] = RELATIVISTIC

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
