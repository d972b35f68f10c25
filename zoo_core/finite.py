"""Checks that log-likelihoods, samples and parameters are finite.

All comparisons with NaN are false, so that unchecked it would pass the tests on numbers.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from zoo_core.compat import moved_attribute
from zoo_core.errors import NotFiniteError

__all__ = ["check_finite", "check_nats", "check_parameters", "check_rows"]

_SHOWN = 3


def check_nats(nats: Tensor, what: str = "log p") -> None:
    """Raise `NotFiniteError` if a log-likelihood is NaN or +inf.

    -inf is allowed: it is the value of an event of probability zero.
    """
    check_rows(~(nats.isnan() | (nats == torch.inf)), what, nats.dtype)


def check_finite(x: Tensor, what: str) -> None:
    """Raise `NotFiniteError` unless all values of x (N, ...) are finite; `what` names them."""
    check_rows(x.isfinite().flatten(1).all(1) if x.ndim > 1 else x.isfinite(), what, x.dtype)


def check_rows(good: Tensor, what: str, dtype: torch.dtype) -> None:
    """Raise `NotFiniteError`, with the number of bad rows, unless all of `good` (N,) are true."""
    if not bool(good.all()):
        raise NotFiniteError(
            f"{what} of {int((~good).sum())} of {len(good)} events is not finite in {dtype}: "
            "the parameters or the events are too large for it.",
            hint="try dtype=torch.float64, or train with train.clip = 1",
        )


def check_parameters(state: Mapping[str, Tensor], what: str) -> None:
    """Raise `NotFiniteError` if a tensor of a state dict holds NaN or infinite values.

    `what` is the sentence that says what cannot be done, for the message.
    """
    names = _non_finite(state)
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise NotFiniteError(
            f"{what}: NaN or infinite values in {', '.join(names[:_SHOWN])}{more}.",
            hint="to look into them: torch.save(model.state_dict(), PATH)",
            command="train anew, with a smaller train.lr",
        )


def _non_finite(state: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that are not finite; values are read only if a norm is not finite."""
    reals = {k: v for k, v in state.items() if v.is_floating_point() and v.numel()}
    by_device: dict[torch.device, list[Tensor]] = {}
    for tensor in reals.values():
        by_device.setdefault(tensor.device, []).append(tensor)
    norms = [torch.nn.utils.get_total_norm(tensors) for tensors in by_device.values()]
    if all(bool(norm.isfinite()) for norm in norms):
        return []
    return [name for name, tensor in reals.items() if not bool(tensor.isfinite().all())]


def __getattr__(name: str) -> Any:
    return moved_attribute(__name__, name)
