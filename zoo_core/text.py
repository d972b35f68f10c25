r"""Text of others as it may be printed: a terminal must not obey what a file or a server wrote.

Names of tensors, listings of the Hub, metadata of plugins and errors of libraries are not ours.
Whatever prints calls `printable` for one line, or `printable_lines` for several.
"""

__all__ = ["printable", "printable_lines"]


def printable(text: str) -> str:
    r"""One line whose control characters are visible escapes; the rest stays as it is.

    These are the characters that `str.isprintable` denies: C0 and C1 controls, line breaks,
    directions of writing, zero-width and other invisible characters, lone surrogates.

    >>> print(printable("red \x1b[31m\r"))
    red \x1b[31m\r
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def printable_lines(text: str) -> str:
    r"""The same of a text whose line breaks and tabs are meant, such as a traceback."""
    return "\n".join(map(printable, text.expandtabs().replace("\r\n", "\n").split("\n")))


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
