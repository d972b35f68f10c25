"""Log-likelihoods as a model's default method returns them, before the driver changes them."""

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
    found = likelihood(model, None, {})(model, x, cond, Rng(0, len(x)))
    if isinstance(found, LikelihoodResult):
        return found.nats
    return found[0] if isinstance(found, tuple) else found


@contextmanager
def training_without_noise(model: GenerativeModel) -> Iterator[None]:
    """Training mode, but for what is meant to differ in it: dropout and batch normalization."""
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
