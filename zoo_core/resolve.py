"""Names and options to the objects that do the work: models, samplers, losses, likelihoods.

An object passed in place of a name is used as it is and needs no registry.
"""

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any

from zoo_core import config as configs
from zoo_core.capabilities import has
from zoo_core.errors import NoCapabilityError, NoLikelihoodError, UnknownNameError, UsageError
from zoo_core.names import is_path
from zoo_core.registry import Entry, current
from zoo_core.specs import ModelSpec, import_target

if TYPE_CHECKING:
    from zoo_core.likelihood import Likelihood
    from zoo_core.model import GenerativeModel
    from zoo_core.sampling import Sampler

__all__ = ["build", "fitting", "likelihood", "loss", "sampler"]


def build(spec: ModelSpec, options: Mapping[str, Any]) -> "GenerativeModel":
    """A model with fresh parameters; raises `ConfigError` for options that do not fit.

    A part (`ModelSpec.parts`) may be given as an option of its name: a model, or a model's name.
    """
    defaults = dict(spec.parts)
    parts = {name: _part(options.get(name, defaults[name])) for name in defaults}
    values = {k: v for k, v in options.items() if k not in defaults}
    config = configs.from_dict(import_target(spec.config), values, where=f"{spec.arch}.")
    model: GenerativeModel = import_target(spec.target)(config, **parts)
    return model


def _part(wanted: "str | GenerativeModel") -> "GenerativeModel":
    from zoo_core.loading import create, load

    if not isinstance(wanted, str):
        return wanted
    info = None if is_path(wanted) else current().model(wanted)
    return create(wanted) if info is not None and info.tag is None else load(wanted)


def sampler(
    model: "GenerativeModel", wanted: "str | Sampler | None", options: Mapping[str, Any]
) -> "Sampler":
    """The sampler called `wanted`, or the architecture's default."""
    if wanted is None:
        wanted = _default(model, "default_sampler") or "direct"
    return _component("sampler", model, wanted, options)  # type: ignore[no-any-return]


def loss(model: "GenerativeModel", wanted: Any, options: Mapping[str, Any]) -> Any:
    """The loss called `wanted`, or the architecture's default."""
    wanted = wanted if wanted is not None else _default(model, "default_loss") or "nll"
    return _component("loss", model, wanted, options)


def likelihood(
    model: "GenerativeModel", wanted: "str | Likelihood | None", options: Mapping[str, Any]
) -> "Likelihood":
    """The likelihood called `wanted`, or the architecture's default."""
    if wanted is None:
        wanted = _default(model, "default_likelihood")
    if wanted is None:
        raise _no_likelihood(model)
    return _component("likelihood", model, wanted, options)  # type: ignore[no-any-return]


def fitting(kind: str, model: "GenerativeModel") -> list[Entry[Any]]:
    """The registered components of a kind whose required capabilities the model has."""
    return [e for e in current().all(kind) if all(has(model, c) for c in e.spec.requires)]


def _default(model: "GenerativeModel", field: str) -> Any:
    """The default that the model's spec names; an unregistered class has none."""
    try:
        return getattr(model.spec, field)
    except UnknownNameError:
        return None


def _component(
    kind: str, model: "GenerativeModel", wanted: Any, options: Mapping[str, Any]
) -> Any:
    if not isinstance(wanted, str):
        return _object(kind, wanted, options)
    entries = current().find(kind, wanted)
    fit = [e for e in entries if all(has(model, c) for c in e.spec.requires)]
    if not fit:
        raise _misfit(kind, model, entries)
    if len(fit) > 1:
        raise UnknownNameError(
            f"{kind} {wanted!r} is declared more than once.",
            hint=f"write {' or '.join(e.qualified for e in fit)}",
        )
    return configs.from_dict(import_target(fit[0].spec.target), options, where=f"{wanted}.")


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
        f"{kind}s that fit: {names}."
    )


def _no_likelihood(model: "GenerativeModel") -> NoLikelihoodError:
    names = sorted({e.spec.name for e in fitting("likelihood", model)})
    instead = (
        f"what can be asked for by name: method={' or '.join(map(repr, names))}"
        if names
        else "measure its samples instead"
    )
    return NoLikelihoodError(f"{type(model).__name__} has no p(x) to evaluate.", hint=instead)
