"""The whole state of a training in one safetensors file: replaced at once or not at all.

Tensors `model/*`, `ema/<player>/*`, `optimizer/<player>/*/<key>`, `best/*`; the header's metadata
holds the rest as JSON: the step, the best score, and the fingerprint of what is trained, on what
and by which code. A training continues only with an equal fingerprint.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from zoo_core.errors import ConfigError, IntegrityError, OutputError
from zoo_core.files import atomic_path
from zoo_core.training.optim import flatten, unflatten
from zoo_core.training.players import Actor

__all__ = ["CHECKPOINT", "Progress", "clean", "load", "save"]

CHECKPOINT = "checkpoint.safetensors"
_SCHEMA = 1


@dataclass
class Progress:
    """How far a training is; everything else follows from the step."""

    step: int = 0
    seconds: float = 0.0
    stopped: bool = False
    best_step: int = -1
    best_value: float | None = None
    since_best: int = 0
    """Evaluations since the best one."""
    best: dict[str, Tensor] = field(default_factory=dict, repr=False)
    """The best weights, on the CPU."""


def save(
    path: Path,
    model: torch.nn.Module,
    actors: Sequence[Actor],
    progress: Progress,
    fingerprint: Mapping[str, Any],
) -> None:
    """Write the checkpoint; the previous one stays until this one is complete."""
    numbers = {k: v for k, v in vars(progress).items() if k != "best"}
    state = {"schema": _SCHEMA, "progress": numbers, "fingerprint": fingerprint}
    tensors = {k: _plain(v) for k, v in _tensors(model, actors, progress)}
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata={"zoo": json.dumps(state)})
        except SafetensorError as error:
            raise OutputError(
                f"{path} cannot be written ({error}).",
                hint="free some space and resume from the previous checkpoint",
            ) from error


def load(
    path: Path,
    model: torch.nn.Module,
    actors: Sequence[Actor],
    fingerprint: Mapping[str, Any],
) -> Progress:
    """Bring model, optimizers and averages to where the checkpoint was.

    Raises `ConfigError` listing what differs if it is of another training, and `IntegrityError`
    if the file is damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            state = json.loads((file.metadata() or {})["zoo"])
            _refuse_other(path, state["fingerprint"], fingerprint)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        _restore(model, actors, tensors)
        return Progress(**state["progress"], best=_under("best/", tensors))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise IntegrityError(
            f"{path} is damaged or no checkpoint ({type(error).__name__}: {error}).",
            hint="delete it to start anew",
        ) from error


def clean(path: Path) -> None:
    """Remove what a process that was killed while it wrote has left beside `path`."""
    for left in path.parent.glob(f".{path.name}.*.part"):
        left.unlink(missing_ok=True)


def _tensors(
    model: torch.nn.Module, actors: Sequence[Actor], progress: Progress
) -> Iterator[tuple[str, Tensor]]:
    yield from ((f"model/{k}", v) for k, v in model.state_dict().items())
    yield from ((f"best/{k}", v) for k, v in progress.best.items())
    for a in actors:
        state = flatten(a.optimizer, list(a.parameters))
        yield from ((f"optimizer/{a.name}/{k}", v) for k, v in state.items())
        if a.ema is not None:
            yield from ((f"ema/{a.name}/{k}", v) for k, v in a.ema.averages.items())


def _restore(
    model: torch.nn.Module, actors: Sequence[Actor], tensors: Mapping[str, Tensor]
) -> None:
    model.load_state_dict(_under("model/", tensors))
    for a in actors:
        unflatten(a.optimizer, list(a.parameters), _under(f"optimizer/{a.name}/", tensors))
        if a.ema is not None:
            saved = _under(f"ema/{a.name}/", tensors)
            for name, average in a.ema.averages.items():
                average.copy_(saved[name])


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _plain(tensor: Tensor) -> Tensor:
    """A copy of its own: safetensors refuses shared memory, e.g. of tied weights."""
    return tensor.detach().cpu().contiguous().clone()


def _refuse_other(path: Path, saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    then, here = dict(_leaves(saved)), dict(_leaves(json.loads(json.dumps(now))))
    changed = [
        f"{key}: {then.get(key, 'absent')!r} there, {here.get(key, 'absent')!r} here"
        for key in sorted(then.keys() | here.keys())
        if then.get(key) != here.get(key)
    ]
    if changed:
        raise ConfigError(
            f"{path} is the checkpoint of another training: {'; '.join(changed)}.",
            hint="resume with what it was started with, or choose another folder",
        )


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree
