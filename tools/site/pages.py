"""Pages of the site: hand-written files of the repository and generated text, and their links.

A page has a path within the site. A link between files of the repository becomes one between their
pages. A link to any other file of the repository leads to `repo_url`, or becomes plain text while
that is empty. A link to a file that is not there is an error.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tools.site.cache import ROOT

# What is copied into the site beside docs/, by its place there.
BESIDE = {
    "CONTRIBUTING.md": "development/contributing.md",
    "CHANGELOG.md": "development/changelog.md",
    "SECURITY.md": "development/security.md",
}
_LINK = re.compile(r"(?P<head>!?\[(?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*\])\((?P<target>[^()\s]+)\)")
_CODE = re.compile(r"(^(?: *)```.*?^(?: *)```|``[^`]*``|`[^`\n]*`)", re.MULTILINE | re.DOTALL)


class SiteError(Exception):
    """A page that cannot be built, such as one with a broken link."""


def sources() -> dict[str, str]:
    """Files of the repository that are pages or pictures of the site, and their paths there."""
    docs = [p.relative_to(ROOT) for p in sorted((ROOT / "docs").rglob("*")) if p.is_file()]
    found = {p.as_posix(): p.relative_to("docs").as_posix() for p in docs}
    readmes = sorted((ROOT / "plugins").glob("*/README.md"))
    families = {
        p.relative_to(ROOT).as_posix(): f"models/{p.parent.name}/index.md" for p in readmes
    }
    return {**found, **BESIDE, **families}


def copy(files: dict[str, str], out: Path, repo_url: str) -> None:
    """Copy the files of `sources` to their places, with links that lead there."""
    for source, place in files.items():
        (out / place).parent.mkdir(parents=True, exist_ok=True)
        if source.endswith(".md"):
            text = (ROOT / source).read_text()
            (out / place).write_text(relinked(text, source, files, repo_url))
        else:
            shutil.copy(ROOT / source, out / place)


def relinked(text: str, source: str, files: dict[str, str], repo_url: str) -> str:
    """The Markdown of a file of the repository, with links for its place in the site."""
    parts = _CODE.split(text)  # code at odd indices
    for i in range(0, len(parts), 2):
        parts[i] = _LINK.sub(
            lambda m: _link(m["head"], m["target"], source, files, repo_url), parts[i]
        )
    return "".join(parts)


def _link(head: str, target: str, source: str, files: dict[str, str], repo_url: str) -> str:
    if re.match(r"[a-z]+:|#", target):
        return f"{head}({target})"
    if "](" in head:  # a picture inside the link
        head = _LINK.sub(lambda m: _link(m["head"], m["target"], source, files, repo_url), head)
    path, hash_, anchor = target.partition("#")
    aim = os.path.normpath(PurePosixPath(source).parent / path)
    if not (ROOT / aim).exists():
        raise SiteError(f"{source}: the link to {target} leads nowhere: there is no {aim}")
    if aim in files:
        start = PurePosixPath(files[source]).parent
        return f"{head}({os.path.relpath(files[aim], start)}{hash_}{anchor})"
    if repo_url:
        return f"{head}({repo_url}/blob/main/{aim}{hash_}{anchor})"
    return head.removeprefix("[").removesuffix("]")


def titles(folder: Path) -> Iterator[tuple[str, str]]:
    """The title and the path of each page in a folder, the index first."""
    pages = sorted(folder.glob("*.md"), key=lambda p: (p.stem != "index", p.stem))
    for page in pages:
        yield title(page), page.name


def title(page: Path) -> str:
    """The first heading of a page."""
    for line in page.read_text().splitlines():
        if line.startswith("# "):
            return line.removeprefix("# ").strip().replace("`", "")
    raise SiteError(f"{page}: a page begins with a heading")
