"""Commands and groups of `zoo`: global options before or after the verb, lazily loaded verbs."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click

from zoo_core.errors import did_you_mean
from zoo_core.weights.hub.access import Access

__all__ = ["Command", "Group", "Settings", "store"]


@dataclass
class Settings:
    """The global options."""

    json: bool = False
    quiet: bool = False
    offline: bool = False
    traceback: bool = False
    no_plugins: bool = False
    device: str = "cpu"
    seed: int | None = None
    revision: str | None = None
    token: str | None = None
    cache_dir: str | None = None
    endpoint: str | None = None
    accept_license: bool = False

    @property
    def progress(self) -> bool:
        return not self.quiet

    @property
    def access(self) -> Access:
        """Access to the Hub by these options."""
        return Access(
            self.offline,
            self.revision,
            self.token,
            self.cache_dir,
            self.endpoint,
            self.progress,
            self.accept_license,
        )


_FLAGS = {
    "json": "Machine-readable output; errors as one JSON line on stderr.",
    "quiet": "No progress bars and no remarks.",
    "offline": "Never touch the network.",
    "traceback": "Show the Python traceback of an error.",
    "no-plugins": "Load no plugins but the built-in one.",
}


def _global_options() -> list[click.Option]:
    """A copy for each command; callbacks write the values into the root's `Settings`."""
    flags = [
        click.Option([f"--{name}"], is_flag=True, help=text, expose_value=False, callback=store)
        for name, text in _FLAGS.items()
    ]
    device = click.Option(
        ["--device"],
        metavar="NAME",
        help="Where tensors live: cpu, cuda, cuda:1, ... (default: cpu).",
        expose_value=False,
        callback=store,
    )
    seed = click.Option(
        ["--seed"],
        metavar="INTEGER",
        help="Seed of every random draw (default: 0).",
        expose_value=False,
        callback=_store_seed,
    )
    return [*flags, device, seed]


def _store_seed(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is not None and not (value.isdecimal() and int(value) < 1 << 64):
        raise click.BadParameter(f"{value!r} is not an integer in [0, 2^64).", ctx, param)
    store(ctx, param, None if value is None else int(value))


def store(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """A callback that writes an option into the `Settings`, if the user set it."""
    is_set = param.name and ctx.get_parameter_source(param.name) is not None
    if is_set and value not in (None, False):
        settings = ctx.ensure_object(Settings)
        setattr(settings, str(param.name), value)
        if param.name == "no_plugins":
            _without_plugins(ctx.find_root())


def _without_plugins(root: click.Context) -> None:
    from zoo_core.catalog.plugins import Plugins
    from zoo_core.catalog.registry import Registry, use

    root.with_resource(use(Registry(Plugins(entry_points=[]))))


class Command(click.Command):
    """A verb that takes the global options as well, and shows an example of its use."""

    def __init__(self, *args: Any, example: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example
        self.globals = _global_options()
        self.params += self.globals

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Example"):
            for line in self.example.splitlines():
                formatter.write(f"{' ' * formatter.current_indent}{line}\n")
        super().format_epilog(ctx, formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _format_options(self, self.globals, ctx, formatter)


class Group(click.Group):
    """A group that takes the global options; `lazy` verbs are imported when they are called.

    `lazy` maps a verb to its line in `--help`; its module is `zoo_core.cli.<verb>`.
    """

    command_class = Command

    def __init__(self, *args: Any, lazy: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = dict(lazy or {})
        self.globals = _global_options()
        self.params += self.globals

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in self.lazy:
            command: click.Command = import_module(f"zoo_core.cli.{name}").command
            return command
        return super().get_command(ctx, name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        named = args and not args[0].startswith("-") and not ctx.resilient_parsing
        if named and args[0] not in known:
            close = did_you_mean(args[0], known)
            raise click.UsageError(
                f"no verb {args[0]!r}; verbs: {', '.join(known)}. {close}".rstrip(), ctx
            )
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        _format_options(self, self.globals, ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        eager = {name: c.get_short_help_str(80) for name, c in self.commands.items()}
        with formatter.section("Verbs"):
            formatter.write_dl([*self.lazy.items(), *eager.items()])


def _format_options(
    command: click.Command,
    shared: list[click.Option],
    ctx: click.Context,
    formatter: click.HelpFormatter,
) -> None:
    """Write the command's own options, then the global ones in a section of their own."""
    params = [p for p in command.get_params(ctx) if isinstance(p, click.Option)]
    own = [p for p in params if p not in shared]
    for title, params in (("Options", own), ("Global options", shared)):
        records = [r for p in params if (r := p.get_help_record(ctx)) is not None]
        if records:
            with formatter.section(title):
                formatter.write_dl(records)
