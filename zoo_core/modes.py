"""Models that are drawn from and scored while somebody else trains them.

Training and evaluation differ by a flag on every layer, and training changes the weights. A model
that others may be training is therefore not switched: `at_rest` gives a copy.
"""

import copy
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

__all__ = ["at_rest", "being_trained", "changing_weights", "evaluating", "walk"]

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class _Training:
    """The thread that trains a model, and the lock that it holds while weights change."""

    thread: int = field(default_factory=threading.get_ident)
    lock: threading.RLock = field(default_factory=threading.RLock)


_trainings: WeakKeyDictionary[nn.Module, _Training] = WeakKeyDictionary()


@contextmanager
def being_trained(model: nn.Module) -> Iterator[None]:
    """Inside the block this thread trains the model; others draw from copies of its weights."""
    _trainings[model] = _Training()
    try:
        yield
    finally:
        _trainings.pop(model, None)


@contextmanager
def changing_weights(model: nn.Module) -> Iterator[None]:
    """Inside the block the weights of a model in training change; nobody copies them meanwhile."""
    training = _trainings.get(model)
    with nullcontext() if training is None else training.lock:
        yield


@contextmanager
def at_rest(model: M) -> Iterator[M]:
    """The model to evaluate, without gradients: itself if nobody trains it, else a copy.

    A model in training mode is not switched: the copy shares its weights. If another thread trains
    it by `zoo.train`, the copy has weights of its own, those between two steps.
    """
    training = _training(model) if _trainings else None
    elsewhere = training is not None and training.thread != threading.get_ident()
    with torch.no_grad():
        if not elsewhere and not any(module.training for module in walk(model)):
            yield model
            return
        with training.lock if training is not None and elsewhere else nullcontext():
            copied = _copied(model, own_weights=elsewhere)
        if copied is not None:
            yield copied.eval()
            return
    with evaluating(model):  # what cannot be copied is switched after all
        yield model


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; each module's own mode is restored afterwards.

    It uses `no_grad`, not `inference_mode` (which measures no faster), so that a sampler or a
    likelihood that differentiates needs `torch.enable_grad()` and nothing else. Threads that use
    the model at once need `at_rest`.
    """
    training = [module for module in walk(model) if module.training]
    if training:
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            vars(module)["training"] = True  # `Module.__setattr__` takes ten times as long


def walk(model: nn.Module) -> Iterator[nn.Module]:
    """Those of `model.modules()` in their order, in half the time; a shared one comes twice."""
    waiting = [model]
    while waiting:
        module = waiting.pop()
        yield module
        waiting += [child for child in reversed(module._modules.values()) if child is not None]


def _training(model: nn.Module) -> _Training | None:
    """The training of a model, or of the one that it is a part of."""
    return next((t for module in walk(model) if (t := _trainings.get(module))), None)


def _copied(model: M, *, own_weights: bool) -> M | None:
    """A copy of the modules; None if something that they hold cannot be copied."""
    tensors = [*model.parameters(), *model.buffers()]
    same = {id(t): _cloned(t) if own_weights else t for t in tensors}
    facts = [getattr(model, name, None) for name in ("config", "event", "condition", "averages")]
    # a module has a dozen dicts of hooks, nearly all of them empty: most of what there is to copy
    empty = [d for m in walk(model) for d in vars(m).values() if type(d) is OrderedDict and not d]
    try:
        return copy.deepcopy(model, {**same, **{id(kept): kept for kept in (*facts, *empty)}})
    except (TypeError, RuntimeError, NotImplementedError, AttributeError):
        return None


def _cloned(tensor: Tensor) -> Tensor:
    own = tensor.detach().clone()
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(own, requires_grad=tensor.requires_grad)
    return own
