"""The conformance kit under pytest: one line in a plugin's tests."""

from collections.abc import Callable, Mapping
from typing import Any

from zoo_core.catalog.registry import Registry
from zoo_core.errors import UsageError, did_you_mean
from zoo_core.testing.checks import CHECKS, Case, cases
from zoo_core.testing.subjects import Inapplicable, Inconclusive

__all__ = ["conformance"]


def conformance(
    plugin: str,
    *,
    expected_failures: Mapping[str, str] | None = None,
    registry: Registry | None = None,
) -> Callable[..., Any]:
    """A parametrized pytest test: every check of an installed plugin and of each of its models.

    `expected_failures` maps a check, or `"<arch>-<check>"` for one model, to the reason of its
    failure; an expected failure that passes is reported as a failure.

        test_conformance = conformance("rings")
    """
    import pytest

    expected = dict(expected_failures or {})
    all_cases = list(cases(plugin, registry))
    _refuse_unknown(expected, all_cases)

    def mark(case: Case) -> Any:
        reason = expected.get(str(case), expected.get(case.name))
        marks = [] if reason is None else [pytest.mark.xfail(reason=reason, strict=True)]
        return pytest.param(case, id=str(case), marks=marks)

    @pytest.mark.parametrize("case", [mark(case) for case in all_cases])
    def test_conformance(case: Case) -> None:
        try:
            case.run()
        except Inconclusive as why:
            pytest.skip(f"inconclusive: {why}")
        except Inapplicable as why:
            pytest.skip(str(why))

    return test_conformance


def _refuse_unknown(expected: Mapping[str, str], all_cases: list[Case]) -> None:
    known = {c.__name__ for c in CHECKS} | {str(case) for case in all_cases}
    for name in expected:
        if name not in known:
            raise UsageError(f"no check is called {name!r}. {did_you_mean(name, known)}".rstrip())
