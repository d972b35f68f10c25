"""The report of `zoo choose`: what serves, then the comparison that says so."""

from zoo_core.evaluation.page import Page, Section
from zoo_core.evaluation.report import report as of_comparison
from zoo_core.workflows.choose import Choice

__all__ = ["report"]


def report(choice: Choice) -> Page:
    """The sections of the choice above the report of the comparison."""
    first = [Section(title, terms=entries) for title, entries in choice.sections().items()]
    return of_comparison(choice.comparison, first=first)
