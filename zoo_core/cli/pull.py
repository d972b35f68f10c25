"""`zoo pull`: fetch weights from the Hub into the cache, and pin their commit and hashes."""

from typing import TYPE_CHECKING, Any

import click

from zoo_core.cli.command import Command, Settings
from zoo_core.cli.completion import complete
from zoo_core.cli.options import hub_options, refuse_unused
from zoo_core.cli.printing import fields, remark, show, size_text

if TYPE_CHECKING:
    from zoo_core.weights.hub.snapshot import Plan
    from zoo_core.weights.locate import Pulled

__all__ = ["command"]


@click.command("pull", cls=Command, example="zoo pull ddpm.cifar10 --plan")
@click.argument(
    "names", nargs=-1, required=True, metavar="NAME...", shell_complete=complete("tags")
)
@click.option(
    "--pin", is_flag=True, help="Write the commit and the hashes down; NAME then means these."
)
@click.option("--plan", is_flag=True, help="Show what would be fetched, and fetch nothing.")
@hub_options()
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...], pin: bool, plan: bool) -> None:
    """Fetch the weights called NAME: a tag, or hf://org/name[@revision].

    Prints what NAME was resolved to. Afterwards the model loads offline.
    """
    from zoo_core.weights.locate import pull

    settings: Settings = ctx.obj
    if plan:
        refuse_unused(ctx, "needs the files, which --plan does not fetch", "pin")
        _show_plans(settings, names)
        return
    pulled = [pull(name, access=settings.access) for name in names]
    for weights in pulled:
        if weights.repo is None:
            remark(
                settings, f"{weights.name} is here already, in {weights.folder}: nothing to fetch"
            )
    if pin:
        _pin(settings, pulled)
    value = [_value(weights) for weights in pulled]
    show(settings, value if len(value) > 1 else value[0], _lines(value))


def _show_plans(settings: Settings, names: tuple[str, ...]) -> None:
    from zoo_core.weights.locate import plan

    plans = [(name, plan(name, access=settings.access)) for name in names]
    value = [_planned(name, found) for name, found in plans]
    lines = [line for row in value for line in _plan_lines(row)]
    show(settings, value if len(value) > 1 else value[0], lines)


def _planned(name: str, plan: "Plan | None") -> dict[str, Any]:
    if plan is None:
        return {"name": name, "repo": None, "files": [], "fetch": 0}
    missing = {file.path for file in plan.missing}
    files = [{"path": f.path, "size": f.size, "cached": f.path not in missing} for f in plan.files]
    return {
        "name": name,
        "repo": plan.store.repo,
        "commit": plan.commit.sha,
        "cache": str(plan.store.root),
        "files": files,
        "fetch": plan.fetched_bytes,
        "free": plan.free_bytes,
    }


def _plan_lines(row: dict[str, Any]) -> list[str]:
    if row["repo"] is None:
        return [f"{row['name']} is here already: nothing to fetch"]
    sizes = {key: size_text(row[key]) for key in ("fetch", "free")}
    head = fields({**row, **sizes, "files": None}.items())
    return head + [
        f"  {size_text(f['size']) or '':>9}  {f['path']}{' (cached)' * f['cached']}"
        for f in row["files"]
    ]


def _pin(settings: Settings, pulled: "list[Pulled]") -> None:
    from zoo_core.catalog import lockfile as pins
    from zoo_core.weights.hub.cache import URLS

    for weights in pulled:
        if weights.repo is None:
            remark(settings, f"{weights.name} is a folder here: nothing to pin")
            continue
        if weights.repo.startswith(URLS):
            remark(settings, f"the card of {weights.name} states its hashes: nothing to pin")
            continue
        name = _bare(weights.name)
        pins.write(name, pins.Pin(weights.repo, str(weights.commit), weights.sha256))
        remark(settings, f"{name} is pinned in {pins.path()}")


def _bare(name: str) -> str:
    """The name without plugin and revision: a tag, or hf://org/name."""
    from zoo_core.catalog.names import Name
    from zoo_core.catalog.references import parse_model

    parsed = parse_model(name)
    if isinstance(parsed, Name):
        return f"{parsed.name}.{parsed.tag}"
    return name.partition("@")[0]


def _value(weights: "Pulled") -> dict[str, Any]:
    return {
        "name": weights.name,
        "repo": weights.repo,
        "commit": weights.commit,
        "folder": str(weights.folder),
        "sha256": dict(weights.sha256),
        "size": weights.size,
    }


def _lines(value: list[dict[str, Any]]) -> list[str]:
    lines = []
    for weights in value:
        shown = {**weights, "size": size_text(weights["size"]), "sha256": None}
        lines += fields(shown.items())
        lines += [f"  {digest}  {path}" for path, digest in weights["sha256"].items()]
    return lines
