"""What the library logs and warns of, as lines of the command on stderr.

The library uses `logging` and `warnings`, whose output a program configures. The command prints
each record as `zoo: ...` and each of the zoo's own warnings as `zoo: warning: ...`, without a
place in somebody's source.
"""

import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import click

from zoo_core.errors import ZooWarning
from zoo_core.text import printable, printable_lines

__all__ = ["on_stderr"]

_LOGGERS = ("zoo_core", "zoo_kernels")


@contextmanager
def on_stderr(quiet: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Print log records and the zoo's warnings; `quiet()` leaves out records below WARNING."""
    handler = _Lines(quiet)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        with _warnings():
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)


class _Lines(logging.Handler):
    """Prints each record; a progress bar on the screen is redrawn below it."""

    def __init__(self, quiet: Callable[[], bool]) -> None:
        super().__init__()
        self._quiet = quiet

    def emit(self, record: logging.LogRecord) -> None:
        if self._quiet() and record.levelno < logging.WARNING:
            return
        line = f"zoo: {printable_lines(record.getMessage())}"
        tqdm = sys.modules.get("tqdm")
        if tqdm is None:
            click.echo(line, err=True)
        else:
            tqdm.tqdm.write(line, file=sys.stderr)


@contextmanager
def _warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("always", ZooWarning)
        python = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, ZooWarning):
                click.echo(f"zoo: warning: {printable(str(message))}", err=True)
            else:
                python(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield
