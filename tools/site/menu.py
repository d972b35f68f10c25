"""The menu of the site, from zensical.toml and the pages that are there."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.site.pages import SiteError, title

Entry = str | dict[str, Any]


def menu(site: Mapping[str, Any], docs: Path) -> list[Entry]:
    """The `nav` of Zensical; raises `SiteError` for a page that is in no tab."""
    tabs = [{tab["title"]: list(_held(site, docs, tab["holds"]))} for tab in site["menu"]]
    shown = set(_pages(tabs))
    missing = [p for p in _files(docs) if p not in shown]
    if missing:
        raise SiteError(f"pages in no tab of zensical.toml: {', '.join(missing)}")
    return [tab for tab in tabs if any(tab.values())]


def _held(site: Mapping[str, Any], docs: Path, held: Sequence[str]) -> Iterator[Entry]:
    """The entries of pages and folders; a tab that holds one folder shows what is in it."""
    for name in held:
        if name.endswith(".md"):
            yield from [name] if (docs / name).exists() else []
        elif len(held) == 1 or name in ("start",):
            yield from _folder(site, docs, name)
        elif entries := list(_folder(site, docs, name)):
            yield {_name(site, docs, name): entries}


def _folder(site: Mapping[str, Any], docs: Path, name: str) -> Iterator[Entry]:
    """The entries of a folder: its index, what comes first, and the rest by title."""
    first = ["index", *site["first"].get(name, ())]
    inner = [p for p in (docs / name).glob("*") if p.suffix == ".md" or _has_pages(p)]

    def place(path: Path) -> tuple[int, str]:
        known = path.stem if path.suffix == ".md" else path.name
        return (first.index(known) if known in first else len(first), path.name)

    for path in sorted(inner, key=place):
        where = f"{name}/{path.name}"
        if path.is_dir():
            yield {_name(site, docs, where): list(_folder(site, docs, where))}
        else:
            yield where if path.stem == "index" else {title(path): where}


def _name(site: Mapping[str, Any], docs: Path, folder: str) -> str:
    index = docs / folder / "index.md"
    if folder in site["names"] or not index.exists():
        return str(site["names"].get(folder, Path(folder).name.capitalize()))
    return title(index)


def _has_pages(path: Path) -> bool:
    return path.is_dir() and any(path.rglob("*.md"))


def _files(docs: Path) -> list[str]:
    return sorted(p.relative_to(docs).as_posix() for p in docs.rglob("*.md"))


def _pages(entries: Sequence[Entry]) -> Iterator[str]:
    for entry in entries:
        if isinstance(entry, str):
            yield entry
        else:
            for value in entry.values():
                yield from _pages([value] if isinstance(value, str) else value)
