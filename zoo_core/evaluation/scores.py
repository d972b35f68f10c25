"""Metrics of plugins: which scores and features are measured, and what one that fails costs.

Without a choice, all registered ones are measured but those that are optional. A plugin's metric
that raises then costs one line on stderr and its own numbers; one that was asked for by name is
an error, and so is everything of the core's.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from zoo_core.catalog.plugins import BUILTIN, LoadRecord
from zoo_core.catalog.registry import Entry, current
from zoo_core.catalog.specs import import_target
from zoo_core.errors import PluginError, UsageError
from zoo_core.evaluation.feature_set import Cloud, Estimate

__all__ = ["attempt", "measure", "scores", "too_large"]

T = TypeVar("T")


def scores(wanted: Sequence[str] | None) -> dict[str, Any]:
    """Scores by name, each an instance of its class; by default all that are not optional."""
    if wanted is not None:
        entries = {name: current().one("metric", name) for name in wanted}
    else:
        entries = {_name(e): e for e in current().all("metric") if e.spec.kind == "score"}
        entries = {name: e for name, e in entries.items() if not e.spec.optional}
    made = {name: attempt(name, partial(_made, e), wanted) for name, e in entries.items()}
    return {name: score for name, score in made.items() if score is not None}


def attempt(name: str, compute: Callable[[], T], wanted: Sequence[str] | None) -> T | None:
    """What `compute` gives; None if it is a plugin's metric, not one of those wanted, and fails.

    `ZOO_STRICT_PLUGINS=1` raises instead.
    """
    plugin = _plugin(name)
    if plugin is None or plugin.name == BUILTIN:
        return compute()
    try:
        return compute()
    except Exception as error:
        text = f"metric {name!r} cannot be measured ({type(error).__name__}: {error})"
        if name in (wanted or ()):
            raise PluginError(f"plugin {plugin.name!r}: {text}.") from error
        current().plugins.problem(plugin, text)
        return None


def measure(score: Any, generated: Cloud, reference: Cloud) -> Estimate:
    """A score's value; raises `TypeError` if it gives no estimate."""
    found = score(generated, reference)
    if not isinstance(found, Estimate):
        raise TypeError(f"a score returns an Estimate, not {type(found).__name__}")
    return found


def too_large(score: Any, cloud: Cloud) -> str | None:
    """Why a score is not for features as many as these, or None."""
    most, features = getattr(score, "most_features", None), cloud.points.shape[1]
    if most is None or features <= most:
        return None
    return f"{features:,} features are more than the {most:,} it is for unless asked for by name"


def _plugin(name: str) -> LoadRecord | None:
    """Whose metric it is; an extractor that was given as an object may be nobody's."""
    entries = current().all("metric")
    return next((e.plugin for e in entries if name in (e.spec.name, e.qualified)), None)


def _name(entry: Entry[Any]) -> str:
    """The name, with the distribution where several declare it."""
    rivals = current().find("metric", entry.spec.name)
    return str(entry.spec.name) if len(rivals) == 1 else entry.qualified


def _made(entry: Entry[Any]) -> Any:
    if entry.spec.kind != "score":
        raise UsageError(f"metric {entry.spec.name!r} is a feature extractor, no score.")
    score = import_target(entry.spec.target)()
    if not isinstance(getattr(score, "better", None), str):
        raise TypeError('a score states `better`, "lower" or "higher"')
    return score
