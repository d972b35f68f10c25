"""Class labels and condition dropout, for classifier-free guidance.

Ho & Salimans, 2022, https://arxiv.org/abs/2207.12598: training replaces some labels by the label
K, which stands for no class, so that one network learns the conditional and the unconditional
output.
"""

import torch
from torch import Tensor

from zoo_core.plugin import Condition, Rng, UsageError

__all__ = ["class_condition", "drop_condition", "network_label", "num_labels"]


def class_condition(classes: int | None, *, optional: bool = True) -> Condition:
    """A class that may be left out if `optional`, or no condition."""
    if classes is None:
        return Condition()
    return Condition("classes", classes=classes, optional=optional)


def num_labels(condition: Condition) -> int:
    """The rows of a label embedding: one a class, and one for no class if that is allowed."""
    return 0 if condition.classes is None else condition.classes + int(condition.optional)


def network_label(condition: Condition, cond: Tensor | None, x: Tensor) -> Tensor | None:
    """The network's labels (B,); None for a model without classes."""
    if condition.classes is None or cond is not None:
        return cond
    return torch.full((len(x),), condition.classes, device=x.device)


def drop_condition(
    condition: Condition, cond: Tensor | None, p_uncond: float, rng: Rng, step: int
) -> Tensor | None:
    """Labels (B,), each replaced by "no class" with probability `p_uncond` if that is allowed."""
    if cond is None or not condition.optional or p_uncond == 0:
        return cond
    if condition.classes is None:
        raise UsageError(
            f"p_uncond = {p_uncond} drops class labels; this model takes {condition}.",
            hint="p_uncond=0",
        )
    dropped = rng.uniform(stream="drop", step=step) < p_uncond
    return torch.where(dropped, condition.classes, cond)
