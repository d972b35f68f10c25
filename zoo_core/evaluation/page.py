"""A report as titles, tables, pictures and notes, written as Markdown or as one HTML page.

The page has no scripts and no external resources: pictures are data URIs, and its content security
policy forbids everything else. It needs the extra `report`, Jinja2 and matplotlib; Markdown, which
has no pictures, needs nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.util import find_spec

from zoo_core.errors import UsageError

__all__ = ["Page", "Picture", "Section", "Table", "check_extra", "html", "markdown"]

_EXTRA = ("jinja2", "matplotlib")


@dataclass(frozen=True)
class Table:
    """Rows of texts under a header; the first column names the row."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI, with what a reader who cannot see it is told."""

    uri: str
    alt: str
    caption: str = ""
    is_chart: bool = False


@dataclass(frozen=True)
class Section:
    """A part of a page; `pictures` are drawn when they are asked for, by HTML alone."""

    title: str
    table: Table | None = None
    pictures: Callable[[], Sequence[Picture]] = tuple
    notes: Sequence[str] = ()
    terms: Sequence[tuple[str, str]] = ()
    """Names with what they mean; below a table, those of its columns."""


@dataclass(frozen=True)
class Page:
    """A whole report."""

    title: str
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    sections: Sequence[Section] = field(default_factory=list)


def check_extra() -> None:
    """Raise `UsageError` unless HTML can be written; to be asked before hours of measuring."""
    if missing := [name for name in _EXTRA if find_spec(name) is None]:
        raise UsageError(
            f"an HTML report needs packages that are not installed ({', '.join(missing)}).",
            hint="pip install 'density-zoo[report]'; reports in .md and .json need nothing",
        )


def html(page: Page) -> str:
    """A self-contained page."""
    check_extra()
    from jinja2 import Environment

    template = files("zoo_core.evaluation").joinpath("page.html").read_text(encoding="utf-8")
    return Environment(autoescape=True).from_string(template).render(page=page) + "\n"


def markdown(page: Page) -> str:
    """Everything but the pictures, in Markdown."""
    blocks = [f"# {page.title}", *page.notes, *(f"> {text}" for text in page.warnings)]
    for section in page.sections:
        body = [*_table(section.table), *section.notes]
        if section.terms:
            body.append("\n".join(f"- **{name}**: {text}" for name, text in section.terms))
        if body:  # else it has pictures alone
            blocks += [f"## {section.title}", *body]
    return "\n\n".join(blocks) + "\n"


def _table(table: Table | None) -> list[str]:
    if table is None:
        return []
    lines = [table.header, ["---"] * len(table.header), *table.rows]
    return ["\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
