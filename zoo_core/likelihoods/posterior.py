"""Draws of a posterior q(z|x), with the prior and the likelihood at them, as bounds need."""

from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from zoo_core.catalog.capabilities import Distribution, LatentVariableModel
from zoo_core.rng import Rng

__all__ = ["Draw", "Joint", "draw"]


class Draw(NamedTuple):
    """A draw z of q(z|x), with the posterior, the prior and the likelihood at it."""

    z: Tensor
    q: Distribution
    prior: Distribution
    p: Distribution
    """The likelihood p(x|z)."""


@runtime_checkable
class Joint(Protocol):
    """A posterior that is drawn in one pass with the prior and the likelihood.

    It is that of hierarchical latents: a draw holds the conditionals q(z_l | z_<l, x) and
    p(z_l | z_<l) of all levels l at z, each as a `Product`.
    """

    def draw(self, rng: Rng, *, stream: str, step: int = 0) -> Draw:
        """A draw for each row of `rng`."""
        ...


def draw(
    model: LatentVariableModel,
    q: Distribution,
    cond: Tensor | None,
    rng: Rng,
    *,
    stream: str = "z",
    step: int = 0,
) -> Draw:
    """A draw of the posterior q = `model.encode(x, cond)`, with its prior and likelihood."""
    if isinstance(q, Joint):
        return q.draw(rng, stream=stream, step=step)
    z = q.sample(rng, stream=stream, step=step)
    return Draw(z, q, model.prior(len(z), cond), model.decode(z, cond))
