"""A folder of models over the Hub's protocol, for those without the internet.

`HF_ENDPOINT` pointed at it is all that a client needs. It only reads, and only what is below the
folder.
"""

from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from zoo_core.weights.hub_protocol import answer
from zoo_core.weights.local_repository import LocalRepositories

__all__ = ["application"]

_MAX_BODY = 1 << 20
"""Bytes of a request, which names paths."""


def application(root: Path) -> Starlette:
    """The server of a folder, to be run by any ASGI server."""
    local = LocalRepositories(root)

    async def reply(request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_BODY:
                return Response(status_code=413)
        path, query = request.scope["raw_path"].decode("latin-1"), request.url.query
        # hashing a new file takes its time: not in the thread that serves everybody
        found = await run_in_threadpool(answer, local, request.method, path, query, bytes(body))
        headers = dict(found.headers)
        if found.file is None:
            return JSONResponse(found.json, found.status, headers)
        assert isinstance(found.file.content, Path)
        return FileResponse(found.file.content, headers=headers)

    verbs = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    return Starlette(routes=[Route("/{path:path}", reply, methods=verbs)])
