"""A Hub on this machine alone, from memory, with faults that are asked for.

What it answers to readers is `zoo serve`'s own protocol; who may read, the faults and the writing
are here. It listens on 127.0.0.1 and is bounded by the tests that use it.
"""

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from zoo_core.weights.hub_protocol import Stored, answer

LFS = (".safetensors", ".bin", ".pt")
SECRET = "Signature=s3cr3t"


def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Repo:
    """Commits by hash, each a dict of files; branches by name; who may read it."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False

    def commit(self, files, ref="main"):
        text = repr((sorted(self.commits), sorted((k, git_sha1(v)) for k, v in files.items())))
        sha = hashlib.sha1(text.encode()).hexdigest()
        self.commits[sha] = dict(files)
        self.refs[ref] = sha
        return sha

    def at(self, revision):
        sha = self.refs.get(revision, revision)
        return (sha, self.commits[sha]) if sha in self.commits else (None, None)


@dataclass
class Fault:
    """What goes wrong with requests that match, the next `times` of them."""

    match: str
    kind: str
    value: object = None
    times: int = 1


class Hub:
    """The server: `repos`, `renamed`, `tokens` that may read, `faults`, and what was asked."""

    def __init__(self):
        self.repos: dict[str, Repo] = {}
        self.renamed: dict[str, str] = {}
        self.tokens = {"hf_goodtoken"}
        self.faults: list[Fault] = []
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.cdn = False
        self.open, self.sent = True, 0
        self.edit: Callable[[dict], object] = lambda data: data
        self.uploads: dict[str, bytes] = {}
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # clients that hang up
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self):
        self.open = False
        self.server.shutdown()
        self.server.server_close()

    def add(self, name, files, **options):
        repo = self.repos.setdefault(name, Repo(**options))
        return repo.commit(files)

    def fail(self, match, kind, value=None, times=1):
        self.faults.append(Fault(match, kind, value, times))

    def refs(self, name):
        return self.repos[name].refs if name in self.repos else None

    def files(self, name, commit):
        files = self.repos[name].commits.get(commit)
        return None if files is None else {path: _stored(path, files[path]) for path in files}

    def lines(self):
        return [f"{method} {path}" for method, path, _ in self.asked]

    def fault(self, line):
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.match, line):
                    fault.times -= 1
                    return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def answer(self):
        line = f"{self.command} {self.path}"
        self.hub.asked.append(
            (self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
        )
        self.body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.flaw = self.hub.fault(line)
        if self.flaw and self.flaw.kind == "status":
            status, headers = (
                self.flaw.value if isinstance(self.flaw.value, tuple) else (self.flaw.value, {})
            )
            return self.send(status, b"busy", headers)
        if self.flaw and self.flaw.kind == "answer":
            return self.send(*self.flaw.value)
        if self.flaw and self.flaw.kind == "endless":
            return self.endlessly(self.flaw.value)
        if self.flaw and self.flaw.kind == "stall":
            time.sleep(self.flaw.value)
            self.close_connection = True
            return None
        if self.flaw and self.flaw.kind == "hang up":
            self.close_connection = True
            return None
        return self.route(*urlsplit(self.path)[2:4])

    def route(self, path, query):
        if match := re.match(r"/api/models/([^/]+/[^/]+)|/([^/]+/[^/]+)/resolve/", path):
            if self.repo(match[1] or match[2]) is None:
                return None
        routes = [
            (r"/cdn/([0-9a-f]+)/([^/]+/[^/]+)/(.+)", self.from_cdn),
            (r"/api/repos/create", self.create),
            (r"/api/validate-yaml", lambda: self.json({"errors": [], "warnings": []})),
            (r"/api/models/([^/]+/[^/]+)/preupload/(.+)", self.preupload),
            (r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", self.batch),
            (r"/upload/([0-9a-f]+)", self.upload),
            (r"/verify/([0-9a-f]+)", lambda _: self.json({})),
            (r"/api/models/([^/]+/[^/]+)/commit/(.+)", self.commit),
        ]
        for pattern, action in routes:
            if match := re.fullmatch(pattern, unquote(path)):
                return action(*match.groups())
        return self.read(path, query)

    # reading

    def repo(self, name):
        """The repository, or None after an answer that says why not."""
        token = (self.headers.get("authorization") or "").removeprefix("Bearer ")
        if token and token not in self.hub.tokens and not token.startswith("hf_other"):
            return self.send(
                401, b"", {"X-Error-Message": "Invalid credentials in Authorization header"}
            )
        if name in self.hub.renamed:
            to = self.path.replace(name, self.hub.renamed[name], 1)
            return self.send(307, b"", {"Location": to})
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and not token):
            status = 404 if token else 401
            return self.send(status, b"", {"X-Error-Code": "RepoNotFound"})
        if repo.private and token not in self.hub.tokens:
            return self.send(403, b"", {"X-Error-Message": "not yours"})
        if repo.gated and token not in self.hub.tokens:
            return self.send(403 if token else 401, b"", {"X-Error-Code": "GatedRepo"})
        return repo

    def read(self, path, query):
        found = answer(self.hub, self.command, path, query, self.body)
        if found.file is None:
            data = found.json
            if isinstance(data, dict) and "siblings" in data:
                data = self.hub.edit(data)
            return self.json(data, found.status, found.headers)
        if self.hub.cdn and found.file.large:
            name, commit = re.match(r"/([^/]+/[^/]+)/", path)[1], found.headers["X-Repo-Commit"]
            place = f"cdn/{commit}/{name}/{found.file.path}?{SECRET}"
            to = {"Location": f"http://localhost:{self.hub.port}/{place}"}
            return self.send(302, b"", {**found.headers, **to})
        return self.data(found.file.content, found.headers)

    def from_cdn(self, sha, name, path):
        self.data(self.hub.repos[name].commits[sha][path], {})

    def data(self, data, headers):
        """Bytes, perhaps from a range, perhaps with a flaw."""
        kind, value = (self.flaw.kind, self.flaw.value) if self.flaw else ("", None)
        if kind == "corrupt":
            data = data[:-1] + bytes([data[-1] ^ 1])
        if kind == "instead":
            data = value
        status, total = 200, len(data)
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range") or ""):
            start = int(match[1])
            if start >= total:
                return self.send(416, b"", {"Content-Range": f"bytes */{total}"})
            if kind != "no range":
                data, status = data[start:], 206
                headers = {**headers, "Content-Range": f"bytes {start}-{total - 1}/{total}"}
        if kind == "truncate":
            data = data[: int(len(data) * value)]
        if kind == "drop":
            return self.partly(status, data, headers, int(len(data) * value))
        if kind == "slow":
            return self.slowly(status, data, headers, value)
        if kind == "no end":
            return self.without_an_end(status, data, headers)
        self.send(status, data, headers)

    def partly(self, status, data, headers, n):
        self.head(status, len(data), headers)
        self.wfile.write(data[:n])
        self.wfile.flush()
        self.close_connection = True

    def slowly(self, status, data, headers, seconds):
        self.head(status, len(data), headers)
        for i in range(0, len(data), max(1, len(data) // 20)):
            self.wfile.write(data[i : i + max(1, len(data) // 20)])
            self.wfile.flush()
            time.sleep(seconds / 20)

    def without_an_end(self, status, data, headers):
        """All bytes, and then no word that these were all."""
        self.head(status, None, {**headers, "Transfer-Encoding": "chunked"})
        self.wfile.write(b"%x\r\n" % len(data) + data + b"\r\n")
        self.wfile.flush()
        self.close_connection = True

    def endlessly(self, piece):
        """The same bytes for as long as somebody reads them; `hub.sent` counts."""
        self.head(200, 1 << 40, {})
        self.close_connection = True
        while self.hub.open:
            self.hub.sent += self.wfile.write(piece)
            time.sleep(0.001)

    # writing

    def create(self):
        asked = json.loads(self.body)
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.hub.repos:
            return self.json({"error": "exists", "url": f"{self.hub.url}/{name}"}, 409)
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.hub.repos[name] = Repo(private=private)
        self.hub.repos[name].commit({})
        self.json({"url": f"{self.hub.url}/{name}", "id": name})

    def preupload(self, name, revision):
        files = json.loads(self.body)["files"]
        modes = [
            {"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(LFS) else "regular"}
            for f in files
        ]
        self.json({"files": [m | {"shouldIgnore": False} for m in modes]})

    def batch(self, name):
        objects = [
            {**o, "actions": {"upload": {"href": f"{self.hub.url}/upload/{o['oid']}"}}}
            for o in json.loads(self.body)["objects"]
        ]
        self.json({"transfer": "basic", "objects": objects})

    def upload(self, oid):
        self.hub.uploads[oid] = self.body
        self.send(200, b"")

    def commit(self, name, revision):
        """All operations at once, or none."""
        repo = self.hub.repos[name]
        lines = [json.loads(line) for line in self.body.splitlines()]
        sha, files = repo.at(revision)
        parent = lines[0]["value"].get("parentCommit")
        if parent not in (None, sha):
            return self.send(412, b"")
        files = dict(files)
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.uploads[value["oid"]]
            elif line["key"] == "deletedFile":
                files.pop(value["path"])
        pr = "create_pr=1" in self.path
        sha = repo.commit(files, "refs/pr/1" if pr else revision)
        if self.flaw and self.flaw.kind == "no reply":
            self.close_connection = True
            return None
        link = {"pullRequestUrl": f"{self.hub.url}/{name}/discussions/1"} if pr else {}
        self.json({"commitUrl": f"{self.hub.url}/{name}/commit/{sha}", "commitOid": sha} | link)

    # answering

    def json(self, data, status=200, headers=None):
        body = json.dumps(data).encode()
        headers = {"Content-Type": "application/json", **(headers or {})}
        if self.flaw and self.flaw.kind == "slow":
            return self.slowly(status, body, headers, self.flaw.value)
        return self.send(status, body, headers)

    def send(self, status, data, headers=None):
        self.head(status, len(data), headers or {})
        if self.command != "HEAD":
            self.wfile.write(data)

    def head(self, status, length, headers):
        self.send_response(status)
        size = {} if length is None else {"Content-Length": str(length)}
        for name, value in {**size, **headers}.items():
            self.send_header(name, value)
        self.end_headers()


@lru_cache(maxsize=64)
def _stored(path, data):
    digest = hashlib.sha256(data).hexdigest()
    return Stored(path, len(data), digest, git_sha1(data), path.endswith(LFS), data)
