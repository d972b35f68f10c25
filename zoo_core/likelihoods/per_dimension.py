"""Log-likelihood per dimension: log p(x_i | x_<i) of every value of an event.

Only models with `Conditionals` have it; it adds up to their exact log p(x).
"""

import torch
from torch import Tensor

from zoo_core.catalog.capabilities import Conditionals, has
from zoo_core.data.batches import cond_to_model, to_model
from zoo_core.errors import NoCapabilityError
from zoo_core.finite import check_nats
from zoo_core.model import GenerativeModel
from zoo_core.modes import at_rest
from zoo_core.sampling import batches

__all__ = ["log_prob_map"]

_BATCH_LOGITS = 1 << 22


def log_prob_map(
    model: GenerativeModel, x: Tensor, *, cond: Tensor | None = None, batch_size: int | None = None
) -> Tensor:
    """log p(x_i | x_<i) in nats, float64, of the shape of x (N, *shape).

    Raises `NoCapabilityError` for a model that is not autoregressive.
    """
    if not (has(model, "Conditionals") and isinstance(model, Conditionals)):
        raise NoCapabilityError(
            f"{type(model).__name__} has no conditionals, so its log p has no map.",
            hint="autoregressive models have one: zoo list",
        )
    x = model.event.check_values(x)
    cond = model.condition.check(cond, len(x))
    size = max(1, min(256, _BATCH_LOGITS // (model.event.dims * (model.event.levels or 1))))
    maps = []
    with at_rest(model) as still:
        for rows in batches(len(x), model.event, batch_size or size):
            condition = None if cond is None else cond_to_model(cond[rows], model)
            values = to_model(model.event.check(x[rows]), model)
            log_p = still.logits(values, condition).double().log_softmax(-1)
            maps.append(log_p.gather(-1, values[..., None])[..., 0])
            check_nats(maps[-1].flatten(1).sum(1))
    return torch.cat(maps)
