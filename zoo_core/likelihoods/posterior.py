"""Draws of a posterior q(z|x), with the prior and the likelihood that bounds need beside them."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from zoo_core.catalog.capabilities import Distribution
from zoo_core.rng import Rng

__all__ = ["Draw", "Joint", "draw"]


class Draw(NamedTuple):
    """A draw z of q(z|x), and what the bounds need to know at it."""

    z: Tensor
    q: Distribution
    prior: Distribution
    p: Distribution
    """The likelihood p(x|z)."""


@runtime_checkable
class Joint(Protocol):
    """A posterior whose levels are found along with the prior's and the likelihood, in one pass.

    Its draws hold the conditionals q(z_l | z_<l, x) and p(z_l | z_<l) at z, a `Product` each.
    """

    def draw(self, rng: Rng, *, stream: str, step: int = 0) -> Draw: ...


def draw(
    model: Any, q: Distribution, cond: Tensor | None, rng: Rng, *, stream: str = "z", step: int = 0
) -> Draw:
    """A draw of the posterior q = `model.encode(x, cond)`, with its prior and likelihood."""
    if isinstance(q, Joint):
        return q.draw(rng, stream=stream, step=step)
    z = q.sample(rng, stream=stream, step=step)
    return Draw(z, q, model.prior(len(z), cond), model.decode(z, cond))
