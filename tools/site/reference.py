"""The reference: every public name, components, recipe keys, data formats and the command.

Public names are those of the stubs; mkdocstrings reads their docstrings from the source. A name
that `zoo_core` and `zoo_core.plugin` both have is documented once, and the other page leads there.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click

from tools.site.cache import ROOT
from tools.site.markdown import option_rows, table

STUBS = {
    "zoo_core": ROOT / "zoo_core" / "__init__.pyi",
    "zoo_core.plugin": ROOT / "zoo_core" / "plugin.pyi",
    **{p.parent.name: p for p in sorted(ROOT.glob("plugins/*/src/*/__init__.pyi"))},
}
USERS, AUTHORS = "zoo_core", "zoo_core.plugin"
HELPERS = "Helpers"
# Page of a name, by the beginning of the module that it lives in; of no other page: HELPERS.
GROUPS = {
    "Models and sampling": (
        "loading", "publishing", "model", "catalog.registry", "sampling", "latent", ".latent",
        "rng", "contracts",
    ),
    "Likelihood": ("likelihood", "likelihoods"),
    "Spaces": ("spaces", "config"),
    "Data": ("data",),
    "Evaluation and compression": ("evaluation", "compression"),
    "Training and recipes": ("training", "workflows"),
    "Declarations": ("catalog",),
    "Networks and layers": ("nn",),
    "Weights of others": ("weights",),
    "Errors": ("errors",),
    HELPERS: (),  # of any other module
}  # fmt: skip
KINDS = {
    "sampler": "Samplers",
    "likelihood": "Likelihoods",
    "loss": "Losses",
    "dataset": "Data sets",
    "network": "Networks",
    "optimizer": "Optimizers",
    "schedule": "Schedules",
    "metric": "Features and scores",
    "converter": "Converters",
}
# What a format is documented by: the docstring of the module that reads and writes it.
FORMATS = {
    "A model's folder": "zoo_core.catalog.layout",
    "Arrays": "zoo_core.data.npz",
    "Folders of pictures": "zoo_core.data.folder",
    "Tables": "zoo_core.data.table_files",
    "Compressed files": "zoo_core.compression.container",
    "Recipes": "zoo_core.workflows.recipe",
}


@dataclass(frozen=True)
class PublicName:
    """A name that users import from `package`; `home` is the module that it lives in."""

    package: str
    name: str
    home: str

    @property
    def path(self) -> str:
        return f"{self.package}.{self.name}"


def public_names(package: str) -> list[PublicName]:
    """The names of a package's stub."""
    tree = ast.parse(STUBS[package].read_text())
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return [
        PublicName(package, alias.name, node.module or f".{alias.name}")
        for node in imports
        for alias in node.names
    ]


def group_of(name: PublicName) -> str:
    """The page of the reference that a name of the core belongs to."""
    for title, prefixes in GROUPS.items():
        if any(name.home == p or name.home.startswith(f"{p}.") for p in prefixes):
            return title
    return HELPERS


def pages() -> Iterator[tuple[str, str]]:
    """The path within reference/ and the text of each page."""
    yield "index.md", _index()
    users = {n.name for n in public_names(USERS)}
    for package, folder in ((USERS, "zoo_core"), (AUTHORS, "plugin")):
        for title in GROUPS:
            names = [n for n in public_names(package) if group_of(n) == title]
            known = users if package == AUTHORS else set()
            if names:
                yield f"{folder}/{_slug(title)}.md", _names_page(title, package, names, known)
    for package in list(STUBS)[2:]:
        yield f"{package}.md", _names_page(f"`{package}`", package, public_names(package), set())
    yield "components.md", _components_page()
    yield "recipe-keys.md", _recipe_page()
    yield "data-formats.md", _formats_page()
    yield "command.md", _command_page()


def _names_page(title: str, package: str, names: list[PublicName], known: set[str]) -> str:
    lines = [f"# {title}", "", f"Names of `{package}`.", ""]
    shared = [n.name for n in names if n.name in known]
    if shared:
        links = ", ".join(f"[`{name}`][{USERS}.{name}]" for name in shared)
        lines += [f"The same as in `{USERS}`: {links}.", ""]
    for name in sorted(names, key=lambda n: n.name.lower()):
        if name.name not in known:
            lines += [f"::: {name.path}", ""]
    return "\n".join(lines)


def _index() -> str:
    lines = ["# Reference", "", "Every public name, from the docstrings of the source.", ""]
    for package, folder in ((USERS, "zoo_core/"), (AUTHORS, "plugin/")):
        lines += [f"## `{package}`", ""]
        for title in GROUPS:
            names = [n for n in public_names(package) if group_of(n) == title]
            if names:
                lines += [f"**[{title}]({folder}{_slug(title)}.md)**: {_links(names)}", ""]
    for package in list(STUBS)[2:]:
        lines += [f"## [`{package}`]({package}.md)", "", _links(public_names(package)), ""]
    return "\n".join(lines)


def _links(names: list[PublicName]) -> str:
    users = {n.name for n in public_names(USERS)}

    def link(n: PublicName) -> str:
        place = USERS if n.package == AUTHORS and n.name in users else n.package
        return f"[`{n.name}`][{place}.{n.name}]"

    return ", ".join(map(link, sorted(names, key=lambda n: n.name.lower())))


def _components_page() -> str:
    from zoo_core.catalog.registry import current

    head = ("name", "plugin", "", "options")
    lines = ["# Components", "", "What recipes, the command and `model.sample` name.", ""]
    for kind, title in KINDS.items():
        lines += [f"## {title}", "", *table(head, _entries(current().by_kind[kind])), ""]
    return "\n".join(lines)


def _entries(entries: Any) -> Iterator[tuple[str, ...]]:
    for entry in sorted(entries, key=lambda e: (e.spec.name, e.plugin.name)):
        options = ", ".join(f"`{f.name}={f.default}`" for f in _fields(entry.spec))
        needs = ", ".join(f"`{c}`" for c in getattr(entry.spec, "requires", ()))
        about = entry.spec.summary + (f" (of {needs})" if needs else "")
        yield f"`{entry.spec.name}`", entry.plugin.name, about, options


def _fields(spec: Any) -> list[Any]:
    """The options of a component; none of one that is a function."""
    import dataclasses

    from zoo_core.catalog.specs import import_target
    from zoo_core.cli.describe import describe

    target = import_target(getattr(spec, "config", None) or spec.target)
    return describe(target) if dataclasses.is_dataclass(target) else []


def _recipe_page() -> str:
    from dataclasses import asdict

    from zoo_core.cli.describe import describe
    from zoo_core.training.config import OptimizerConfig, TrainConfig
    from zoo_core.workflows import recipe

    head = ("key", "type", "default", "range")
    lines = ["# Recipe keys", "", "A recipe is a TOML file for `zoo train --recipe FILE`.", ""]
    lines += ["```toml", (recipe.__doc__ or "").partition("\n\n")[2].rstrip(), "```", ""]
    tables = {
        "[train]": TrainConfig,
        "[players.NAME]": OptimizerConfig,
        "[likelihood]": recipe.LikelihoodOptions,
        "[quality]": recipe.QualityOptions,
    }
    for key, config in tables.items():
        rows = option_rows([asdict(field) for field in describe(config)])
        about = (config.__doc__ or "").partition("\n")[0]
        lines += [f"## `{key}`", "", about, ""]
        lines += [*table(head, rows), ""]
    last = "`[model]`, `[loss]` and `[data]` hold the options of the components that they name."
    return "\n".join([*lines, last, ""])


def _formats_page() -> str:
    lines = ["# Data formats", "", "What files hold, by the modules that read and write them.", ""]
    for title, module in FORMATS.items():
        lines += [f"## {title}", "", f"::: {module}", "    options:"]
        lines += ["      members: false", "      show_root_heading: false", ""]
    return "\n".join(lines)


def _command_page() -> str:
    from zoo_core.cli.app import root as app

    context = click.Context(app, info_name="zoo", **app.context_settings)  # -h is kept for later
    lines = ["# The command `zoo`", "", "```text", app.get_help(context), "```", ""]
    for verb in app.list_commands(context):
        lines += _help(app.get_command(context, verb), verb, context)
    return "\n".join(lines)


def _help(command: Any, verb: str, parent: click.Context) -> Iterator[str]:
    """The help of a verb and of its own verbs, if any."""
    context = click.Context(command, info_name=verb, parent=parent)
    yield from (f"## `{context.command_path}`", "")
    yield from ("```text", command.get_help(context), "```", "")
    for inner in command.list_commands(context) if isinstance(command, click.Group) else ():
        yield from _help(command.get_command(context, inner), inner, context)


def _slug(title: str) -> str:
    return title.lower().replace(" ", "-")
