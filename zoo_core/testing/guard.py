"""A guard that lets no randomness but the zoo's `Rng` into sampling and scoring."""

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

    Factories such as `torch.randn`, in-place `normal_`, draws from a generator of one's own and
    the draws inside `torch.distributions` count; dropout in evaluation mode does not. What seeded
    or moved the global generators of torch, of Python's `random` or of numpy is reported at the
    end. Afterwards these are where they were.
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
    given = {a.name: a.default_value for a in arguments}
    given |= dict(zip(given, args, strict=False)) | kwargs
    idle = [given.get("train"), given.get("training"), given.get("dropout_p")]
    return not any(value is not None and not value for value in [*idle, _p(func, given)])


def _p(func: Any, given: dict[str, Any]) -> Any:
    """The probability of dropping, where that is what `p` means."""
    return given.get("p") if "dropout" in func.name() else None


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
