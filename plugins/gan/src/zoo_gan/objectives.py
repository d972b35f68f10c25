r"""What discriminator and generator play for, as functions of D's scores.

With scores r = D(x) of real events and f = D(G(z)) of generated ones, each (B,), each function is
the mean over the batch of what its player minimizes:

| game | discriminator | generator |
|---|---|---|
| non-saturating (Goodfellow et al., 2014) | softplus(-r) + softplus(f) | softplus(-f) |
| hinge (Lim & Ye, 2017) | relu(1 - r) + relu(1 + f) | -f |
| Wasserstein (Arjovsky et al., 2017) | f - r | -f |
| relativistic (Jolicoeur-Martineau, 2018) | softplus(f - r) | softplus(r - f) |

In the relativistic game (Huang et al., 2024, eq. 2) scores are compared pair by pair, so that no
score means anything alone: it has no minimum in which all samples sit on one side of a boundary.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

__all__ = ["HINGE", "NON_SATURATING", "RELATIVISTIC", "WASSERSTEIN", "Game"]


@dataclass(frozen=True)
class Game:
    """The two objectives; `paired` says that the generator's needs real scores, too."""

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


def _raise_fake(real: Tensor, fake: Tensor) -> Tensor:
    return -fake.mean()


def _relativistic_d(real: Tensor, fake: Tensor) -> Tensor:
    return F.softplus(fake - real).mean()


def _relativistic_g(real: Tensor, fake: Tensor) -> Tensor:
    return F.softplus(real - fake).mean()


NON_SATURATING = Game(_non_saturating_d, _non_saturating_g)
HINGE = Game(_hinge_d, _raise_fake)
WASSERSTEIN = Game(_wasserstein_d, _raise_fake)
RELATIVISTIC = Game(_relativistic_d, _relativistic_g, paired=True)
