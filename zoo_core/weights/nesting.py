"""A network's tensors at any nesting of a checkpoint: `ema`, `model`, `state_dict`, `module.`.

Training scripts keep a state dict under a name of their own, beside its average, and Lightning,
accelerate and DistributedDataParallel put prefixes before the names. A converter knows names that
its architecture has; whatever stands before them is the prefix of one network.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import Tensor

from zoo_core.errors import IntegrityError, UsageError
from zoo_core.weights.third_party import Foreign

__all__ = ["Nested", "nested_state"]

_WRAPPER = re.compile(r"(?:(?<=\.)|^)(?:module|_orig_mod)(?:\.|$)")
"""Parts of names that DistributedDataParallel, DataParallel and torch.compile add."""


@dataclass(frozen=True)
class Nested:
    """One network of a checkpoint: its prefix, its tensors without it, and the other prefixes."""

    prefix: str
    tensors: Mapping[str, Tensor]
    others: tuple[str, ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """What to say about networks that were not read."""
        if not self.others:
            return ()
        names = ", ".join(repr(name) for name in self.others)
        return (f"read {self.prefix!r}, not {names} (--set key=NAME chooses another)",)


def nested_state(
    foreign: Foreign, marks: Collection[str], what: str, *, key: str | None = None
) -> Nested:
    """The one network of a checkpoint that has all the tensors `marks`.

    Of several the moving average is taken, if one alone has `ema` in its prefix; `key` names one.
    Raises `IntegrityError` if there is none, and `UsageError` if it cannot be told which is meant.
    """
    networks = _networks(foreign, marks)
    if not networks:
        raise IntegrityError(
            f"no {what}: no tensors called {', '.join(sorted(marks))}.",
            hint="the checkpoint is of another architecture",
        )
    averages = [prefix for prefix in networks if "ema" in prefix.lower()]
    if key is not None:
        fit = [prefix for prefix in networks if f"{prefix}.".startswith(f"{key}.")]
    else:
        fit = averages if len(networks) > 1 else list(networks)
    if len(fit) == 1:
        others = tuple(prefix for prefix in networks if prefix != fit[0])
        return Nested(fit[0], networks[fit[0]], others)
    names = ", ".join(repr(prefix) for prefix in networks)
    raise UsageError(
        f"key = {key!r} names no {what}; they are under {names}."
        if key is not None
        else f"the checkpoint holds several, each {what}: under {names}.",
        hint=f"choose one: --set key={next(iter(networks))}",
    )


def _networks(foreign: Foreign, marks: Collection[str]) -> dict[str, dict[str, Tensor]]:
    """State dicts by prefix, without the parts of names that wrappers add."""
    found: dict[str, dict[str, Tensor]] = {}
    for folder, tensors in foreign.tensors.items():
        plain = {_WRAPPER.sub("", name): tensor for name, tensor in tensors.items()}
        for prefix in _prefixes(plain, marks):
            whole = ".".join(filter(None, (folder, prefix.removesuffix("."))))
            found[whole] = {
                name.removeprefix(prefix): tensor
                for name, tensor in plain.items()
                if name.startswith(prefix)
            }
    return found


def _prefixes(names: Collection[str], marks: Collection[str]) -> list[str]:
    first, *rest = marks
    prefixes = [n.removesuffix(first) for n in names if n == first or n.endswith(f".{first}")]
    return [p for p in prefixes if all(p + mark in names for mark in rest)]
