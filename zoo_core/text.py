r"""Makes untrusted text printable: a terminal must not obey what a file or a server wrote.

Names of tensors, listings of the Hub, metadata of plugins and errors of libraries are untrusted.
All that is printed goes through `printable` (one line) or `printable_lines`.
"""

import re
from collections.abc import Sequence
from typing import Any

__all__ = ["cell", "hide_credentials", "printable", "printable_lines", "table"]

_CREDENTIALS = re.compile(r"(?<!ssh)://[^/\s@]+@")


def hide_credentials(text: str, mask: str = "****@") -> str:
    """A text with `mask` for the users and passwords of its URLs; the user of ssh is no secret.

    >>> hide_credentials("pip install --index-url https://me:secret@x.org/simple")
    'pip install --index-url https://****@x.org/simple'
    """
    return _CREDENTIALS.sub(f"://{mask}", text)


def printable(text: str) -> str:
    r"""The text with all characters that are not printable as visible escapes.

    These are C0 and C1 controls, line breaks, bidirectional controls, zero-width and other
    invisible characters, and lone surrogates (`str.isprintable`).

    >>> print(printable("red \x1b[31m\r"))
    red \x1b[31m\r
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def printable_lines(text: str) -> str:
    r"""`printable` for text with intended line breaks and tabs, such as a traceback."""
    return "\n".join(map(printable, text.expandtabs().replace("\r\n", "\n").split("\n")))


def table(header: Sequence[str], rows: Sequence[Sequence[Any]], right: str = "") -> list[str]:
    """The lines of a table with a header; `right` names the columns to align to the right."""
    cells = [[cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    flush = [name in right.split() for name in header]

    def line(row: Sequence[str]) -> str:
        padded = (
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(row, widths, flush, strict=True)
        )
        return "  ".join(padded).rstrip()

    return [line(header), *map(line, cells)]


def cell(value: Any) -> str:
    """A value as text in a table."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return printable(", ".join(map(str, value)))
    return printable(str(value))


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
