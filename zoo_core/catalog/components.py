"""Samplers, losses and likelihoods from names and options.

An object passed in place of a name is used as it is. If a spec names its class, the model must
have the capabilities that the spec requires, as for the name; other classes need no registry.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from zoo_core import config as configs
from zoo_core.catalog.capabilities import has, has_methods
from zoo_core.catalog.entries import Components, Entry
from zoo_core.catalog.plugins import CORE
from zoo_core.catalog.registry import current
from zoo_core.catalog.specs import (
    LikelihoodSpec,
    LossSpec,
    ModelSpec,
    SamplerSpec,
    import_target,
)
from zoo_core.errors import (
    NoCapabilityError,
    NoLikelihoodError,
    PluginError,
    UnknownNameError,
    UsageError,
)

if TYPE_CHECKING:
    from zoo_core.contracts import Likelihood, Sampler
    from zoo_core.model import GenerativeModel

__all__ = [
    "architecture_sampler",
    "fitting",
    "likelihood",
    "loss",
    "sampler",
    "sampler_name",
]

S = TypeVar("S", SamplerSpec, LossSpec, LikelihoodSpec)


def sampler(
    model: "GenerativeModel",
    requested: "str | Sampler | None",
    options: Mapping[str, Any],
    n: int | None = None,
) -> "Sampler":
    """The sampler that is requested by name or as an object.

    By default it is what was measured to serve the model's weights, whose options the others
    override, or else the architecture's for n events, or for many.
    """
    measured = model.measured_sampler
    samplers = current().samplers
    if requested is None and measured is not None:
        requested = _default(samplers, model, lambda _: measured.name, unregistered=measured.name)
        options = {**measured.options, **options}
    elif requested is None:
        return architecture_sampler(model, options, n)
    made: Sampler = _component(samplers, model, requested, options)
    return made


def architecture_sampler(
    model: "GenerativeModel", options: Mapping[str, Any], n: int | None = None
) -> "Sampler":
    """The architecture's sampler of n events, or of many, whatever was measured of the weights."""
    samplers = current().samplers
    name = _default(samplers, model, lambda s: s.sampler_of(n), unregistered="direct")
    made: Sampler = _component(samplers, model, name, options)
    return made


def sampler_name(model: "GenerativeModel", n: int | None = None) -> str:
    """The name of the default sampler of n events, or of many."""
    measured = model.measured_sampler
    return model.spec.sampler_of(n) if measured is None else measured.name


def loss(model: "GenerativeModel", requested: Any, options: Mapping[str, Any]) -> Any:
    """The loss that is requested by name or as an object; by default the architecture's."""
    losses = current().losses
    if requested is None:
        requested = _default(losses, model, lambda s: s.default_loss, unregistered="nll")
    if requested is None:
        raise NoCapabilityError(
            f"{type(model).__name__} names no loss to be trained by.",
            hint=f"name one; losses that fit: {_names(fitting(losses, model))}",
        )
    return _component(losses, model, requested, options)


def likelihood(
    model: "GenerativeModel", requested: "str | Likelihood | None", options: Mapping[str, Any]
) -> "Likelihood":
    """The likelihood that is requested by name or as an object; by default the architecture's."""
    likelihoods = current().likelihoods
    if requested is None:
        requested = _default(
            likelihoods,
            model,
            lambda s: current().default_likelihood(s, discrete=model.event.discrete),
            unregistered=_exact(model) if has(model, "Density") else None,
        )
    if requested is None:
        raise _no_likelihood(model)
    made: Likelihood = _component(likelihoods, model, requested, options)
    return made


def _exact(model: "GenerativeModel") -> str:
    """The likelihood of a class without a spec that has a density."""
    return "exact" if model.event.discrete else "exact_density"


def fitting(components: Components[S], model: "GenerativeModel") -> list[Entry[S]]:
    """The components whose required capabilities the model has, for events such as its own."""
    return [
        e for e in components if _scores_events_of(model, e.spec) and _fits_or_report(model, e)
    ]


def _fits_or_report(model: "GenerativeModel", entry: Entry[S]) -> bool:
    """Whether a component fits; if what it requires cannot be imported, its plugin is reported."""
    try:
        return _fits(model, entry.spec)
    except PluginError as error:
        current().plugins.problem(entry.plugin, f"{entry.spec.name!r} requires {error}")
        return False


def _fits(model: "GenerativeModel", spec: SamplerSpec | LossSpec | LikelihoodSpec) -> bool:
    return all(has(model, capability) for capability in spec.requires)


def _scores_events_of(
    model: "GenerativeModel", spec: SamplerSpec | LossSpec | LikelihoodSpec
) -> bool:
    """Whether a likelihood is for the model's events; samplers and losses are for all."""
    return not isinstance(spec, LikelihoodSpec) or spec.serves(discrete=model.event.discrete)


def _default(
    components: Components[S],
    model: "GenerativeModel",
    default_of: Callable[[ModelSpec], str | None],
    *,
    unregistered: str | None,
) -> str | None:
    """The default that the model's spec names, qualified by the plugin that declares it.

    A plain name in a spec means its own plugin's component, or else the core's: what a third
    plugin declares under the same name changes nothing. A class without a spec gets
    `unregistered`, which is the core's.
    """
    owners: tuple[str, ...]
    try:
        entry = current().entry_of(type(model))
        name, owners = default_of(entry.spec), (entry.plugin.dist, CORE)
    except UnknownNameError:
        name, owners = unregistered, (CORE,)
    for dist in owners if name is not None else ():
        owned = [e for e in components if e.spec.name == name and e.plugin.dist == dist]
        if any(_fits(model, e.spec) for e in owned):
            return owned[0].qualified
    return name


def _component(
    components: Components[S],
    model: "GenerativeModel",
    requested: Any,
    options: Mapping[str, Any],
) -> Any:
    if not isinstance(requested, str):
        return _object(components, model, requested, options)
    entries = components.find(requested)
    fit = [e for e in entries if _fits(model, e.spec)]
    if not fit:
        raise _misfit(components, model, entries)
    if len(fit) > 1:
        raise UnknownNameError(
            f"{components.kind} {requested!r} is declared more than once.",
            hint=f"write {' or '.join(_spellings(fit))}",
        )
    spec = fit[0].spec
    return configs.from_dict(import_target(spec.target), options, where=f"{spec.name}.")


def _spellings(entries: Sequence[Entry[S]]) -> list[str]:
    """Qualified names; where one plugin gives a name two meanings, the objects themselves."""
    names = [e.qualified for e in entries]
    classes = [f"{e.spec.target.partition(':')[2]}(...)" for e in entries]
    return names if len(set(names)) == len(names) else classes


def _names(entries: Sequence[Entry[S]]) -> str:
    return ", ".join(sorted({e.spec.name for e in entries})) or "none"


def _object(
    components: Components[S],
    model: "GenerativeModel",
    component: Any,
    options: Mapping[str, Any],
) -> Any:
    kind = components.kind
    if isinstance(component, type) or not (callable(component) or is_dataclass(component)):
        raise UsageError(
            f"{component!r} is no {kind}.",
            hint=f"give a name or an object such as {kind.title()}()",
        )
    if options:
        raise UsageError(
            f"options {', '.join(options)} go with a {kind}'s name.",
            hint=f"set them on the object: {type(component).__name__}({', '.join(options)}=...)",
        )
    entries = [e for e in components if _names_class(e.spec.target, type(component))]
    if entries and not any(_fits(model, e.spec) for e in entries):
        raise _misfit(components, model, entries)
    return component


def _names_class(target: str, cls: type) -> bool:
    """Whether a target `"package.module:attr"` is a class; its module may pass the class on."""
    module, _, name = target.partition(":")
    if name != cls.__qualname__ or module == cls.__module__:
        return name == cls.__qualname__
    try:
        return import_target(target) is cls
    except PluginError:
        return False  # what cannot be imported is not the class of an object at hand


def _misfit(
    components: Components[S], model: "GenerativeModel", entries: Sequence[Entry[S]]
) -> Exception:
    kind, name = components.kind, type(model).__name__
    needs = " or ".join("+".join(e.spec.requires) for e in entries)
    return NoCapabilityError(
        f"{kind} {entries[0].spec.name!r} needs {needs}, which {name} has not; "
        f"{'losses' if kind == 'loss' else f'{kind}s'} that fit: "
        f"{_names(fitting(components, model))}.",
        hint=_undeclared(model, entries),
    )


def _undeclared(model: "GenerativeModel", entries: Sequence[Entry[S]]) -> str | None:
    """What to declare, if the model has the methods of all that one of the components requires."""
    for requires in (e.spec.requires for e in entries):
        if all(has_methods(model, capability) for capability in requires):
            missing = ", ".join(repr(c) for c in requires if not has(model, c))
            return f"{type(model).__name__} has the methods: declare {missing} in its ModelSpec"
    return None


def _no_likelihood(model: "GenerativeModel") -> NoLikelihoodError:
    names = sorted({e.spec.name for e in fitting(current().likelihoods, model)})
    message = f"{type(model).__name__} has no p(x) to evaluate."
    if not names:
        return NoLikelihoodError(
            message,
            hint="measure its samples instead",
            command="zoo evaluate measures its samples",
        )
    return NoLikelihoodError(
        message,
        hint=f"what can be asked for by name: method={' or '.join(map(repr, names))}",
        command=f"what can be asked for by name: --method {' or '.join(names)}",
    )
