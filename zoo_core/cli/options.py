"""Options that several verbs share."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from zoo_core.cli.command import store
from zoo_core.cli.completion import complete
from zoo_core.errors import OutputError, UsageError
from zoo_core.reading import literal

__all__ = [
    "Count",
    "OutFile",
    "batch_size",
    "check_place",
    "check_shards",
    "data_option",
    "features_option",
    "hub_options",
    "method_option",
    "metrics_option",
    "refuse_unused",
    "sampler_option",
    "settings_option",
    "shard_options",
]

F = TypeVar("F", bound=Callable[..., Any])

Count = click.IntRange(min=1)
"""A number of events: at least 1."""


class OutFile(click.Path):
    """A file to write, in a folder that exists: a misspelt folder is not created silently."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Path:
        return check_place(Path(value))


def check_place(path: Path) -> Path:
    """The path, if the folder that it is in exists."""
    folder = path.parent
    if folder.is_dir():
        return path
    state = "is no folder" if folder.exists() else "does not exist"
    raise OutputError(
        f"{path} cannot be written: {folder} {state}.",
        hint="name another folder" if folder.exists() else f"mkdir -p {folder}",
    )


def refuse_unused(ctx: click.Context, why: str, *names: str) -> None:
    """Raise `UsageError` for an option that was set and would have no effect."""
    command_line = click.core.ParameterSource.COMMANDLINE
    for param in ctx.command.params:
        if param.name in names and ctx.get_parameter_source(param.name) is command_line:
            raise UsageError(f"{param.opts[0]} {why}.", hint=f"drop {param.opts[0]}")


def _split(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE.", ctx, param)
        if name in settings:
            raise click.BadParameter(f"{name!r} is given twice.", ctx, param)
        settings[name] = literal(value)
    return settings


def settings_option(what: str, flag: str = "--set", argument: str = "options") -> Callable[[F], F]:
    """`--set NAME=VALUE`, as a dict of the values, under the argument `options`."""
    return click.option(
        flag,
        argument,
        multiple=True,
        metavar="NAME=VALUE",
        callback=_split,
        help=f"Set {what}; values are JSON or plain strings. May be repeated.",
    )


def batch_size(f: F) -> F:
    return click.option(
        "--batch-size", type=Count, metavar="N", help="Events a batch (default: what memory fits)."
    )(f)


def shard_options(f: F) -> F:
    """`--shards S --shard I`: the work in numbered pieces, of which process I makes its share."""
    f = click.option(
        "--shard",
        type=click.IntRange(min=0),
        metavar="I",
        help="Make every S-th file from number I on, 0 to S - 1 (default: all of them).",
    )(f)
    return click.option(
        "--shards",
        type=Count,
        metavar="S",
        help="Work in numbered files, shared by S processes; a killed one goes on where it was.",
    )(f)


def check_shards(shards: int | None, shard: int | None) -> tuple[int, int]:
    """Number of this process and of all, for `Pieces.missing`."""
    if shard is None:
        return 0, 1
    if shards is None:
        raise UsageError("--shard does nothing without --shards.", hint="--shards 8 --shard 3")
    if shard >= shards:
        raise UsageError(f"--shard {shard}: of {shards} shards the last one is {shards - 1}.")
    return shard, shards


def data_option(about: str, *, required: bool = False) -> Callable[[F], F]:
    return click.option(
        "--data",
        required=required,
        metavar="NAME",
        help=about,
        shell_complete=complete("data"),
    )


method_option = click.option(
    "--method",
    metavar="NAME",
    help="Likelihood (default: the architecture's own).",
    shell_complete=complete("likelihoods"),
)
sampler_option = click.option(
    "--sampler",
    metavar="NAME",
    help="Sampler (default: the architecture's own).",
    shell_complete=complete("samplers"),
)
features_option = click.option(
    "--features",
    multiple=True,
    metavar="NAME",
    help="Feature extractor (repeatable; default: all).",
    shell_complete=complete("features"),
)
metrics_option = click.option(
    "--metrics",
    "scores",
    multiple=True,
    metavar="NAME",
    help="Score, e.g. coverage or memorization (repeatable; default: all).",
    shell_complete=complete("scores"),
)


_HUB = {
    "revision": ("REV", "Branch, tag or commit on the Hub."),
    "token": ("TOKEN", "Token for the Hub (default: HF_TOKEN, or that of `hf auth login`)."),
    "cache-dir": ("FOLDER", "Cache of the Hub's files (default: HF_HUB_CACHE)."),
    "endpoint": ("URL", "Address of the Hub or of a mirror (default: HF_ENDPOINT)."),
    "accept-license": (None, "Load weights whose source states no licence; remembered by name."),
}
"""Options for access to the Hub, each with its value's name; None for a flag."""


def hub_options(*names: str) -> Callable[[F], F]:
    """Options for access to the Hub, all or the named ones; stored in the `Settings`."""

    def add(f: F) -> F:
        for name in reversed(names or tuple(_HUB)):
            metavar, text = _HUB[name]
            f = click.option(
                f"--{name}",
                metavar=metavar,
                is_flag=metavar is None,
                help=text,
                expose_value=False,
                callback=store,
            )(f)
        return f

    return add
