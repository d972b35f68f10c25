"""Which metrics are measured, and what happens if a plugin's metric fails.

By default all registered metrics are measured that are not optional. If a plugin's metric raises,
one line on stderr says so, and its numbers are missing; if it was asked for by name, or is one of
the core's, it is an error.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from zoo_core.catalog.plugins import BUILTIN, LoadRecord
from zoo_core.catalog.registry import Entry, current
from zoo_core.catalog.specs import MetricSpec, import_target
from zoo_core.compat import warn_renamed
from zoo_core.errors import PluginError, UsageError
from zoo_core.evaluation.feature_set import Estimate, FeatureSet

__all__ = ["attempt", "measure", "scores", "too_large"]

T = TypeVar("T")


def scores(requested: Sequence[str] | None) -> dict[str, Any]:
    """Instances of the scores by name; by default of all scores that are not optional."""
    if requested is not None:
        entries = {name: current().metrics.one(name) for name in requested}
    else:
        entries = {_name(e): e for e in current().metrics if e.spec.kind == "score"}
        entries = {name: e for name, e in entries.items() if not e.spec.optional}
    made = {name: attempt(name, partial(_make, e), requested) for name, e in entries.items()}
    return {name: score for name, score in made.items() if score is not None}


def attempt(name: str, compute: Callable[[], T], requested: Sequence[str] | None) -> T | None:
    """The result of `compute`; None if a plugin's metric fails that was not requested by name.

    `ZOO_STRICT_PLUGINS=1` raises instead.
    """
    plugin = _plugin(name)
    if plugin is None or plugin.name == BUILTIN:
        return compute()
    try:
        return compute()
    except Exception as error:
        text = f"metric {name!r} cannot be measured ({type(error).__name__}: {error})"
        if name in (requested or ()):
            raise PluginError(f"plugin {plugin.name!r}: {text}.") from error
        current().plugins.problem(plugin, text)
        return None


def measure(score: Any, generated: FeatureSet, reference: FeatureSet) -> Estimate:
    """The value of a score; raises `TypeError` if it is no `Estimate`."""
    value = score(generated, reference)
    if not isinstance(value, Estimate):
        raise TypeError(f"a score returns an Estimate, not {type(value).__name__}")
    return value


def too_large(score: Any, features: FeatureSet) -> str | None:
    """Why a score is not measured by default on so many features, or None."""
    limit, count = max_features(score), features.points.shape[1]
    if limit is None or count <= limit:
        return None
    return f"{count:,} features are more than the {limit:,} it is for unless asked for by name"


def max_features(score: Any) -> int | None:
    """The number of features above which a score is not measured by default, if it states one."""
    if hasattr(score, "most_features"):
        warn_renamed(f"{type(score).__name__}.most_features", "max_features")
        return int(score.most_features)
    limit: int | None = getattr(score, "max_features", None)
    return limit


def _plugin(name: str) -> LoadRecord | None:
    """The plugin that declares a metric; None for an extractor object without a spec."""
    entries = current().metrics
    return next((e.plugin for e in entries if name in (e.spec.name, e.qualified)), None)


def _name(entry: Entry[MetricSpec]) -> str:
    """The name, qualified by the distribution if several plugins declare it."""
    same_name = current().metrics.find(entry.spec.name)
    return entry.spec.name if len(same_name) == 1 else entry.qualified


def _make(entry: Entry[MetricSpec]) -> Any:
    if entry.spec.kind != "score":
        raise UsageError(f"metric {entry.spec.name!r} is a feature extractor, no score.")
    score = import_target(entry.spec.target)()
    if not isinstance(getattr(score, "better", None), str):
        raise TypeError('a score states `better`, "lower" or "higher"')
    return score
