"""Class labels, and none: the label K stands for no class, for classifier-free guidance.

Ho & Salimans, 2022, https://arxiv.org/abs/2207.12598: training drops the label now and then, so
that one network gives both outputs.
"""

from typing import Any

import torch
from torch import Tensor

from zoo_core.plugin import Condition, Rng

__all__ = ["class_condition", "drop", "label", "labels"]


def class_condition(classes: int | None, *, optional: bool = True) -> Condition:
    """A class that may be left out, or no condition."""
    if classes is None:
        return Condition()
    return Condition("classes", classes=classes, optional=optional)


def labels(condition: Condition) -> int:
    """The size of the label's embedding: the classes, and one for none where that is allowed."""
    return 0 if condition.classes is None else condition.classes + int(condition.optional)


def label(condition: Condition, cond: Tensor | None, x: Tensor) -> Tensor | None:
    """Labels (B,) for the network; None where it has no classes."""
    if condition.classes is None or cond is not None:
        return cond
    return torch.full((len(x),), condition.classes, device=x.device)


def drop(model: Any, cond: Tensor | None, share: float, rng: Rng, step: int) -> Tensor | None:
    """`cond` (B,) with a share of the labels replaced by none, where the model allows that."""
    if cond is None or not model.condition.optional or share == 0:
        return cond
    dropped = rng.uniform(stream="drop", step=step) < share
    return torch.where(dropped, model.condition.classes, cond)
