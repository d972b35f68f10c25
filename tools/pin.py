"""Revisions, sizes and SHA-256 of every card, for someone with a network: `python -m tools.pin`.

    python -m tools.pin                     # show what would change in every cards.toml
    python -m tools.pin --write             # and write it
    python -m tools.pin ddpm.cifar10 --write
    python -m tools.pin --open --write      # also load each model, and say so in its card

Of a repository, the branch or pull request that the card names, or `main`, becomes a commit.
Files that the Hub names by their SHA-256 are not fetched; others, such as configs, are, and those
at addresses of their own are read once to hash them. The rest of a cards.toml stays as it is.
"""

import argparse
import difflib
import hashlib
import json
import re
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from zoo_core.catalog.cards import CARDS, cards_in
from zoo_core.catalog.registry import ModelInfo, current
from zoo_core.catalog.specs import Pretrained, PretrainedFile
from zoo_core.catalog.tags import package_folder
from zoo_core.errors import UnknownNameError, ZooError
from zoo_core.files import write_atomically
from zoo_core.weights.hub.access import Access
from zoo_core.weights.hub.client import commit_of
from zoo_core.weights.hub.listing import Listed
from zoo_core.weights.hub.snapshot import snapshot
from zoo_core.weights.hub.urls import hash_of_url
from zoo_core.weights.location import Elsewhere

_KEYS = re.compile(r"^(revision = .*|opened = .*|files = \[(?:.|\n)*?\])\n", re.MULTILINE)
_HEADING = r"^\[{arch}\.{tag}\]\n(?P<body>(?:(?!\[).*\n?)*)"


def main(argv: list[str] | None = None) -> int:
    """Pin the cards that are named, or all; 1 if one of them cannot be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="cards (default: all)")
    parser.add_argument("--write", action="store_true", help="write the files")
    parser.add_argument("--open", action="store_true", help="load each model, and date its card")
    args = parser.parse_args(argv)
    failures = 0
    for path, infos in _by_file(args.names).items():
        before = text = path.read_text()
        for info in infos:
            try:
                text = _checked(pinned(text, info, opened=args.open), text, info)
            except ZooError as error:
                failures += 1
                print(f"{info.name}: {error}", file=sys.stderr)
        print("".join(_difference(path, before, text)), end="")
        if args.write and text != before:
            write_atomically(path, text.encode())
    return int(failures > 0)


def _by_file(names: Iterable[str]) -> dict[Path, list[ModelInfo]]:
    """The cards that are named, or all, by the file that holds them."""
    found: dict[Path, list[ModelInfo]] = {}
    chosen, left = set(names), set(names)
    for info in current().list_models():
        package = package_folder(info.spec)
        if info.tag is None or info.tag.hub is None or package is None:
            continue
        own = {card.tag for card in cards_in(package).get(info.spec.arch, ())}
        if info.tag.tag in own and (not chosen or info.name in chosen):
            found.setdefault(package / CARDS, []).append(info)
            left.discard(info.name)
    if left:
        raise UnknownNameError(f"no card is called {', '.join(sorted(left))}.", hint="zoo list")
    return found


def pinned(text: str, info: ModelInfo, *, opened: bool = False) -> str:
    """The text of a cards.toml with the revision and the files of one card filled in."""
    card = _card(info)
    revision, files = _of_urls(card) if card.repo is None else _of_repository(info, card)
    lines = [] if revision is None else [f"revision = {json.dumps(revision)}\n"]
    lines.append("files = [\n" + "".join(f"    {_inline(file)},\n" for file in files) + "]\n")
    if date := _opened(info, replace(card, revision=revision, files=files), opened, text):
        lines.append(f"opened = {json.dumps(date)}\n")
    arch, tag = re.escape(info.spec.arch), re.escape(card.tag)
    match = re.search(_HEADING.format(arch=arch, tag=tag), text, re.MULTILINE)
    assert match is not None, f"{CARDS} has no line [{info.spec.arch}.{card.tag}]"
    body = _KEYS.sub("", match["body"])
    kept, blank = body.rstrip("\n"), body[len(body.rstrip("\n")) + 1 :]
    start, end = match.span("body")
    return f"{text[:start]}{kept}\n{''.join(lines)}{blank}{text[end:]}"


def _card(info: ModelInfo) -> Pretrained:
    """The card as its file has it, without the pins of this user."""
    package = package_folder(info.spec)
    assert package is not None and info.tag is not None
    cards = cards_in(package)[info.spec.arch]
    return next(card for card in cards if card.tag == info.tag.tag)


def _of_repository(
    info: ModelInfo, card: Pretrained
) -> tuple[str | None, tuple[PretrainedFile, ...]]:
    """The commit of a repository, and the files that are needed of it."""
    access = Access(progress=False)
    repo = str(card.repo)
    commit = commit_of(repo, card.revision, access)
    elsewhere = Elsewhere(info.name, repo, commit.sha, {}, card, info.spec)
    listed = [commit.files[path] for path in elsewhere.choose(commit.files)]
    small = [file.path for file in listed if file.sha256 is None]
    hashes = _fetched(repo, commit.sha, small, access) if small else {}
    return commit.sha, tuple(_stated(file, hashes) for file in listed)


def _fetched(repo: str, commit: str, paths: list[str], access: Access) -> dict[str, str]:
    """The SHA-256 of files that the Hub names by git's hash."""
    with tempfile.TemporaryDirectory() as cache:
        got = snapshot(repo, lambda _: paths, replace(access, cache_dir=cache), revision=commit)
        read = {path: (got.folder / path).read_bytes() for path in paths}
    return {path: hashlib.sha256(data).hexdigest() for path, data in read.items()}


def _stated(file: Listed, hashes: dict[str, str]) -> PretrainedFile:
    return PretrainedFile(file.path, file.size, file.sha256 or hashes[file.path])


def _of_urls(card: Pretrained) -> tuple[None, tuple[PretrainedFile, ...]]:
    """The files of a card at addresses of their own, as the first address serves them."""
    found = []
    for file in card.files:
        size, digest = hash_of_url(file.urls[0], Access(progress=False))
        found.append(replace(file, size=size, sha256=digest))
    return None, tuple(found)


def _opened(info: ModelInfo, card: Pretrained, opened: bool, text: str) -> str | None:
    """When the real files were loaded: now, if that is asked for, or as the card says."""
    if opened:
        from zoo_core.building import load_found

        access = Access(progress=False)
        place = Elsewhere(info.name, card.repo, card.revision, card.hashes, card, info.spec)
        load_found(place.fetch(access))
        return datetime.now(UTC).date().isoformat()
    stated: dict[str, Any] = tomllib.loads(text)[info.spec.arch][card.tag]
    return stated.get("opened")


def _inline(file: PretrainedFile) -> str:
    """A file as a table of TOML on one line."""
    fields = {"path": file.path, "size": file.size, "sha256": file.sha256}
    fields |= {"urls": list(file.urls)} if file.urls else {}
    return "{ " + ", ".join(f"{key} = {json.dumps(value)}" for key, value in fields.items()) + " }"


def _checked(text: str, before: str, info: ModelInfo) -> str:
    """The text, if it is TOML that differs in this card alone."""
    new, old = tomllib.loads(text), tomllib.loads(before)
    assert info.tag is not None
    for table in (new, old):
        card = table[info.spec.arch][info.tag.tag]
        for key in ("revision", "files", "opened"):
            card.pop(key, None)
    assert new == old, f"{info.name}: its card cannot be edited; write it by hand"
    return text


def _difference(path: Path, before: str, after: str) -> Iterator[str]:
    name = f"{path.parent.name}/{path.name}"
    lines = (before.splitlines(keepends=True), after.splitlines(keepends=True))
    yield from difflib.unified_diff(*lines, name, name)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ZooError as error:
        sys.exit(str(error))
