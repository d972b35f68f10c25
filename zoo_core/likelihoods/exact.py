"""log p(x) by `Density.log_prob`: a probability for integers, a density for reals."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from zoo_core.catalog.capabilities import Density
from zoo_core.catalog.specs import LikelihoodKind
from zoo_core.errors import NoCapabilityError
from zoo_core.model import GenerativeModel
from zoo_core.rng import Rng

__all__ = ["Exact", "ExactDensity"]


@dataclass(frozen=True)
class Exact:
    """log P(x) of integer data."""

    kind: ClassVar[LikelihoodKind] = LikelihoodKind("exact", "equal")

    def __call__(self, model: GenerativeModel, x: Tensor, cond: Tensor | None, rng: Rng) -> Tensor:
        return _log_prob(model, x, cond, discrete=True)


@dataclass(frozen=True)
class ExactDensity:
    """log p(x) of continuous data, a density, which depends on the units of x."""

    kind: ClassVar[LikelihoodKind] = LikelihoodKind("exact_density", "equal")

    def __call__(self, model: GenerativeModel, x: Tensor, cond: Tensor | None, rng: Rng) -> Tensor:
        return _log_prob(model, x, cond, discrete=False)


def _log_prob(model: GenerativeModel, x: Tensor, cond: Tensor | None, *, discrete: bool) -> Tensor:
    if model.event.discrete is not discrete:
        events, use = ("integers", "exact_density") if discrete else ("reals", "exact")
        raise NoCapabilityError(
            f"this likelihood is for {events}; the model's events are {model.event}.",
            hint=f"method={use!r}",
            command=f"--method {use}",
        )
    assert isinstance(model, Density)  # which the registered specs require
    return model.log_prob(x, cond)
