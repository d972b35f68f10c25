"""Checks that call a plugin's losses, samplers and likelihoods.

Each is called on a discrete and on a continuous model with exactly the capabilities it requires
(`miniatures`), or on registered models if it requires a capability of a plugin.
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
from zoo_core.contracts import Likelihood, Loss, Sampler
from zoo_core.errors import ConfigError, NoCapabilityError
from zoo_core.likelihood import LogLikelihood
from zoo_core.model import GenerativeModel
from zoo_core.modes import evaluating
from zoo_core.rng import Rng
from zoo_core.testing.guard import forbid_torch_randomness
from zoo_core.testing.miniatures import Miniature, miniature
from zoo_core.testing.subjects import (
    Inconclusive,
    ModelSubject,
    PluginSubject,
    random_conditions,
)

__all__ = ["COMPONENT_CHECKS", "small"]

_ROWS, _FEW = 16, 4
_CLOSE, _SIGMAS = 1e-4, 5.0
_ESTIMATE_BIAS = 0.3
"""Mean error of an estimate of log p, in nats, that is tolerated beyond its standard error."""
_MAX_COUNT = 16
"""Options that count something are lowered to this, if that is legal."""
_FILL = {float: 0.5, int: 2}
"""Values for options without defaults."""
_DETERMINE_LOG_P = {"Density", "Conditionals", "Bijection", "Encoder", "Decoder", "Energy"}
"""Capabilities that determine log p, whatever the events."""


def check_samplers_draw_events(subject: PluginSubject) -> None:
    """Samplers give events of the model; each depends on its own row of rng alone."""
    _each(subject, "sampler", _check_sampler)


def check_likelihoods_score_events(subject: PluginSubject) -> None:
    """One number per event, of the stated kind and relation to log p, from rng alone."""
    _each(subject, "likelihood", _check_likelihood)


def check_losses_can_be_minimized(subject: PluginSubject) -> None:
    """Losses are finite scalars whose gradients are finite and not all zero."""
    _each(subject, "loss", _check_loss)


def small(target: Any, *, lower: bool = True) -> Any:
    """A component with its default options; large counts are lowered.

    Numeric options without defaults are filled in; raises `Inconclusive` if others have none.
    """
    kinds = typing.get_type_hints(target)
    required = [f.name for f in dataclasses.fields(target) if _required(f)]
    unknown = [name for name in required if kinds[name] not in _FILL]
    if unknown:
        raise Inconclusive(f"nothing to give for {', '.join(unknown)}, which has no default")
    filled = {name: _FILL[kinds[name]] for name in required}
    component = target(**filled)
    for f in dataclasses.fields(target):
        value = getattr(component, f.name)
        if lower and type(value) is int and value > _MAX_COUNT:
            fewer = dataclasses.replace(component, **{f.name: _MAX_COUNT})
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
    """Check every component of a kind; raises `Inconclusive` for those that could not be told."""
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
    """Check a component on every available model; it may refuse some with an error, not all."""
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
    """A discrete and a continuous model, as far as the component supports them and they exist."""
    serves = getattr(entry.spec, "serves", None)
    for discrete in (True, False):
        if serves is not None and not serves(discrete=discrete):
            continue
        model = _model(subject, entry, discrete)
        if model is not None:
            yield model


def _model(subject: PluginSubject, entry: Entry[Any], discrete: bool) -> GenerativeModel | None:
    requires = set(entry.spec.requires)
    if requires <= set(CORE) and not _has_players(entry):
        try:
            return miniature(requires, discrete=discrete)
        except NoCapabilityError:
            pass  # no miniature can have it; a registered model may
    return next(
        (
            model
            for model in _registered(subject, only_own=_has_players(entry))
            if model.event.discrete == discrete and all(has(model, name) for name in requires)
        ),
        None,
    )


def _registered(subject: PluginSubject, *, only_own: bool) -> Iterator[GenerativeModel]:
    """Every registered model at its tiny size, the plugin's own first."""
    entries = sorted(subject.registry.models, key=lambda e: e.plugin is not subject.plugin)
    for entry in entries:
        if entry.plugin is subject.plugin or not only_own:
            yield ModelSubject(entry.spec, entry.plugin, subject.registry).model()


def _has_players(entry: Entry[Any]) -> bool:
    """Whether a component is a loss of several players, which fits models of its own plugin."""
    target = import_target(entry.spec.target)
    return not callable(getattr(target, "__call__", None)) or "__call__" not in dir(target)  # noqa: B004


def _check_sampler(entry: Entry[Any], draw: Sampler, model: GenerativeModel) -> None:
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


def _check_likelihood(entry: Entry[Any], score: Likelihood, model: GenerativeModel) -> None:
    what = f"likelihood {entry.spec.name!r} on {model.event}"
    n = _ROWS if isinstance(model, Miniature) else _FEW
    cond = _conditions(model, n)
    x = model.sample(n, seed=5, cond=cond)
    with forbid_torch_randomness():
        ll = model.log_likelihood(x, method=score, cond=cond)
    assert tuple(ll.nats.shape) == (n,), f"{what}: nats have shape {tuple(ll.nats.shape)}"
    finite = bool(ll.nats.isfinite().all() and (ll.std_err >= 0).all())
    assert finite, f"{what}: nats are {ll.nats.tolist()} +- {ll.std_err.tolist()}"
    kind, declared = ll.kind, entry.spec.kind
    same = (kind.name, kind.relation) == (declared.name, declared.relation)
    assert same, f"{what} gives {kind}"
    if kind.comparable and isinstance(model, Miniature) and _determines_log_p(entry, model):
        _check_relation(what, ll, model.exact(x).double().detach())


def _determines_log_p(entry: Entry[Any], model: GenerativeModel) -> bool:
    """Whether the required capabilities determine log p.

    An estimate from a denoiser or a score alone may estimate something else.
    """
    estimate = entry.spec.kind.relation == "estimate"
    more = set() if model.event.discrete or estimate else {"Score", "Denoiser"}
    return set(entry.spec.requires) <= _DETERMINE_LOG_P | more


def _check_relation(what: str, ll: LogLikelihood, exact: Tensor) -> None:
    """Check that the mean difference to log p fits the likelihood's relation.

    If standard errors are unknown (infinite), the spread of the differences is used.
    """
    gap = ll.nats - exact
    known = bool(ll.std_err.isfinite().all())
    of_sum = ll.std_err.square().sum().sqrt() if known else gap.std() * len(gap) ** 0.5
    mean, error = float(gap.mean()), float(of_sum) / len(gap)
    slack = _SIGMAS * error + 1e-3
    wrong = {
        "equal": abs(mean) > slack,
        "lower": mean > slack,
        "upper": mean < -slack,
        "estimate": abs(mean) > slack + _ESTIMATE_BIAS,
    }[ll.kind.relation]
    assert not wrong, (
        f"{what} says log p {ll.kind.sign} a number that is {mean:+.3g} +- {error:.2g} nats "
        "from log p on average"
    )


def _check_loss(entry: Entry[Any], loss: Any, model: GenerativeModel) -> None:
    what = f"loss {entry.spec.name!r} on {model.event}"
    cond = _conditions(model, _ROWS)
    batch = (model.sample(_ROWS, seed=6, cond=cond), cond)
    for player in model.train().make_players(loss).values():
        value = player.loss(batch, Rng(0, _ROWS), 0)
        assert isinstance(value, Loss), f"{what} gives {type(value).__name__}, not Loss"
        finite = value.total.ndim == 0 and bool(value.total.isfinite())
        assert finite, f"{what} is {value.total}, no finite scalar"
        assert value.total.requires_grad, f"{what} has no gradient"
        grads = torch.autograd.grad(value.total, list(player.parameters), allow_unused=True)
        known = [g for g in grads if g is not None]
        assert all(bool(g.isfinite().all()) for g in known), f"{what}: gradients are not finite"
        assert any(bool(g.any()) for g in known), f"{what}: every gradient is zero"
        carried = [name for name, term in value.terms.items() if term.requires_grad]
        assert not carried, f"{what}: detach the terms {', '.join(carried)}"


def _conditions(model: GenerativeModel, n: int) -> Tensor | None:
    found = random_conditions(model.condition, 1, torch.Generator().manual_seed(2))
    return None if found is None else torch.zeros_like(found).expand(n, *model.condition.shape)


COMPONENT_CHECKS = [
    check_samplers_draw_events,
    check_likelihoods_score_events,
    check_losses_can_be_minimized,
]
