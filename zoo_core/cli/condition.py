"""What --cond means: a class by number or name, classes in turn, or the parts of a group.

--cond 3                       one class for all events
--cond noto,twemoji            classes in turn
--cond group=food,style=noto   parts by name, each a class or classes in turn
--cond pose=0.5,1.5            the values of a vector, or of tokens
--cond FILE.npy                a row for each event; also for a part: sketch=FILE.npy
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_core.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from zoo_core.spaces import Condition

__all__ = ["as_tensor", "condition_of"]


def condition_of(condition: "Condition", text: str | None, n: int) -> "Tensor | None":
    """The condition of n events that the text of --cond stands for; raises `DataError`."""
    if text is None:
        if condition.kind != "none" and not condition.optional:
            raise DataError(f"the model needs {condition}; none was given.", hint="--cond C")
        return None
    if condition.kind == "none":
        raise DataError("the model takes no condition.", hint="drop --cond")
    if condition.kind == "group" and not text.endswith(".npy") or "=" in text:
        return condition.check(_by_name(condition, text, n), n)
    return condition.check(_values(condition, text, n, "--cond"), n)


def _by_name(condition: "Condition", text: str, n: int) -> dict[str, Any]:
    """Parts and their values; an entry without `=` is a further value of the part before it."""
    texts: dict[str, str] = {}
    name = ""
    for entry in text.split(","):
        before, equals, value = entry.rpartition("=")
        if equals and before in texts:
            raise UsageError(f"--cond {text!r} names {before!r} twice.")
        name = before if equals else name
        texts[name] = value if equals else f"{texts.get(name, '')},{entry}"
    known = dict(condition.parts)
    if not known:
        raise UsageError(f"--cond {text!r} names parts; the model needs {condition}.")
    if "" in texts:
        example = ",".join(f"{part}=..." for part in known)
        raise UsageError(
            f"--cond {text!r} does not say of which part; the model needs {condition}.",
            hint=f"--cond {example}",
        )
    return {
        part: _values(known[part], value, n, f"--cond {part}=") if part in known else value
        for part, value in texts.items()
    }


def _values(condition: "Condition", text: str, n: int, what: str) -> Any:
    """Numbers, or names of classes; several classes are taken in turn."""
    from zoo_core.data.arrays import read_npy
    from zoo_core.memory import require_memory

    if text.endswith(".npy"):
        return as_tensor(read_npy(Path(text)))
    values = [_value(condition, entry, what) for entry in text.split(",")]
    if condition.shape:
        return values
    if len(values) == 1:
        return values[0]
    require_memory(3 * 8 * n, f"{n:,} classes in turn", hint="draw fewer at a time")
    return condition.check(values, len(values))[_turns(n, len(values))]  # type: ignore[index]


def _turns(n: int, k: int) -> "Tensor":
    import torch

    return torch.arange(n) % k


def _value(condition: "Condition", entry: str, what: str) -> int | float | str:
    """A name where there is one of it, else a number."""
    if entry in condition.names:
        return entry
    try:
        return float(entry) if condition.kind in ("vector", "image") else _int64(entry)
    except ValueError:
        if condition.names:
            return entry  # `check` lists the names
    raise UsageError(
        f"{what}{'' if what.endswith('=') else ' '}{entry!r} is no class, no list of classes and "
        f"no .npy file; expected {condition}."
    )


def _int64(entry: str) -> int:
    value = int(entry)
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError(entry)
    return value


def as_tensor(array: "np.ndarray") -> "Tensor":
    """An array that was read from a file; raises `DataError` where tensors have no such type."""
    import torch

    try:
        return torch.from_numpy(array)
    except TypeError as error:
        raise DataError(f"an array of {array.dtype} is no tensor.") from error
