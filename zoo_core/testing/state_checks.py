"""Checks of the precision and independence of scores, and of a model's state."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from zoo_core.model import GenerativeModel
from zoo_core.testing.scoring import raw_nats, training_without_noise
from zoo_core.testing.subjects import Inconclusive, ModelSubject, only_if

__all__ = ["STATE_CHECKS"]

_PRECISION = 1e-4
"""Tolerance between scores in float32 and float64, relative to the larger of 1 and them; half
precision is off by up to 5e-4."""
_ROWS, _MANY, _KEPT = 24, 64, 3
_STEP, _STEPS, _HALVINGS = 1e-4, 24, 20


@only_if(lambda subject: subject.scored)
def check_scores_have_the_models_precision(subject: ModelSubject) -> None:
    """Nats are float32 or float64, change little in float64, and jump with no parameter."""
    model, x, cond = subject.model(), subject.events(_MANY), subject.cond(_MANY)
    with torch.no_grad():
        nats = raw_nats(model, x[:_ROWS], None if cond is None else cond[:_ROWS])
        assert nats.dtype in (torch.float32, torch.float64), (
            f"log p is {nats.dtype}; compute and return it in float32 or float64"
        )
        try:
            model, x = model.double(), x.double() if x.is_floating_point() else x
            cond = cond.double() if cond is not None and cond.is_floating_point() else cond
            want = raw_nats(model, x[:_ROWS], None if cond is None else cond[:_ROWS]).double()
        except Exception as error:
            raise Inconclusive(f"no scores in float64 to compare with: {error}") from error
        _check_gap(nats.double() - want, want)
        if subject.claims("Density"):
            _check_gap(_largest_jump(model, x, cond), want)


def _check_gap(gap: Tensor, of: Tensor) -> None:
    worst = float(gap.abs().max()) / max(1.0, float(of.abs().max()))
    assert worst < _PRECISION, f"log p is off by {worst:.2g} of itself: is some of it in half?"


def _largest_jump(model: GenerativeModel, x: Tensor, cond: Tensor | None) -> Tensor:
    """The largest jump of log p, a scalar, as the parameters move along a line by about 1e-3.

    The step whose change differs most from the others' is bisected until only a jump is left.
    """
    generator, start = torch.Generator().manual_seed(4), [p.clone() for p in model.parameters()]
    line = [torch.randn(p.shape, generator=generator) for p in start]

    def at(t: float) -> Tensor:
        for p, origin, d in zip(model.parameters(), start, line, strict=True):
            p.copy_(origin + t * d)
        return raw_nats(model, x, cond).double()

    times = [_STEP * k for k in range(_STEPS + 1)]
    values = torch.stack([at(t) for t in times])
    changes = values.diff(dim=0)
    k, row = divmod(int((changes - changes.median(0).values).abs().argmax()), len(x))
    (a, b), (low, high) = times[k : k + 2], values[k : k + 2, row]
    for _ in range(_HALVINGS):
        middle = (a + b) / 2
        value = at(middle)[row]
        if (value - low).abs() > (high - value).abs():
            b, high = middle, value
        else:
            a, low = middle, value
    jump: Tensor = (high - low).abs()
    return jump


@only_if(lambda subject: subject.scored)
def check_scores_do_not_depend_on_the_mode(subject: ModelSubject) -> None:
    """log p is the same in training as in evaluation, dropout and batch normalization apart."""
    model, x, cond = subject.model(), subject.events(_ROWS), subject.cond(_ROWS)
    with torch.no_grad():
        with training_without_noise(model):
            raw_nats(model, x, cond)  # state that the first batch sets is set here
            training = raw_nats(model, x, cond).double()
        gap = float((raw_nats(model, x, cond).double() - training).abs().max())
    assert gap < _PRECISION * max(1.0, float(training.abs().max())), (
        f"log p in training and in evaluation differ by {gap:.3g} nats"
    )


@only_if(lambda subject: subject.scored)
def check_scores_do_not_depend_on_other_rows(subject: ModelSubject) -> None:
    """Scores depend neither on the other events of the batch nor on their number."""
    model, x, cond = subject.model(), subject.events(_ROWS), subject.cond(_ROWS)
    kept = torch.arange(_KEPT)
    batches = {
        "alone": kept,
        "with others": torch.arange(_ROWS),
        "with others twice": torch.cat((kept, torch.arange(_KEPT, _ROWS).repeat(2))),
        "with others yet": torch.cat((kept, torch.arange(_ROWS - 1, _ROWS // 2, -1))),
    }
    with torch.no_grad():
        scores = {
            what: raw_nats(model, x[rows], None if cond is None else cond[rows])[:_KEPT].double()
            for what, rows in batches.items()
        }
    alone = scores.pop("alone")
    for what, nats in scores.items():
        gap = float((nats - alone).abs().max())
        assert gap < _PRECISION * max(1.0, float(alone.abs().max())), (
            f"log p of an event alone and {what} in the batch differ by {gap:.3g} nats"
        )


def check_tensors_are_parameters_or_buffers(subject: ModelSubject) -> None:
    """Other tensors would neither move with the model nor be saved; checked after use."""
    model = subject.used()
    stray = [
        f"{name}.{key}".removeprefix(".")
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if key not in ("_parameters", "_buffers", "_modules") and _holds_tensor(value)
    ]
    assert not stray, (
        f"{', '.join(stray[:5])} are tensors that neither move with the model nor are saved; use "
        "register_buffer(name, tensor), with persistent=False for what the config determines"
    )


def _holds_tensor(value: Any) -> bool:
    return any(isinstance(item, Tensor) for item in _contents(value))


def _contents(value: Any) -> Iterator[Any]:
    """A value and the contents of containers and dataclasses; modules are visited separately."""
    yield value
    inner: Any = ()
    if isinstance(value, dict):
        inner = value.values()
    elif isinstance(value, list | tuple | set):
        inner = value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        inner = vars(value).values() if hasattr(value, "__dict__") else ()
    for item in inner:
        yield from _contents(item)


STATE_CHECKS = [
    check_scores_have_the_models_precision,
    check_scores_do_not_depend_on_the_mode,
    check_scores_do_not_depend_on_other_rows,
    check_tensors_are_parameters_or_buffers,
]
