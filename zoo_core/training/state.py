"""The whole state of a training in one safetensors file: replaced at once or not at all.

Tensors `model/*`, `ema/<player>/*`, `optimizer/<player>/*/<key>`, `best/*`; the header's metadata
holds the rest as JSON: the schema, the step, the best score, and the fingerprint of what is
trained, on what and by which code; and a hash of all of it. A training continues only with an
equal fingerprint, and nothing is restored before everything is checked.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

from zoo_core import config as configs
from zoo_core import sealed
from zoo_core.config import Range
from zoo_core.errors import ConfigError, IntegrityError
from zoo_core.training.optim import flatten, unflatten
from zoo_core.training.players import Actor

__all__ = ["CHECKPOINT", "Progress", "clean", "load", "save"]

CHECKPOINT = "checkpoint.safetensors"
_SCHEMA = 2
"""1 had no hash."""
_ANEW = "delete it to start anew, or finish it with the version that wrote it"


@dataclass
class Progress:
    """How far a training is; everything else follows from the step."""

    step: Annotated[int, Range(0)] = 0
    seconds: Annotated[float, Range(0)] = 0.0
    stopped: bool = False
    best_step: Annotated[int, Range(-1)] = -1
    best_value: float | None = None
    since_best: Annotated[int, Range(0)] = 0
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
    sealed.write(path, tensors, json.dumps(state))


def load(
    path: Path,
    model: torch.nn.Module,
    actors: Sequence[Actor],
    fingerprint: Mapping[str, Any],
    *,
    steps: int,
) -> Progress:
    """Bring model, optimizers and averages to where the checkpoint was, of `steps` in all.

    Raises `ConfigError` listing what differs if it is of another training, and `IntegrityError`
    if the file is damaged or no checkpoint. Nothing has changed then.
    """
    try:
        text, tensors = sealed.read(path)
    except IntegrityError as error:
        raise IntegrityError(error.message, hint=_ANEW) from error
    state = _parsed(path, text)
    _refuse_other(path, state["fingerprint"], fingerprint)
    progress = _progress(path, state["progress"], steps)
    _check_fit(path, model, actors, tensors)
    _restore(model, actors, tensors)
    progress.best = _under("best/", tensors)
    return progress


def clean(path: Path) -> None:
    """Remove what a process that was killed while it wrote has left beside `path`."""
    for left in path.parent.glob(f".{path.name}.*.part"):
        left.unlink(missing_ok=True)


def _parsed(path: Path, text: str) -> dict[str, Any]:
    """What the header says, of our schema and with all of its keys."""
    try:
        state: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{path} is no checkpoint ({error}).", hint=_ANEW) from None
    schema = state.get("schema") if isinstance(state, dict) else None
    if type(schema) is not int or schema != _SCHEMA:
        raise IntegrityError(
            f"{path} is a checkpoint of schema {schema!r}; this version continues {_SCHEMA}.",
            hint=_ANEW,
        )
    if not all(isinstance(state.get(key), dict) for key in ("progress", "fingerprint")):
        raise IntegrityError(f"{path} must hold `progress` and `fingerprint`.", hint=_ANEW)
    return dict(state)


def _progress(path: Path, numbers: dict[str, Any], steps: int) -> Progress:
    """How far the training was, if every number can be one of `steps` steps."""
    try:
        if missing := vars(Progress()).keys() - {"best"} - numbers.keys():
            raise ConfigError(f"progress.{min(missing)} is missing.")
        found = configs.from_dict(Progress, numbers, where="progress.")
        if not max(found.best_step, found.since_best) <= found.step <= steps:
            raise ConfigError(f"step {found.step} of {steps} does not fit {numbers}.")
        if (found.best_value is None) != (found.best_step < 0):
            raise ConfigError(f"progress: the best value is {found.best_value} at no such step.")
    except ConfigError as error:
        raise IntegrityError(f"{path}: {error.message}", hint=_ANEW) from None
    return found


def _check_fit(
    path: Path,
    model: torch.nn.Module,
    actors: Sequence[Actor],
    tensors: Mapping[str, Tensor],
) -> None:
    """Raise `IntegrityError` unless the tensors are those of this model and its players."""
    want = dict(_tensors(model, actors, Progress()))
    if any(name.startswith("best/") for name in tensors):
        want |= {f"best/{k}": v for k, v in model.state_dict().items()}
    trained = {f"optimizer/{a.name}/{k}": p for a in actors for k, p in a.parameters.items()}

    def fits(name: str, value: Tensor) -> bool:
        if (p := trained.get(name.rpartition("/")[0])) is not None:
            return value.shape in (p.shape, ())
        like = want.get(name)
        return like is not None and (value.shape, value.dtype) == (like.shape, like.dtype)

    wrong = want.keys() - tensors.keys() | {k for k, v in tensors.items() if not fits(k, v)}
    if wrong:
        raise IntegrityError(
            f"{path} does not fit the model: {', '.join(sorted(wrong)[:8])}.", hint=_ANEW
        )


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
