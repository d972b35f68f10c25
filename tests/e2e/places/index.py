"""A package index on this machine: the simple API in HTML (PEP 503) or JSON (PEP 691)."""

import base64
import hashlib
import html
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

JSON = "application/vnd.pypi.simple.v1+json"


@dataclass
class File:
    """A file of a project, and what the index says of it."""

    path: Path
    yanked: str | None = None
    digest: str | None = None
    requires_python: str | None = None

    @property
    def sha256(self):
        return self.digest or hashlib.sha256(self.path.read_bytes()).hexdigest()


@dataclass
class Index:
    """`projects` by normalized name; `asked` are the paths of the requests."""

    json: bool
    user: str | None = None
    projects: dict[str, list[File]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self):
        handler = type("Handler", (_Handler,), {"index": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self):
        user = f"{self.user}@" if self.user else ""
        return f"http://{user}127.0.0.1:{self.server.server_port}/simple"

    def add(self, path, **said):
        """Publish a file under the project that its name says."""
        project = path.name.split("-")[0].replace("_", "-").lower()
        self.projects.setdefault(project, []).append(File(path, **said))
        return path

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    index: Index

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.index.asked.append(self.path)
        if self.index.user and self.headers.get("authorization") != _basic(self.index.user):
            return self.send(401, b"", "text/plain", {"WWW-Authenticate": 'Basic realm="index"'})
        match self.path.strip("/").split("/"):
            case ["simple", project] if project in self.index.projects:
                return self.project(project)
            case ["files", name]:
                files = [f for found in self.index.projects.values() for f in found]
                if path := next((f.path for f in files if f.path.name == name), None):
                    return self.send(200, path.read_bytes(), "application/octet-stream")
        return self.send(404, b"not found", "text/plain")

    do_HEAD = do_GET

    def project(self, name):
        files = self.index.projects[name]
        if self.index.json and JSON in self.headers.get("accept", ""):
            return self.send(200, json.dumps(_json(name, files)).encode(), JSON)
        self.send(200, _html(files).encode(), "text/html")

    def send(self, status, body, kind, headers=None):
        self.send_response(status)
        sent = {"Content-Type": kind, "Content-Length": str(len(body))} | (headers or {})
        for name, value in sent.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _basic(user):
    return f"Basic {base64.b64encode(user.encode()).decode()}"


def _json(name, files):
    return {
        "meta": {"api-version": "1.1"},
        "name": name,
        "versions": sorted({f.path.name.split("-")[1] for f in files}),
        "files": [
            {
                "filename": f.path.name,
                "url": f"/files/{f.path.name}",
                "hashes": {"sha256": f.sha256},
                "size": f.path.stat().st_size,
                "yanked": f.yanked or False,
                **({"requires-python": f.requires_python} if f.requires_python else {}),
            }
            for f in files
        ],
    }


def _html(files):
    links = []
    for f in files:
        said = {"data-yanked": f.yanked, "data-requires-python": f.requires_python}
        shown = "".join(f' {k}="{html.escape(v)}"' for k, v in said.items() if v)
        name = f.path.name
        links.append(f'<a href="../../files/{name}#sha256={f.sha256}"{shown}>{name}</a>')
    return f"<!DOCTYPE html><html><body>{'<br>'.join(links)}</body></html>"
