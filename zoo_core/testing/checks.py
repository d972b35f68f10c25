"""The conformance checks as plain functions, which need no pytest.

A check takes a subject (a plugin or one of its models). It raises AssertionError with a message on
failure, `Inapplicable` if it does not apply, and `Inconclusive` if it could not tell.
"""

import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from zoo_core.catalog.registry import Registry, current, use
from zoo_core.testing.call_checks import CALL_CHECKS
from zoo_core.testing.component_checks import COMPONENT_CHECKS
from zoo_core.testing.condition_checks import CONDITION_CHECKS
from zoo_core.testing.density_checks import DENSITY_CHECKS
from zoo_core.testing.likelihood_checks import LIKELIHOOD_CHECKS
from zoo_core.testing.model_checks import MODEL_CHECKS
from zoo_core.testing.network_checks import NETWORK_CHECKS
from zoo_core.testing.plugin_checks import PLUGIN_CHECKS
from zoo_core.testing.state_checks import STATE_CHECKS
from zoo_core.testing.subjects import (
    Inapplicable,
    Inconclusive,
    ModelSubject,
    PluginSubject,
    subjects,
)

__all__ = ["CHECKS", "Case", "Result", "cases", "run_checks"]

_OF_PLUGINS: list[Callable[..., None]] = [
    *PLUGIN_CHECKS,
    *COMPONENT_CHECKS,
    *NETWORK_CHECKS,
    *CALL_CHECKS,
]
_OF_MODELS: list[Callable[..., None]] = [
    *MODEL_CHECKS,
    *CONDITION_CHECKS,
    *STATE_CHECKS,
    *LIKELIHOOD_CHECKS,
    *DENSITY_CHECKS,
]
CHECKS: list[Callable[..., None]] = [*_OF_PLUGINS, *_OF_MODELS]
"""Every check, by `__name__`."""


Status = Literal["ok", "failed", "inapplicable", "inconclusive"]


@dataclass(frozen=True)
class Case:
    """One check of one subject."""

    check: Callable[[Any], None]
    subject: PluginSubject | ModelSubject

    @property
    def name(self) -> str:
        return self.check.__name__

    def __str__(self) -> str:
        return f"{self.subject.name}-{self.name}"

    def run(self) -> None:
        """Raises AssertionError, whatever the plugin raises, `Inapplicable` or `Inconclusive`."""
        with use(self.subject.registry):
            self.check(self.subject)


@dataclass(frozen=True)
class Result:
    """The outcome of a case; `message` is the failure, or why it does not apply or cannot tell."""

    check: str
    subject: str
    status: Status
    message: str = ""
    traceback: str = ""
    seconds: float = 0.0


def cases(plugin: str, registry: Registry | None = None) -> Iterator[Case]:
    """Every check of a plugin, and the checks that apply to each of its models."""
    for subject in subjects(plugin, registry or current()):
        own = _OF_PLUGINS if isinstance(subject, PluginSubject) else _OF_MODELS
        yield from (Case(check, subject) for check in own if _applies(check, subject))


def _applies(check: Callable[..., None], subject: PluginSubject | ModelSubject) -> bool:
    """Whether a check marked by `only_if` applies to this model."""
    applies: Callable[[Any], bool] | None = getattr(check, "applies", None)
    return applies is None or applies(subject)


def run_checks(
    plugin: str, registry: Registry | None = None, *, models: bool = True
) -> list[Result]:
    """Run every check of a plugin, as `zoo plugins check` does, and return the results.

    Without `models` only the checks of the plugin itself run.
    """
    chosen = [c for c in cases(plugin, registry) if models or isinstance(c.subject, PluginSubject)]
    return [_result(case) for case in chosen]


def _result(case: Case) -> Result:
    start = time.perf_counter()
    status: Status = "ok"
    message = trace = ""
    try:
        case.run()
    except Inconclusive as why:
        status, message = "inconclusive", str(why)
    except Inapplicable as why:
        status, message = "inapplicable", str(why)
    except AssertionError as error:
        status, message = "failed", str(error)
    except Exception as error:
        status, message = "failed", f"{type(error).__name__}: {error}"
        trace = traceback.format_exc()
    seconds = time.perf_counter() - start
    return Result(case.name, case.subject.name, status, message, trace, seconds)
