"""Tables and addresses in Markdown."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The lines of a table."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |"


def option_rows(options: Sequence[Mapping[str, Any]] | None) -> Iterator[tuple[str, ...]]:
    """The rows of options as `zoo info --json` has them: name, type, default, range."""
    for o in options or []:
        default = "required" if o["required"] else f"`{o['default']}`"
        yield f"`{o['name']}`", f"`{o['type']}`", default, o["range"] or ""


def address(text: str) -> str:
    """A text, as a link if it is an address."""
    return f"<{text}>" if text.startswith("http") else text
