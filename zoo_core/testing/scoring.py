"""Scores by a model's default likelihood before the driver processes them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from zoo_core.catalog.components import likelihood
from zoo_core.contracts import LikelihoodResult
from zoo_core.model import GenerativeModel
from zoo_core.rng import Rng

__all__ = ["raw_nats", "training_without_noise"]


def raw_nats(model: GenerativeModel, x: Tensor, cond: Tensor | None) -> Tensor:
    """Nats (B,) of events (B, *S), in the model's present mode and the likelihood's own dtype."""
    scores = likelihood(model, None, {})(model, x, cond, Rng(0, len(x)))
    if isinstance(scores, LikelihoodResult):
        return scores.nats
    return scores[0] if isinstance(scores, tuple) else scores


@contextmanager
def training_without_noise(model: GenerativeModel) -> Iterator[None]:
    """Training mode without dropout and batch statistics, which are meant to differ in it."""
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    with torch.random.fork_rng(devices=[]), _WithoutDropout():
        yield
    model.eval()


class _WithoutDropout(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if "dropout" in getattr(func, "__name__", ""):
            return args[0] if args else (kwargs or {})["input"]
        return func(*args, **(kwargs or {}))
