r"""Adversarial objectives: what discriminator and generator minimize, as functions of D's scores.

With scores r = D(x) of real events and f = D(G(z)) of generated ones, each (B,), an objective is
the mean over the batch of

| objective | discriminator | generator |
|---|---|---|
| non-saturating (Goodfellow et al., 2014) | softplus(-r) + softplus(f) | softplus(-f) |
| hinge (Lim & Ye, 2017) | relu(1 - r) + relu(1 + f) | -f |
| Wasserstein (Arjovsky et al., 2017) | f - r | -f |
| relativistic (Jolicoeur-Martineau, 2018) | softplus(f - r) | softplus(r - f) |

The relativistic pairing objective (Huang et al., 2024, eq. 2) compares each real event with a
generated one. A score alone then means nothing, so no minimum has all samples on one side of a
decision boundary.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

__all__ = ["HINGE", "NON_SATURATING", "RELATIVISTIC", "WASSERSTEIN", "Objective"]


@dataclass(frozen=True)
class Objective:
    """The losses of both players, called as `(real, fake)` with scores (B,), each a scalar.

        >>> import torch
        >>> real, fake = torch.tensor([2.0]), torch.tensor([-1.0])
        >>> WASSERSTEIN.discriminator(real, fake)
        tensor(-3.)

    `paired` says that the generator's loss depends on the real scores, too.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    paired: bool = False


def _non_saturating_d(real: Tensor, fake: Tensor) -> Tensor:
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def _non_saturating_g(real: Tensor, fake: Tensor) -> Tensor:
    return F.softplus(-fake).mean()


def _hinge_d(real: Tensor, fake: Tensor) -> Tensor:
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def _wasserstein_d(real: Tensor, fake: Tensor) -> Tensor:
    return fake.mean() - real.mean()


def _negative_score_g(real: Tensor, fake: Tensor) -> Tensor:
    return -fake.mean()


def _relativistic_d(real: Tensor, fake: Tensor) -> Tensor:
    return F.softplus(fake - real).mean()


def _relativistic_g(real: Tensor, fake: Tensor) -> Tensor:
    return F.softplus(real - fake).mean()


NON_SATURATING = Objective(_non_saturating_d, _non_saturating_g)
HINGE = Objective(_hinge_d, _negative_score_g)
WASSERSTEIN = Objective(_wasserstein_d, _negative_score_g)
RELATIVISTIC = Objective(_relativistic_d, _relativistic_g, paired=True)
