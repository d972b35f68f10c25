"""Losses for every family that has the capability they require."""

from dataclasses import dataclass

from torch import nn

from zoo_core.catalog.capabilities import Density
from zoo_core.contracts import Batch, Loss
from zoo_core.rng import Rng

__all__ = ["NLL"]


@dataclass(frozen=True)
class NLL:
    """-log p(x), averaged over the batch, in nats per event."""

    def __call__(self, model: nn.Module, batch: Batch, rng: Rng, step: int) -> Loss:
        assert isinstance(model, Density)  # the capability this loss is registered for
        nll = -model.log_prob(*batch).mean()
        return Loss(nll, {"nats": nll.detach()})
