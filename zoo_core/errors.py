"""Errors that a user can act on: they say what was given, what is possible and what to do.

All errors that the zoo raises on purpose are `ZooError`s. The class determines the exit code of
the command (`zoo --help` lists them); `hint`, if any, says what to do next. If the hint speaks
Python, `command` is the same advice for users of the command.
"""

import sys
import warnings
from collections.abc import Iterable
from difflib import get_close_matches

from zoo_core.text import printable_lines

__all__ = [
    "ConfigError",
    "DataError",
    "IntegrityError",
    "NetworkError",
    "NoCapabilityError",
    "NoLikelihoodError",
    "NotFiniteError",
    "OutputError",
    "PluginError",
    "ProcessError",
    "UnknownNameError",
    "UsageError",
    "ZooError",
    "ZooWarning",
    "did_you_mean",
    "warn",
]


class ZooError(Exception):
    """The base of all errors that are raised on purpose; untrusted text in them is made printable.

    `command` replaces `hint` in the output of the command.
    """

    exit_code = 1

    def __init__(
        self, message: str, *, hint: str | None = None, command: str | None = None
    ) -> None:
        self.message = printable_lines(message)
        self.hint = None if hint is None else printable_lines(hint)
        self.command = self.hint if command is None else printable_lines(command)
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message} [{self.hint}]"


class UsageError(ZooError):
    """An argument or option that makes no sense here."""

    exit_code = 2


class UnknownNameError(ZooError):
    """A name that no plugin declares, or that several do."""

    exit_code = 3


class PluginError(ZooError):
    """A plugin that is missing, broken, incompatible or in conflict with another."""

    exit_code = 4


class NetworkError(ZooError):
    """A download that is needed and fails, or is not allowed."""

    exit_code = 5


class IntegrityError(ZooError):
    """Files that are not what they claim to be."""

    exit_code = 6


class DataError(ZooError):
    """Events, conditions or data sets that do not fit."""

    exit_code = 7


class ConfigError(DataError):
    """Config values out of range, of the wrong type, or unknown."""


class NotFiniteError(ZooError):
    """A density, a sample or a parameter that is NaN or infinite.

    Only log-densities may be -inf, for events of probability zero.
    """

    exit_code = 7


class OutputError(ZooError):
    """A file that cannot be written."""

    exit_code = 7


class ProcessError(ZooError):
    """One of the processes of a training that ended, or does not answer."""

    exit_code = 7


class NoCapabilityError(UsageError):
    """A model or component that lacks the capability for what was asked."""


class NoLikelihoodError(NoCapabilityError):
    """A model without a likelihood; the message says what can be measured instead."""


class ZooWarning(UserWarning):
    """Something was done as asked, but may not be what was meant; the command prints it."""


def warn(text: str) -> None:
    """Issue a `ZooWarning` that points at the first caller outside the core."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == "zoo_core":
        frame, level = frame.f_back, level + 1
    warnings.warn(printable_lines(text), ZooWarning, stacklevel=level)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`Did you mean a or b?`, or an empty string if no known name is close.

    >>> did_you_mean("ddmp", ["ddpm", "made"])
    'Did you mean ddpm?'
    """
    close = get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f"Did you mean {' or '.join(close)}?" if close else ""
