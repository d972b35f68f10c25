"""The whole state of a training in one safetensors file, written atomically.

Tensors `model/*`, `ema/<player>/*`, `optimizer/<player>/*/<key>`, `best/*`; the header's metadata
holds the rest as JSON: the schema, the step, the best score, the fingerprint of config, data and
code, and a hash of the whole file. A training resumes only if the fingerprint is equal, but for
the options in `EXTENDABLE`, and nothing is restored before everything is checked.
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
from zoo_core.errors import ConfigError, IntegrityError, warn
from zoo_core.training.config import EXTENDABLE
from zoo_core.training.fingerprint import leaves
from zoo_core.training.optim import flatten_state, unflatten_state
from zoo_core.training.players import PlayerTrainer

__all__ = ["CHECKPOINT", "Progress", "load", "remove_partial_files", "save"]

CHECKPOINT = "checkpoint.safetensors"
_EXTENDABLE = {f"train.{name}" for name in EXTENDABLE}
_SCHEMA = 2
"""Schema 1 had no hash."""
_RESTART_HINT = "delete it to start anew, or finish it with the version that wrote it"


@dataclass
class Progress:
    """How far a training has come; the rest of its state follows from the step."""

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
    trainers: Sequence[PlayerTrainer],
    progress: Progress,
    fingerprint: Mapping[str, Any],
) -> None:
    """Write the checkpoint; the previous one stays until this one is complete."""
    numbers = {k: v for k, v in vars(progress).items() if k != "best"}
    state = {"schema": _SCHEMA, "progress": numbers, "fingerprint": fingerprint}
    tensors = {k: _plain(v) for k, v in _tensors(model, trainers, progress)}
    sealed.write(path, tensors, json.dumps(state))


def load(
    path: Path,
    model: torch.nn.Module,
    trainers: Sequence[PlayerTrainer],
    fingerprint: Mapping[str, Any],
    *,
    steps: int,
) -> Progress:
    """Restore model, optimizers and averages from a checkpoint, to train up to step `steps`.

    Options in `EXTENDABLE` may differ from those it was written with. Raises `ConfigError`,
    listing the differences, if the checkpoint belongs to another training or is past `steps`, and
    `IntegrityError` if the file is damaged or is no checkpoint. Nothing is changed then.
    """
    try:
        text, tensors = sealed.read(path)
    except IntegrityError as error:
        raise IntegrityError(error.message, hint=_RESTART_HINT) from error
    state = _parsed(path, text)
    _check_fingerprint(path, state["fingerprint"], fingerprint)
    planned = state["fingerprint"]["train"]["steps"]
    progress = _progress(path, state["progress"], planned)
    _check_steps(path, progress.step, planned, trainers, steps)
    _check_fit(path, model, trainers, tensors)
    _restore(model, trainers, tensors)
    progress.best = _under("best/", tensors)
    return progress


def remove_partial_files(path: Path) -> None:
    """Remove what a process that was killed while writing left beside `path`."""
    for left in path.parent.glob(f".{path.name}.*.part"):
        left.unlink(missing_ok=True)


def _parsed(path: Path, text: str) -> dict[str, Any]:
    """The header's JSON, checked for schema and keys."""
    try:
        state: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{path} is no checkpoint ({error}).", hint=_RESTART_HINT) from None
    schema = state.get("schema") if isinstance(state, dict) else None
    if type(schema) is not int or schema != _SCHEMA:
        raise IntegrityError(
            f"{path} is a checkpoint of schema {schema!r}; this version continues {_SCHEMA}.",
            hint=_RESTART_HINT,
        )
    if not all(isinstance(state.get(key), dict) for key in ("progress", "fingerprint")):
        raise IntegrityError(f"{path} must hold `progress` and `fingerprint`.", hint=_RESTART_HINT)
    return dict(state)


def _progress(path: Path, numbers: dict[str, Any], steps: int) -> Progress:
    """The checkpoint's progress; raises `IntegrityError` if its numbers do not fit `steps`."""
    try:
        if missing := vars(Progress()).keys() - {"best"} - numbers.keys():
            raise ConfigError(f"progress.{min(missing)} is missing.")
        progress = configs.from_dict(Progress, numbers, where="progress.")
        if not max(progress.best_step, progress.since_best) <= progress.step <= steps:
            raise ConfigError(f"step {progress.step} of {steps} does not fit {numbers}.")
        if (progress.best_value is None) != (progress.best_step < 0):
            raise ConfigError(
                f"best_value = {progress.best_value} does not fit step {progress.best_step}."
            )
    except ConfigError as error:
        raise IntegrityError(f"{path}: {error.message}", hint=_RESTART_HINT) from None
    return progress


def _check_steps(
    path: Path, step: int, planned: int, trainers: Sequence[PlayerTrainer], steps: int
) -> None:
    """Refuse fewer steps than were taken; warn if another number changes a schedule."""
    if step > steps:
        raise ConfigError(
            f"{path} has taken {step} steps; train.steps = {steps} is fewer.",
            hint=f"set train.steps to at least {step}, or choose another folder",
        )
    falling = sorted({a.config.schedule for a in trainers} - {"constant"})
    if steps != planned and falling:
        warn(
            f"train.steps was {planned} and is {steps}: from step {step} on, the schedule "
            f"{' and '.join(falling)} is laid over the new length, so the learning rate jumps."
        )


def _check_fit(
    path: Path,
    model: torch.nn.Module,
    trainers: Sequence[PlayerTrainer],
    tensors: Mapping[str, Tensor],
) -> None:
    """Raise `IntegrityError` unless the tensors are those of this model and its players."""
    expected = dict(_tensors(model, trainers, Progress()))
    if any(name.startswith("best/") for name in tensors):
        expected |= {f"best/{k}": v for k, v in model.state_dict().items()}
    trained = {f"optimizer/{a.name}/{k}": p for a in trainers for k, p in a.parameters.items()}

    def fits(name: str, value: Tensor) -> bool:
        if (p := trained.get(name.rpartition("/")[0])) is not None:
            return value.shape in (p.shape, ())
        like = expected.get(name)
        return like is not None and (value.shape, value.dtype) == (like.shape, like.dtype)

    wrong = expected.keys() - tensors.keys() | {k for k, v in tensors.items() if not fits(k, v)}
    if wrong:
        raise IntegrityError(
            f"{path} does not fit the model: {', '.join(sorted(wrong)[:8])}.", hint=_RESTART_HINT
        )


def _tensors(
    model: torch.nn.Module, trainers: Sequence[PlayerTrainer], progress: Progress
) -> Iterator[tuple[str, Tensor]]:
    yield from ((f"model/{k}", v) for k, v in model.state_dict().items())
    yield from ((f"best/{k}", v) for k, v in progress.best.items())
    for a in trainers:
        state = flatten_state(a.optimizer, a.parameters)
        yield from ((f"optimizer/{a.name}/{k}", v) for k, v in state.items())
        if a.ema is not None:
            yield from ((f"ema/{a.name}/{k}", v) for k, v in a.ema.averages.items())


def _restore(
    model: torch.nn.Module, trainers: Sequence[PlayerTrainer], tensors: Mapping[str, Tensor]
) -> None:
    model.load_state_dict(_under("model/", tensors))
    for a in trainers:
        unflatten_state(a.optimizer, a.parameters, _under(f"optimizer/{a.name}/", tensors))
        if a.ema is not None:
            saved = _under(f"ema/{a.name}/", tensors)
            for name, average in a.ema.averages.items():
                average.copy_(saved[name])


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _plain(tensor: Tensor) -> Tensor:
    """A copy: safetensors refuses shared memory, e.g. of tied weights."""
    return tensor.detach().cpu().contiguous().clone()


def _check_fingerprint(path: Path, saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    there, here = leaves(saved), leaves(now)
    changed = [
        f"{key}: {there.get(key, 'absent')!r} there, {here.get(key, 'absent')!r} here"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key) and key not in _EXTENDABLE
    ]
    if changed:
        raise ConfigError(
            f"{path} is the checkpoint of another training: {'; '.join(changed)}.",
            hint="resume with what it was started with, or choose another folder; what may change "
            f"is {', '.join(EXTENDABLE)}",
        )
