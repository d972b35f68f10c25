"""A guard against randomness other than the zoo's `Rng` in sampling and scoring."""

import pickle
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["forbid_torch_randomness"]

_UNLIKELY = 0x5EED_CAFE


@contextmanager
def forbid_torch_randomness() -> Iterator[None]:
    """Raise AssertionError on any torch op that draws from torch's generators.

    This covers factories such as `torch.randn`, in-place `normal_`, draws from an own generator
    and draws inside `torch.distributions`, but not dropout in evaluation mode. If the global
    generator of torch, Python's `random` or numpy was seeded or drawn from, that is reported at
    the end. Their states are restored afterwards.
    """
    kept = _global_states()
    try:
        _seed_all(_UNLIKELY)  # a seed that the block does not set by chance
        before = _global_states()
        with _Guard():  # type: ignore[no-untyped-call]
            yield
        moved = [
            name for name, state in _global_states().items() if not _same(state, before[name])
        ]
        assert not moved, (
            f"the generator of {' and '.join(moved)} was seeded or drawn from, which changes what "
            "users draw from it; take draws from rng instead"
        )
    finally:
        random.setstate(kept["random"])
        np.random.set_state(kept["numpy.random"])
        torch.default_generator.set_state(kept["torch"])


class _Guard(TorchDispatchMode):
    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags and _draws(func, args, kwargs or {}):
            raise AssertionError(
                f"{func} draws from torch's generator; take draws from rng instead, e.g. "
                "rng.normal(shape, stream='z', step=t)"
            )
        return func(*args, **(kwargs or {}))


def _draws(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    """Whether a call of an op that can draw does draw: dropout only in training and at p > 0."""
    arguments = func._schema.arguments
    values = {a.name: a.default_value for a in arguments}
    values |= dict(zip(values, args, strict=False)) | kwargs
    idle = [values.get("train"), values.get("training"), values.get("dropout_p")]
    return not any(value is not None and not value for value in [*idle, _p(func, values)])


def _p(func: Any, values: dict[str, Any]) -> Any:
    """The probability of dropping, where that is what `p` means."""
    return values.get("p") if "dropout" in func.name() else None


def _seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)


def _global_states() -> dict[str, Any]:
    return {
        "random": random.getstate(),
        "numpy.random": np.random.get_state(),
        "torch": torch.default_generator.get_state(),
    }


def _same(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else pickle.dumps(a) == pickle.dumps(b)
