"""A read-only server of a folder of models that speaks the Hub's protocol.

Clients set `HF_ENDPOINT` to its address. It reads only files below the folder.
"""

from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from zoo_core.weights.hub.client import Commit
from zoo_core.weights.local_repository import LocalFile, LocalRepositories

__all__ = ["application"]


def application(root: Path) -> Starlette:
    """The ASGI application that serves a folder."""
    repositories = LocalRepositories(root)

    def models(request: Request) -> Response:
        return JSONResponse([{"id": repo, "modelId": repo} for repo in repositories.repos()])

    def info(request: Request) -> Response:
        commit, files = _commit(repositories, request)
        siblings = [_sibling(file) for file in files.values()]
        data = {"id": commit.repo, "modelId": commit.repo, "sha": commit.sha, "private": False}
        return JSONResponse(data | {"siblings": siblings, "tags": [], "downloads": 0})

    def tree(request: Request) -> Response:
        _, files = _commit(repositories, request)
        return JSONResponse([_entry(file) for file in files.values()])

    def resolve(request: Request) -> Response:
        commit, files = _commit(repositories, request)
        path = request.path_params["path"]
        file = files.get(unquote(path)) or files.get(path)
        if file is None:
            raise _missing("EntryNotFound", {"X-Repo-Commit": commit.sha})
        return FileResponse(file.path, headers=_headers(commit, file))

    name = "{org}/{name}"
    return Starlette(
        routes=[
            Route("/api/models", models),
            Route(f"/api/models/{name}", info),
            Route(f"/api/models/{name}/revision/{{revision:path}}", info),
            Route(f"/api/models/{name}/tree/{{revision}}", tree),
            Route(f"/{name}/resolve/{{revision}}/{{path:path}}", resolve),
        ]
    )


def _commit(
    repositories: LocalRepositories, request: Request
) -> tuple[Commit, dict[str, LocalFile]]:
    """The commit that a request names; raises the Hub's 404 answers."""
    params = request.path_params
    commit = repositories.commit(f"{params['org']}/{params['name']}")
    if commit is None:
        raise _missing("RepoNotFound")
    if unquote(params.get("revision", "main")) not in ("main", commit[0].sha):
        raise _missing("RevisionNotFound")
    return commit


def _missing(code: str, headers: dict[str, str] | None = None) -> HTTPException:
    return HTTPException(404, code, {"X-Error-Code": code, **(headers or {})})


def _headers(commit: Commit, held: LocalFile) -> dict[str, str]:
    etag = f'"{held.file.digest}"'
    headers = {"X-Repo-Commit": commit.sha, "ETag": etag, "X-Content-Type-Options": "nosniff"}
    if held.large:
        headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(held.file.size)}
    return headers | {"Content-Disposition": "attachment", "Accept-Ranges": "bytes"}


def _sibling(held: LocalFile) -> dict[str, Any]:
    file = held.file
    lfs = {"sha256": held.sha256, "size": file.size, "pointerSize": 134}
    sibling = {"rfilename": file.path, "size": file.size, "blobId": held.git}
    return sibling | ({"lfs": lfs} if held.large else {})


def _entry(held: LocalFile) -> dict[str, Any]:
    file = held.file
    lfs = {"oid": held.sha256, "size": file.size, "pointerSize": 134}
    entry = {"type": "file", "path": file.path, "size": file.size, "oid": held.git}
    return entry | ({"lfs": lfs} if held.large else {})
