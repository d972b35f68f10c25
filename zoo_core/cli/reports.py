"""Files of reports: `--out` of the verbs that measure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_core.errors import OutputError

if TYPE_CHECKING:
    from zoo_core.evaluation.page import Page

__all__ = ["check_reports", "is_page", "write_reports"]

_SUFFIXES = (".html", ".md", ".json")


def is_page(path: Path) -> bool:
    """Whether a report in this file is for readers rather than programs."""
    return _suffix(path) in (".html", ".md")


def check_reports(paths: Sequence[Path]) -> None:
    """Raise for a file that is no report, or that this installation cannot write."""
    for path in paths:
        if _suffix(path) not in _SUFFIXES:
            raise OutputError(
                f"{path} has suffix {path.suffix!r}; it must be {', '.join(_SUFFIXES)}."
            )
    if ".html" in map(_suffix, paths):
        from zoo_core.evaluation.page import check_extra

        check_extra()


def write_reports(paths: Sequence[Path], page: "Page", record: Mapping[str, Any]) -> None:
    """Write a report as a page, Markdown or JSON, by the files' suffixes."""
    from zoo_core.evaluation.page import html, markdown
    from zoo_core.files import write_atomically, write_json

    for path in paths:
        if _suffix(path) == ".json":
            write_json(path, dict(record))
        else:
            text = html(page) if _suffix(path) == ".html" else markdown(page)
            write_atomically(path, text.encode())


def _suffix(path: Path) -> str:
    return path.suffix.lower()
