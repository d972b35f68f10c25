"""Names and options to the objects that do the work: samplers, losses, likelihoods.

An object passed in place of a name is used as it is and needs no registry.
"""

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any

from zoo_core import config as configs
from zoo_core.catalog.capabilities import has
from zoo_core.catalog.plugins import CORE
from zoo_core.catalog.registry import Entry, current
from zoo_core.catalog.specs import import_target
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

__all__ = ["fitting", "likelihood", "loss", "sampler"]


def sampler(
    model: "GenerativeModel", wanted: "str | Sampler | None", options: Mapping[str, Any]
) -> "Sampler":
    """The sampler called `wanted`, or the architecture's default."""
    wanted = wanted if wanted is not None else _default("sampler", model, otherwise="direct")
    return _component("sampler", model, wanted, options)  # type: ignore[no-any-return]


def loss(model: "GenerativeModel", wanted: Any, options: Mapping[str, Any]) -> Any:
    """The loss called `wanted`, or the architecture's default."""
    wanted = wanted if wanted is not None else _default("loss", model, otherwise="nll")
    if wanted is None:
        names = sorted({e.spec.name for e in fitting("loss", model)})
        raise NoCapabilityError(
            f"{type(model).__name__} names no loss to be trained by.",
            hint=f"name one; losses that fit: {', '.join(names) or 'none'}",
        )
    return _component("loss", model, wanted, options)


def likelihood(
    model: "GenerativeModel", wanted: "str | Likelihood | None", options: Mapping[str, Any]
) -> "Likelihood":
    """The likelihood called `wanted`, or the architecture's default."""
    wanted = wanted if wanted is not None else _default("likelihood", model, otherwise=None)
    if wanted is None:
        raise _no_likelihood(model)
    return _component("likelihood", model, wanted, options)  # type: ignore[no-any-return]


def fitting(kind: str, model: "GenerativeModel") -> list[Entry[Any]]:
    """The registered components of a kind whose required capabilities the model has."""
    return [e for e in current().all(kind) if _serves(model, e) and _fits_if_whole(model, e)]


def _fits_if_whole(model: "GenerativeModel", entry: Entry[Any]) -> bool:
    """Whether it fits; one that requires what cannot be imported costs its plugin a line."""
    try:
        return _fits(model, entry)
    except PluginError as error:
        current().plugins.problem(entry.plugin, f"{entry.spec.name!r} requires {error}")
        return False


def _fits(model: "GenerativeModel", entry: Entry[Any]) -> bool:
    return all(has(model, c) for c in entry.spec.requires)


def _serves(model: "GenerativeModel", entry: Entry[Any]) -> bool:
    """Whether a likelihood is for the model's events; everything else is for all."""
    serves = getattr(entry.spec, "serves", None)
    return serves is None or serves(discrete=model.event.discrete)


def _default(kind: str, model: "GenerativeModel", *, otherwise: str | None) -> str | None:
    """The default that the model's spec names, by the name that means it beyond doubt.

    A plain name in a spec means its own plugin's component, or else the core's: what a third
    plugin declares under the same name changes nothing. An unregistered class has `otherwise`.
    """
    try:
        entry = current().entry_of(type(model))
    except UnknownNameError:
        return otherwise
    name: str | None = getattr(entry.spec, f"default_{kind}")
    if kind == "likelihood":
        name = current().default_likelihood(entry.spec, discrete=model.event.discrete)
    for dist in (entry.plugin.dist, CORE) if name is not None else ():
        owned = [e for e in current().all(kind) if e.spec.name == name and e.plugin.dist == dist]
        if any(_fits(model, e) for e in owned):
            return owned[0].qualified
    return name


def _component(
    kind: str, model: "GenerativeModel", wanted: Any, options: Mapping[str, Any]
) -> Any:
    if not isinstance(wanted, str):
        return _object(kind, wanted, options)
    entries = current().find(kind, wanted)
    fit = [e for e in entries if _fits(model, e)]
    if not fit:
        raise _misfit(kind, model, entries)
    if len(fit) > 1:
        raise UnknownNameError(
            f"{kind} {wanted!r} is declared more than once.",
            hint=f"write {' or '.join(_spellings(fit))}",
        )
    spec = fit[0].spec
    return configs.from_dict(import_target(spec.target), options, where=f"{spec.name}.")


def _spellings(entries: list[Entry[Any]]) -> list[str]:
    """Qualified names; where one plugin gives a name two meanings, the objects themselves."""
    names = [e.qualified for e in entries]
    classes = [f"{e.spec.target.partition(':')[2]}(...)" for e in entries]
    return names if len(set(names)) == len(names) else classes


def _object(kind: str, wanted: Any, options: Mapping[str, Any]) -> Any:
    if isinstance(wanted, type) or not (callable(wanted) or is_dataclass(wanted)):
        raise UsageError(
            f"{wanted!r} is no {kind}.", hint=f"give a name or an object such as {kind.title()}()"
        )
    if options:
        raise UsageError(
            f"options {', '.join(options)} go with a {kind}'s name.",
            hint=f"set them on the object: {type(wanted).__name__}({', '.join(options)}=...)",
        )
    return wanted


def _misfit(kind: str, model: "GenerativeModel", entries: list[Entry[Any]]) -> Exception:
    needs = " or ".join("+".join(e.spec.requires) for e in entries)
    names = ", ".join(sorted({e.spec.name for e in fitting(kind, model)})) or "none"
    return NoCapabilityError(
        f"{kind} {entries[0].spec.name!r} needs {needs}, which {type(model).__name__} has not; "
        f"{'losses' if kind == 'loss' else f'{kind}s'} that fit: {names}."
    )


def _no_likelihood(model: "GenerativeModel") -> NoLikelihoodError:
    names = sorted({e.spec.name for e in fitting("likelihood", model)})
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
