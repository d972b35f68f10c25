"""`zoo cache`: what has been downloaded, whether it is sound, and room for more."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo_core.cli.command import Group, Settings
from zoo_core.cli.options import hub_options
from zoo_core.cli.printing import remark, show, size_text, table
from zoo_core.errors import IntegrityError, UnknownNameError
from zoo_core.weights.hub.access import check_repo

if TYPE_CHECKING:
    from zoo_core.weights.hub.cache import Store

__all__ = ["command"]


@click.group("cache", cls=Group, invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Downloaded weights: list, remove, prune, verify. Without a verb: list."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_cache)


@command.command("list", example="zoo cache list")
@hub_options("cache-dir")
@click.pass_obj
def list_cache(settings: Settings) -> None:
    """Repositories in the cache: their commits, what is whole, bytes on disk."""
    from zoo_core.weights.hub.prune import scan

    root = settings.access.cache
    rows = [_row(root, repo) for repo in scan(root).values()]
    if not rows and not settings.json:
        return remark(settings, f"nothing is cached in {root}")
    keys = ("repo", "commits", "refs", "size")
    cells = [[{**row, "size": size_text(row["size"])}[key] for key in keys] for row in rows]
    show(settings, rows, table(keys, cells, right="size"))


@command.command("remove", example="zoo cache remove google/ddpm-cifar10-32")
@click.argument("name", metavar="REPO[@COMMIT]")
@hub_options("cache-dir")
@click.pass_obj
def remove_cached(settings: Settings, name: str) -> None:
    """Delete what is cached of a repository, org/name, or of one commit of it."""
    from zoo_core.weights.hub.cache import Store
    from zoo_core.weights.hub.prune import remove

    repo, _, commit = name.removeprefix("hf://").partition("@")
    freed = remove(Store(settings.access.cache, check_repo(repo)), commit or None)
    show(settings, {"removed": name, "freed": freed}, [f"removed {name}: {size_text(freed)}"])


@command.command("prune", example="zoo cache prune")
@hub_options("cache-dir")
@click.pass_obj
def prune_cache(settings: Settings) -> None:
    """Delete old commits, broken-off downloads and files that were set aside.

    What a branch leads to and what is pinned stays.
    """
    from zoo_core.weights.hub.prune import prune

    freed = prune(settings.access.cache, keep=_pinned())
    show(settings, {"freed": freed}, [f"freed {size_text(freed)}"])


@command.command("verify", example="zoo cache verify")
@click.argument("repo", required=False)
@hub_options("cache-dir")
@click.pass_obj
def verify_cache(settings: Settings, repo: str | None) -> None:
    """Hash every cached file and compare it with what its commit lists; needs no network.

    Exit code 6 if a file is damaged; loading or pulling the model fetches that one again.
    """
    from dataclasses import asdict

    from zoo_core.weights.hub.prune import verify

    root = settings.access.cache
    verified = [v for store in _stores(root, repo) for v in verify(store)]
    rows = [[v.status, v.repo, v.commit[:12], v.path] for v in verified]
    if not verified:
        remark(settings, f"nothing is cached in {root}")
    header = ("status", "repo", "commit", "file")
    show(settings, [asdict(v) for v in verified], table(header, rows) if rows else [])
    if any(v.status == "damaged" for v in verified):
        raise click.exceptions.Exit(IntegrityError.exit_code)


def _stores(root: Path, repo: str | None = None) -> "list[Store]":
    from zoo_core.weights.hub.cache import stores

    selected = [s for s in stores(root) if repo in (None, s.repo, f"hf://{s.repo}")]
    if repo is not None and not selected:
        raise UnknownNameError(f"{repo!r} is not in {root}.", hint="zoo cache list")
    return selected


def _row(root: Path, repo: Any) -> dict[str, Any]:
    """A line of the list, from huggingface_hub's `CachedRepoInfo`; it counts blobs alone."""
    from zoo_core.weights.hub.cache import Store

    commits = sorted(revision.commit_hash[:12] for revision in repo.revisions)
    size = Store(root, repo.repo_id).size()
    return {"repo": repo.repo_id, "commits": commits, "refs": sorted(repo.refs), "size": size}


def _pinned() -> list[tuple[str, str]]:
    """Repositories and commits that plugins or the user have pinned."""
    from zoo_core.catalog import lockfile as pins
    from zoo_core.catalog.registry import current

    tags = [row.tag.hub for row in current().list_models() if row.tag is not None and row.tag.hub]
    own = [(w.repo, w.revision) for w in tags if w.repo and w.revision]
    return own + [(pin.repo, pin.revision) for pin in pins.everything()]
