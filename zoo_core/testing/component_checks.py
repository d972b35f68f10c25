"""Checks that call what a plugin adds to models of others: losses, samplers and likelihoods.

Each is called on a model of integers and on one of reals that have what it requires and nothing
else (`miniatures`), or, where it requires a capability of a plugin, on models of that plugin.
"""

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from zoo_core import config as configs
from zoo_core.catalog.capabilities import CORE, has
from zoo_core.catalog.registry import Entry
from zoo_core.catalog.specs import import_target
from zoo_core.contracts import Loss
from zoo_core.errors import ConfigError, NoCapabilityError
from zoo_core.likelihood import LogLikelihood
from zoo_core.model import GenerativeModel
from zoo_core.rng import Rng
from zoo_core.sampling import evaluating
from zoo_core.testing.guard import forbid_torch_randomness
from zoo_core.testing.miniatures import Miniature, miniature
from zoo_core.testing.subjects import Inconclusive, ModelSubject, PluginSubject

__all__ = ["COMPONENT_CHECKS", "small"]

_ROWS, _FEW = 16, 4
_CLOSE, _SIGMAS = 1e-4, 5.0
_ESTIMATE = 0.3
"""How far from log p an estimate may be on average, in nats, beyond its standard errors."""
_MOST = 16
"""Options that count something are lowered to this, where they may be."""
_FILL = {float: 0.5, int: 2}
"""Options without defaults."""
_OF_LOG_P = {"Density", "Conditionals", "Bijection", "Encoder", "Decoder", "Energy"}
"""Capabilities that determine log p, whatever the events."""


def check_samplers_draw_events(subject: PluginSubject) -> None:
    """Events of the model, each row by itself, from rng alone."""
    _each(subject, "sampler", _check_sampler)


def check_likelihoods_score_events(subject: PluginSubject) -> None:
    """One number an event, of the stated kind, from rng alone, and on the stated side of log p."""
    _each(subject, "likelihood", _check_likelihood)


def check_losses_can_be_minimized(subject: PluginSubject) -> None:
    """A finite scalar with gradients that are finite and not all zero."""
    _each(subject, "loss", _check_loss)


def small(target: Any, *, lower: bool = True) -> Any:
    """A component with its defaults, cheaper where a count may be lower.

    Options without defaults are filled in where they are numbers; raises `Inconclusive` where
    they are not.
    """
    kinds = typing.get_type_hints(target)
    blank = [f.name for f in dataclasses.fields(target) if _required(f)]
    strange = [name for name in blank if kinds[name] not in _FILL]
    if strange:
        raise Inconclusive(f"nothing to give for {', '.join(strange)}, which has no default")
    filled = {name: _FILL[kinds[name]] for name in blank}
    component = target(**filled)
    for f in dataclasses.fields(target):
        value = getattr(component, f.name)
        if lower and type(value) is int and value > _MOST:
            fewer = dataclasses.replace(component, **{f.name: _MOST})
            component = fewer if _legal(fewer) else component
    return component


def _required(f: "dataclasses.Field[Any]") -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


def _legal(component: Any) -> bool:
    try:
        configs.validate(component)
    except ConfigError:
        return False
    return True


def _each(subject: PluginSubject, kind: str, check: Any) -> None:
    """Run a check of every component of a kind; where none could be told of, say why."""
    doubts = []
    for entry in subject.declared(kind):
        try:
            _on_models(subject, entry, kind, check)
        except Inconclusive as why:
            doubts.append(f"{kind} {entry.spec.name!r}: {why}")
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(
                f"{kind} {entry.spec.name!r} ({entry.spec.target}) raises "
                f"{type(error).__name__}: {error}; what it is not for, it may refuse with "
                "NoCapabilityError"
            ) from error
    if doubts:
        raise Inconclusive("; ".join(doubts))


def _on_models(subject: PluginSubject, entry: Entry[Any], kind: str, check: Any) -> None:
    """On every model at hand; one may be refused in words, but not all."""
    component, refused, tried = small(import_target(entry.spec.target)), [], 0
    for model in _models(subject, entry):
        tried += 1
        try:
            check(entry, component, model)
        except NoCapabilityError as error:
            refused.append(str(error))
    if tried == 0:
        needs = ", ".join(entry.spec.requires)
        raise Inconclusive(f"no model at hand has {needs}; declare a tiny one that has")
    if len(refused) == tried:
        raise Inconclusive(f"it refuses every model at hand: {refused[0]}")


def _models(subject: PluginSubject, entry: Entry[Any]) -> Iterator[GenerativeModel]:
    """One of integers and one of reals, where the component serves both and there are such."""
    serves = getattr(entry.spec, "serves", None)
    for discrete in (True, False):
        if serves is not None and not serves(discrete=discrete):
            continue
        found = _model(subject, entry, discrete)
        if found is not None:
            yield found


def _model(subject: PluginSubject, entry: Entry[Any], discrete: bool) -> GenerativeModel | None:
    requires = set(entry.spec.requires)
    if requires <= set(CORE) and not _has_players(entry):
        try:
            return miniature(requires, discrete=discrete)
        except NoCapabilityError:
            pass  # no miniature can have it; a registered model may
    return next(
        (model for model in _registered(subject, only_own=_has_players(entry))
         if model.event.discrete == discrete and all(has(model, name) for name in requires)),
        None,
    )  # fmt: skip


def _registered(subject: PluginSubject, *, only_own: bool) -> Iterator[GenerativeModel]:
    """Every registered model at its tiny size, the plugin's own first."""
    entries = sorted(subject.registry.models, key=lambda e: e.plugin is not subject.plugin)
    for entry in entries:
        if entry.plugin is subject.plugin or not only_own:
            yield ModelSubject(entry.spec, entry.plugin, subject.registry).model()


def _has_players(entry: Entry[Any]) -> bool:
    """Whether it is a loss of several players, which fits models of its own plugin."""
    target = import_target(entry.spec.target)
    return not callable(getattr(target, "__call__", None)) or "__call__" not in dir(target)  # noqa: B004


def _check_sampler(entry: Entry[Any], draw: Any, model: GenerativeModel) -> None:
    what = f"sampler {entry.spec.name!r} on {model.event}"
    cond = _conditions(model, _ROWS)
    with evaluating(model):
        raw = draw(model, Rng(3, _ROWS), cond)
    if model.event.discrete and isinstance(raw, Tensor) and raw.is_floating_point():
        assert not (float(raw.min()) >= 0 and float(raw.max()) > 1), (
            f"{what} draws reals from {float(raw.min()):.3g} to {float(raw.max()):.3g}: give "
            "integers, or reals on the network's scale from -1 to 1"
        )
    with forbid_torch_randomness():
        whole = model.sample(_ROWS, seed=3, sampler=draw, cond=cond)
    few = model.sample(_FEW, seed=3, sampler=draw, cond=None if cond is None else cond[:_FEW])
    close = torch.allclose(few.double(), whole[:_FEW].double(), rtol=_CLOSE, atol=_CLOSE)
    assert close, f"{what}: rows of {_FEW} and of {_ROWS} differ"
    assert not bool((whole == whole[:1]).all()), f"{what}: all events are the same"
    other = model.sample(_ROWS, seed=4, sampler=draw, cond=cond)
    assert not torch.equal(whole, other), f"{what}: seeds 3 and 4 give the same events"


def _check_likelihood(entry: Entry[Any], score: Any, model: GenerativeModel) -> None:
    what = f"likelihood {entry.spec.name!r} on {model.event}"
    n = _ROWS if isinstance(model, Miniature) else _FEW
    cond = _conditions(model, n)
    x = model.sample(n, seed=5, cond=cond)
    with forbid_torch_randomness():
        found = model.log_likelihood(x, method=score, cond=cond)
    assert tuple(found.nats.shape) == (n,), f"{what}: nats have shape {tuple(found.nats.shape)}"
    finite = bool(found.nats.isfinite().all() and (found.std_err >= 0).all())
    assert finite, f"{what}: nats are {found.nats.tolist()} +- {found.std_err.tolist()}"
    have, want = found.kind, entry.spec.kind
    assert (have.name, have.relation) == (want.name, want.relation), f"{what} gives {have}"
    if isinstance(model, Miniature) and _determined(entry, model):
        _check_side(what, found, model.exact(x).double().detach())


def _determined(entry: Entry[Any], model: GenerativeModel) -> bool:
    """Whether what it requires determines log p.

    An estimate from a denoiser or a score alone may be of something else, and say so by its name.
    """
    estimate = entry.spec.kind.relation == "estimate"
    more = set() if model.event.discrete or estimate else {"Score", "Denoiser"}
    return set(entry.spec.requires) <= _OF_LOG_P | more


def _check_side(what: str, found: LogLikelihood, exact: Tensor) -> None:
    """A mean of differences to log p that its relation allows.

    Where errors are infinite, which is to say unknown, the spread of the differences serves.
    """
    gap = found.nats - exact
    known = bool(found.std_err.isfinite().all())
    of_sum = found.std_err.square().sum().sqrt() if known else gap.std() * len(gap) ** 0.5
    mean, error = float(gap.mean()), float(of_sum) / len(gap)
    slack = _SIGMAS * error + 1e-3
    wrong = {
        "equal": abs(mean) > slack,
        "lower": mean > slack,
        "upper": mean < -slack,
        "estimate": abs(mean) > slack + _ESTIMATE,
    }[found.kind.relation]
    assert not wrong, (
        f"{what} says log p {found.kind.sign} a number that is {mean:+.3g} +- {error:.2g} nats "
        "from log p on average"
    )


def _check_loss(entry: Entry[Any], loss: Any, model: GenerativeModel) -> None:
    what = f"loss {entry.spec.name!r} on {model.event}"
    cond = _conditions(model, _ROWS)
    batch = (model.sample(_ROWS, seed=6, cond=cond), cond)
    for player in model.train().make_players(loss).values():
        found = player.loss(batch, Rng(0, _ROWS), 0)
        assert isinstance(found, Loss), f"{what} gives {type(found).__name__}, not Loss"
        finite = found.total.ndim == 0 and bool(found.total.isfinite())
        assert finite, f"{what} is {found.total}, no finite scalar"
        assert found.total.requires_grad, f"{what} has no gradient"
        grads = torch.autograd.grad(found.total, list(player.parameters), allow_unused=True)
        known = [g for g in grads if g is not None]
        assert all(bool(g.isfinite().all()) for g in known), f"{what}: gradients are not finite"
        assert any(bool(g.any()) for g in known), f"{what}: every gradient is zero"
        carried = [name for name, term in found.terms.items() if term.requires_grad]
        assert not carried, f"{what}: detach the terms {', '.join(carried)}"


def _conditions(model: GenerativeModel, n: int) -> Tensor | None:
    condition = model.condition
    if condition.kind == "none":
        return None
    if condition.classes is not None:
        return torch.zeros(n, *condition.shape, dtype=torch.int64)
    return torch.zeros(n, *condition.shape)


COMPONENT_CHECKS = [
    check_samplers_draw_events,
    check_likelihoods_score_events,
    check_losses_can_be_minimized,
]
