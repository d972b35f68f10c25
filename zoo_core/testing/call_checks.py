"""Checks that call a plugin's optimizers, schedules, data sets, metrics, converters and others.

Nothing is downloaded: a check that needs the network, a missing file or a missing package is
inconclusive.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from zoo_core.catalog.registry import Entry
from zoo_core.catalog.specs import Check, import_target
from zoo_core.data.batches import read
from zoo_core.data.dataset import Dataset
from zoo_core.errors import ConfigError, NetworkError, NoCapabilityError, ZooError
from zoo_core.evaluation.feature_set import Estimate, FeatureSet
from zoo_core.evaluation.features import Extractor
from zoo_core.spaces import Event
from zoo_core.testing.component_checks import small
from zoo_core.testing.subjects import Inconclusive, PluginSubject
from zoo_core.weights.third_party import Foreign

__all__ = ["CALL_CHECKS"]

_ROWS, _FEW, _POINTS, _FEATURES, _FAR = 16, 3, 256, 4, 10.0
_CLOSE = 1e-4
_STEPS = 20
_EVENTS = (
    Event((1, 2, 2), levels=3),
    Event((2,)),
    Event((1, 8, 8), levels=17),
    Event((1, 28, 28), levels=2),
    Event((3, 32, 32), levels=256),
    Event((3, 16, 16), levels=256),
    Event((1, 8, 8), low=-1.0, high=1.0),
)
"""A feature extractor is checked on the first of these that it accepts."""
_UNKNOWN_CHECKPOINT = Foreign(
    {"stranger.json": {"_class_name": "Stranger"}}, {"": {"x": torch.zeros(2)}}
)


def check_optimizers_step(subject: PluginSubject) -> None:
    """An optimizer lowers a quadratic, and its state is tensors, which a checkpoint holds."""
    _each(subject, "optimizer", _check_optimizer)


def check_schedules_give_factors(subject: PluginSubject) -> None:
    """A schedule gives a finite factor of at least 0 at each fraction of the steps."""
    _each(subject, "schedule", _check_schedule)


def check_datasets_load(subject: PluginSubject) -> None:
    """The splits hold the same events at each call; a known log p is one number per event."""
    _each(subject, "dataset", _check_dataset)


def check_metrics_measure(subject: PluginSubject) -> None:
    """Features do not depend on the batch; scores prefer similar samples to different ones."""
    _each(
        subject,
        "metric",
        lambda e: (_check_features if e.spec.kind == "features" else _check_score)(e),
    )


def check_converters_refuse_strangers(subject: PluginSubject) -> None:
    """A checkpoint of an unknown layout is refused, and the architecture is registered."""
    _each(subject, "converter", lambda e: _check_converter(subject, e))


def check_health_checks_answer(subject: PluginSubject) -> None:
    """Each returns a `Check` with a status and a message, whatever the machine's state."""
    _each(subject, "health check", _check_health)


def _each(subject: PluginSubject, kind: str, check: Callable[[Entry[Any]], None]) -> None:
    doubts = []
    for entry in subject.declared(kind):
        where = f"{kind} {entry.spec.name!r}"
        try:
            with _no_network():
                check(entry)
        except (Inconclusive, NetworkError, NoCapabilityError, ModuleNotFoundError) as why:
            doubts.append(f"{where}: {why}")
        except AssertionError as error:
            raise AssertionError(f"{where}: {error}") from error
        except Exception as error:
            raise AssertionError(
                f"{where} ({entry.spec.target}) raises {type(error).__name__}: {error}"
            ) from error
    if doubts:
        raise Inconclusive("; ".join(doubts))


@contextmanager
def _no_network() -> Iterator[None]:
    """Inside the block connections fail at once, as they do without a network."""

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise NetworkError("checks are made without a network.")

    with patch("socket.socket.connect", refuse), patch("socket.getaddrinfo", refuse):
        yield


def _check_optimizer(entry: Entry[Any]) -> None:
    torch.manual_seed(0)
    parameters = {"w": nn.Parameter(torch.randn(4, 3)), "b": nn.Parameter(torch.randn(3))}
    optimizer = small(import_target(entry.spec.target))(parameters)
    assert isinstance(optimizer, torch.optim.Optimizer), f"gives {type(optimizer).__name__}"
    losses = []
    for _ in range(_STEPS):
        optimizer.zero_grad()
        loss = torch.stack([p.square().sum() for p in parameters.values()]).sum()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0], f"|p|^2 does not fall: {losses[0]:g}, then {losses[-1]:g}"
    plain = {k for s in optimizer.state.values() for k, v in s.items() if not _is_tensor(v)}
    assert not plain, f"state {', '.join(sorted(plain))} is no tensor"


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _check_schedule(entry: Entry[Any]) -> None:
    schedule = small(import_target(entry.spec.target))
    factors = [float(schedule(u)) for u in (0.0, 0.25, 0.5, 0.99)]
    good = all(math.isfinite(f) and f >= 0 for f in factors)
    assert good, f"gives the factors {factors}"


def _check_dataset(entry: Entry[Any]) -> None:
    load = small(import_target(entry.spec.target), lower=False)
    try:
        data, again = load(), load()
    except ConfigError as error:
        raise Inconclusive(f"its defaults load nothing: {error}") from error
    assert isinstance(data, Dataset), f"gives {type(data).__name__}, not Dataset"
    assert data.license, "states no licence"
    for name, split in data.splits.items():
        rows = torch.arange(min(len(split), _ROWS))
        x, other = split.batch(rows)[0], again.splits[name].batch(rows)[0]
        assert torch.equal(x, other), f"{name} changes"
    first = next(iter(data.splits.values()))
    x, _ = read(data.event, first, slice(_ROWS))
    if data.truth is not None:
        log_p = data.truth(x)
        finite = tuple(log_p.shape) == (len(x),) and bool(log_p.isfinite().all())
        assert finite, f"truth gives {log_p.tolist()} for {len(x)} events of its own"


def _check_features(entry: Entry[Any]) -> None:
    extract = small(import_target(entry.spec.target))
    assert isinstance(extract, Extractor), "lacks identity, accepts(event) or a call"
    assert isinstance(extract.identity, str) and extract.identity, "has no identity"
    accepted = [event for event in _EVENTS if extract.accepts(event)]
    if not accepted:
        raise Inconclusive(f"accepts none of {', '.join(map(str, _EVENTS))}")
    event = accepted[0]
    x = _random_events(event)
    features, few = extract(x, event), extract(x[:_FEW], event)
    typed = isinstance(features, Tensor) and features.is_floating_point()
    assert typed, f"gives {type(features)}"
    shaped = features.ndim == 2 and len(features) == len(x)
    assert shaped, f"features have shape {tuple(features.shape)}"
    assert bool(features.isfinite().all()), "features are not finite"
    gap = float((few - features[:_FEW]).abs().max())
    assert gap <= _CLOSE * max(1.0, float(features.abs().max())), (
        f"features of an event change by {gap:.2g} with the others of the batch"
    )


def _check_score(entry: Entry[Any]) -> None:
    score, generator = small(import_target(entry.spec.target)), torch.Generator().manual_seed(7)
    clouds = [torch.randn(_POINTS, _FEATURES, generator=generator) for _ in range(3)]
    better = getattr(score, "better", None)
    assert better in ("lower", "higher"), f"better = {better!r}; it must be 'lower' or 'higher'"
    like, unlike = (
        score(FeatureSet(points), FeatureSet(clouds[0]))
        for points in (clouds[1], clouds[2] + _FAR)
    )
    for estimate in (like, unlike):
        assert isinstance(estimate, Estimate), f"gives {type(estimate).__name__}, not Estimate"
        legal = abs(estimate.value) < float("inf") and estimate.std_err >= 0  # inf: unknown
        assert legal, f"gives {estimate}"
    right = like.value < unlike.value if better == "lower" else like.value > unlike.value
    assert right, f"{better} is better, but like samples have {like} and unlike ones {unlike}"


def _check_converter(subject: PluginSubject, entry: Entry[Any]) -> None:
    archs = {e.spec.arch for e in subject.registry.models}
    arch = entry.spec.arch.rpartition(":")[2]
    assert arch in archs, f"arch = {entry.spec.arch!r} is no registered architecture"
    try:
        small(import_target(entry.spec.target))(_UNKNOWN_CHECKPOINT)
    except (ZooError, KeyError):
        return
    raise AssertionError("takes a checkpoint that is of no layout it can know")


def _check_health(entry: Entry[Any]) -> None:
    health = import_target(entry.spec.target)()
    assert isinstance(health, Check), f"gives {type(health).__name__}, not Check"
    assert health.status in ("ok", "note", "problem"), f"status = {health.status!r}"
    assert health.message, "has no message"
    if entry.spec.fix is not None:
        assert callable(import_target(entry.spec.fix)), f"{entry.spec.fix} cannot be called"


def _random_events(event: Event) -> Tensor:
    """Random events (16, *S)."""
    generator = torch.Generator().manual_seed(8)
    if event.levels is not None:
        return torch.randint(event.levels, (_ROWS, *event.shape), generator=generator)
    return event.from_network(torch.randn(_ROWS, *event.shape, generator=generator))


CALL_CHECKS = [
    check_optimizers_step,
    check_schedules_give_factors,
    check_datasets_load,
    check_metrics_measure,
    check_converters_refuse_strangers,
    check_health_checks_answer,
]
