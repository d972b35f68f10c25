"""The read side of the Hub's protocol: which answer a request gets, whatever serves it.

`zoo serve` answers so over a folder, and the Hub of the tests over memory. Paths of files are
looked up among those of a commit and never joined to a folder.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote

from zoo_core.reading import parse_json

__all__ = ["Answer", "Repositories", "Stored", "answer"]

_NAME = r"(?P<repo>[^/]+/[^/]+)"
_REVISION = r"(?P<revision>[^/]+)"
_EPOCH = "1970-01-01T00:00:00.000Z"
"""The date of every commit: a folder knows none."""


@dataclass(frozen=True)
class Stored:
    """A file of a commit with both of its hashes; `large` ones are named by the SHA-256."""

    path: str
    size: int
    sha256: str
    git: str
    large: bool
    content: Path | bytes = field(repr=False)

    @property
    def digest(self) -> str:
        return self.sha256 if self.large else self.git


class Repositories(Protocol):
    """What is served."""

    def repos(self) -> list[str]:
        """The names org/name."""

    def refs(self, repo: str) -> Mapping[str, str] | None:
        """The commits of the branches; None if there is no such repository."""

    def files(self, repo: str, commit: str) -> Mapping[str, Stored] | None:
        """The files of a commit by path; None if there is no such commit."""


@dataclass(frozen=True)
class Answer:
    """A status with headers and either JSON or a file, whose bytes the server sends."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    file: Stored | None = None


class _Refused(Exception):
    def __init__(self, code: str, **headers: str) -> None:
        self.answer = Answer(404, {"X-Error-Code": code, **headers}, {"error": code})


@dataclass(frozen=True)
class _Request:
    """The parts of a request: the repository's files at a revision, and what is asked of them."""

    source: Repositories
    query: Mapping[str, list[str]]
    repo: str = ""
    revision: str = "main"
    path: str = ""

    @property
    def commit(self) -> str:
        refs = self.source.refs(self.repo)
        if refs is None:
            raise _Refused("RepoNotFound")
        return refs.get(self.revision, self.revision)

    def at(self) -> tuple[str, Mapping[str, Stored]]:
        """The commit of the revision, and its files."""
        files = self.source.files(self.repo, commit := self.commit)
        if files is None:
            raise _Refused("RevisionNotFound")
        return commit, files


def answer(
    source: Repositories, method: str, path: str, query: str = "", body: bytes = b""
) -> Answer:
    """The answer to a request; `path` is as it was sent, with its percent signs."""
    for verb, pattern, reply in _ROUTES:
        if match := re.fullmatch(pattern, path):
            if method not in (verb, "HEAD" if verb == "GET" else verb):
                return Answer(405, json={"error": f"{method} is not served"})
            groups = {k: unquote(v) for k, v in match.groupdict().items() if v is not None}
            asked = _form(body) if verb == "POST" else parse_qs(query)
            try:
                return reply(_Request(source, asked, **groups))
            except _Refused as refused:
                return refused.answer
    return Answer(404, json={"error": "no such address"})


def _form(body: bytes) -> dict[str, list[str]]:
    """The fields of a form, or of the JSON that older and newer clients send."""
    text = body.decode(errors="replace")
    try:
        fields = parse_json(text).items()
    except (ValueError, AttributeError):
        return parse_qs(text)
    return {k: [str(x) for x in v] if isinstance(v, list) else [str(v)] for k, v in fields}


def _models(request: _Request) -> Answer:
    """Repositories by owner (`author`) and part of the name (`search`); none has tags."""
    author, search, limit = (request.query.get(k, [""])[0] for k in ("author", "search", "limit"))
    names = [
        repo
        for repo in request.source.repos()
        if repo.partition("/")[0] == (author or repo.partition("/")[0])
        and search.lower() in repo.lower()
        and "filter" not in request.query
    ]
    names = names[: int(limit)] if limit.isdecimal() else names
    return Answer(json=[{"id": repo, "modelId": repo} for repo in names])


def _info(request: _Request) -> Answer:
    commit, files = request.at()
    siblings = [_sibling(file) for file in files.values()]
    names = {"id": request.repo, "modelId": request.repo, "author": request.repo.split("/")[0]}
    state = {"sha": commit, "private": False, "gated": False, "tags": [], "downloads": 0}
    return Answer(json=names | state | {"siblings": siblings})


def _tree(request: _Request) -> Answer:
    """Everything below a folder if `recursive`, else only what is in it."""
    _, files = request.at()
    top = f"{request.path.rstrip('/')}/" if request.path else ""
    names = [name for name in (*_folders(files), *files) if name.startswith(top)]
    if top and not names:
        raise _Refused("EntryNotFound")
    if request.query.get("recursive", ["false"])[0].lower() not in ("true", "1"):
        names = [name for name in names if "/" not in name.removeprefix(top)]
    return Answer(json=[_entry(name, files) for name in names])


def _paths_info(request: _Request) -> Answer:
    _, files = request.at()
    known = {*files, *_folders(files)}
    return Answer(json=[_entry(p, files) for p in request.query.get("paths", []) if p in known])


def _folders(names: Iterable[str]) -> list[str]:
    """The folders that the files are in."""
    parents = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    return sorted(parents - {"."})


def _refs(request: _Request) -> Answer:
    refs = request.source.refs(request.repo)
    if refs is None:
        raise _Refused("RepoNotFound")
    branches = [
        {"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit}
        for name, commit in refs.items()
    ]
    return Answer(json={"branches": branches, "converts": [], "tags": [], "pullRequests": []})


def _commits(request: _Request) -> Answer:
    """The one commit that a revision is: what was before is not kept."""
    commit, _ = request.at()
    author = {"user": request.repo.partition("/")[0]}
    entry = {"id": commit, "authors": [author], "date": _EPOCH, "title": commit, "message": ""}
    return Answer(json=[entry])


def _may_read(request: _Request) -> Answer:
    request.at()
    return Answer(json={})


def _resolve(request: _Request) -> Answer:
    commit, files = request.at()
    file = files.get(request.path)
    if file is None:
        raise _Refused("EntryNotFound", **{"X-Repo-Commit": commit})
    etag = f'"{file.digest}"'
    headers = {"X-Repo-Commit": commit, "ETag": etag, "X-Content-Type-Options": "nosniff"}
    if file.large:
        headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(file.size)}
    headers |= {"Content-Disposition": "attachment", "Accept-Ranges": "bytes"}
    return Answer(headers=headers, file=file)


def _sibling(file: Stored) -> dict[str, Any]:
    lfs = {"sha256": file.sha256, "size": file.size, "pointerSize": 134}
    sibling = {"rfilename": file.path, "size": file.size, "blobId": file.git}
    return sibling | ({"lfs": lfs} if file.large else {})


def _entry(path: str, files: Mapping[str, Stored]) -> dict[str, Any]:
    """A file or a folder, which has no hash of its own here."""
    if path not in files:
        return {"type": "directory", "path": path, "oid": "0" * 40, "size": 0}
    file = files[path]
    lfs = {"oid": file.sha256, "size": file.size, "pointerSize": 134}
    entry = {"type": "file", "path": path, "size": file.size, "oid": file.git}
    return entry | ({"lfs": lfs} if file.large else {})


_API = rf"/api/models/{_NAME}"
_ROUTES: tuple[tuple[str, str, Callable[[_Request], Answer]], ...] = (
    ("GET", r"/api/models", _models),
    ("GET", _API, _info),
    ("GET", rf"{_API}/revision/{_REVISION}", _info),
    ("GET", rf"{_API}/tree/{_REVISION}(?:/(?P<path>.*))?", _tree),
    ("POST", rf"{_API}/paths-info/{_REVISION}", _paths_info),
    ("GET", rf"{_API}/refs", _refs),
    ("GET", rf"{_API}/commits/{_REVISION}", _commits),
    ("GET", rf"{_API}/auth-check", _may_read),
    ("GET", rf"/{_NAME}/resolve/{_REVISION}/(?P<path>.+)", _resolve),
)
