"""Class labels and condition dropout, for classifier-free guidance.

Ho & Salimans, 2022, https://arxiv.org/abs/2207.12598: training replaces some labels by the label
K, which stands for no class, so that one network learns the conditional and the unconditional
output. Of several labels each has such a K; they are dropped together or one by one.

Shapes: B batch, N labels.
"""

from typing import Literal

from torch import Tensor

from zoo_core.plugin import Condition, Rng, UsageError, class_rows

__all__ = ["DropLabels", "drop_condition", "network_label"]

DropLabels = Literal["together", "separately"]
"""Which labels a row loses: all of them at once, or each by a draw of its own."""


def network_label(condition: Condition, cond: Tensor | None, x: Tensor) -> Tensor | None:
    """The network's labels, rows (B,) or (B, N) of its embedding; None without classes."""
    if condition.kind == "none" or (cond is None and not condition.optional):
        return None
    cond = condition.null(len(x), x.device) if cond is None else cond
    return cond if condition.kind == "classes" else class_rows(condition, cond)


def drop_condition(
    condition: Condition,
    cond: Tensor | None,
    p_uncond: float,
    rng: Rng,
    step: int,
    *,
    labels: DropLabels = "together",
) -> Tensor | None:
    """Labels (B,) or (B, N), each replaced by "no class" with probability `p_uncond` where that
    is allowed; of several, `labels` says whether by one draw for all or by a draw for each."""
    optional = [slot.optional for slot in condition.slots]
    if cond is None or p_uncond == 0 or not any(optional):
        return cond
    if condition.kind not in ("classes", "group"):
        raise UsageError(
            f"p_uncond = {p_uncond} drops class labels; this model takes {condition}.",
            hint="p_uncond=0",
        )
    if labels == "together":
        u = rng.uniform(stream="drop", step=step)[:, None].expand(-1, len(optional))
    else:
        u = rng.uniform((len(optional),), stream="drop", step=step)
    return condition.drop(cond, u < p_uncond)
