"""`zoo completion`: verbs, options and names in bash and zsh.

The script that it prints asks `zoo` with _ZOO_COMPLETE set; click parses the words so far, and the
parameter at hand is asked for names. No torch is imported.
"""

import logging
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem, get_completion_class, shell_complete

from zoo_core.cli.command import Command

if TYPE_CHECKING:
    from zoo_core.catalog.registry import Registry

    Names = Callable[[Registry, click.Context], Iterable[str]]

__all__ = ["answer", "command", "complete"]

_VARIABLE = "_ZOO_COMPLETE"

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


@click.command("completion", cls=Command, example='eval "$(zoo completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that completes verbs, options and names in SHELL.

    Put the line of the example into ~/.bashrc, or with zsh into ~/.zshrc, after compinit.
    """
    script = get_completion_class(shell)
    assert script is not None  # click brings both
    click.echo(script(ctx.find_root().command, {}, "zoo", _VARIABLE).source())


def answer(root: click.Command) -> int | None:
    """Answer the shell's question, if it asks one; else None."""
    question = os.environ.get(_VARIABLE)
    if not question:
        return None
    logging.disable()  # a broken plugin must not write into the line that is being typed
    try:
        return shell_complete(root, {}, "zoo", _VARIABLE, question)
    finally:
        logging.disable(logging.NOTSET)


def complete(kind: str) -> Complete:
    """A `shell_complete` of click that offers the names of a kind, one of `_NAMES`, or a path."""

    def offer(ctx: click.Context, param: click.Parameter, typed: str) -> list[CompletionItem]:
        from zoo_core.catalog.registry import current

        if typed.startswith((".", "/", "~")):
            return [CompletionItem(typed, type="file")]
        found = dict.fromkeys(_NAMES[kind](current(), ctx))
        return [CompletionItem(name) for name in found if name.startswith(typed)]

    return offer


def _models(registry: "Registry", ctx: click.Context) -> Iterable[str]:
    return (info.name for info in registry.list_models())


def _tags(registry: "Registry", ctx: click.Context) -> Iterable[str]:
    return (info.name for info in registry.list_models() if info.tag is not None)


def _recipes(registry: "Registry", ctx: click.Context) -> Iterable[str]:
    return (i.name for i in registry.list_models() if i.tag is not None and i.tag.recipe)


def _serving(kind: str) -> "Names":
    """Samplers or likelihoods of the model that the line names before, else all of them."""

    def names(registry: "Registry", ctx: click.Context) -> Iterable[str]:
        able = _capabilities(registry, ctx)
        entries = registry.by_kind[kind]
        return (e.spec.name for e in entries if able is None or {*e.spec.requires} <= able)

    return names


def _capabilities(registry: "Registry", ctx: click.Context) -> set[str] | None:
    """Those of the model; click leaves its name unparsed if the last option lacks a value."""
    from zoo_core.errors import ZooError

    name = ctx.params.get("name") or next(iter(ctx.args), None)
    try:
        return None if name is None else {*registry.model(name).spec.capabilities}
    except ZooError:  # a path, or not the name of a model
        return None


def _metrics(kind: str) -> "Names":
    return lambda registry, ctx: (e.spec.name for e in registry.metrics if e.spec.kind == kind)


def _plugins(registry: "Registry", ctx: click.Context) -> Iterable[str]:
    from zoo_core.catalog.plugins import survey

    return survey()


def _official(registry: "Registry", ctx: click.Context) -> Iterable[str]:
    from zoo_core.catalog.registry import known_plugins

    return known_plugins()


_NAMES: "dict[str, Names]" = {
    "models": _models,
    "tags": _tags,
    "recipes": _recipes,
    "samplers": _serving("sampler"),
    "likelihoods": _serving("likelihood"),
    "data": lambda registry, ctx: registry.datasets.names,
    "features": _metrics("features"),
    "scores": _metrics("score"),
    "converters": lambda registry, ctx: registry.converters.names,
    "plugins": _plugins,
    "official plugins": _official,
}
