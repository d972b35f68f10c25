"""Options that several verbs share."""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

__all__ = ["Count", "batch_size", "flat_settings", "literal", "settings_option"]

F = TypeVar("F", bound=Callable[..., Any])

Count = click.IntRange(min=1)
"""A number of events: at least 1."""


def literal(text: str) -> Any:
    """A `--set` value: JSON (`5`, `0.5`, `true`, `[1,2]`), or else a plain string."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _split(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE.", ctx, param)
        if name in values:
            raise click.BadParameter(f"{name!r} is given twice.", ctx, param)
        values[name] = literal(value)
    return values


def settings_option(what: str) -> Callable[[F], F]:
    """`--set NAME=VALUE`, as a dict of the values, under the argument `options`."""
    return click.option(
        "--set",
        "options",
        multiple=True,
        metavar="NAME=VALUE",
        callback=_split,
        help=f"Set {what}; values are JSON or plain strings. May be repeated.",
    )


def batch_size(f: F) -> F:
    return click.option(
        "--batch-size", type=Count, metavar="N", help="Events a batch (default: what memory fits)."
    )(f)


def flat_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """`network.width=3` as `{"network": {"width": 3}}`."""
    nested: dict[str, Any] = {}
    for name, value in options.items():
        *outer, last = name.split(".")
        place = nested
        for key in outer:
            place = place.setdefault(key, {})
        place[last] = value
    return nested
