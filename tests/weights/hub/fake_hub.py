"""A Hub on this machine alone: its protocol, from memory, with faults that are asked for.

Written after what the real client sends and expects; it listens on 127.0.0.1 and is bounded by
the tests that use it.
"""

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

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
        self.server.shutdown()
        self.server.server_close()

    def add(self, name, files, **options):
        repo = self.repos.setdefault(name, Repo(**options))
        return repo.commit(files)

    def fail(self, match, kind, value=None, times=1):
        self.faults.append(Fault(match, kind, value, times))

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
        if self.flaw and self.flaw.kind == "stall":
            time.sleep(self.flaw.value)
            self.close_connection = True
            return None
        if self.flaw and self.flaw.kind == "hang up":
            self.close_connection = True
            return None
        return self.route(unquote(urlsplit(self.path).path), parse_qs(urlsplit(self.path).query))

    def route(self, path, query):
        routes = [
            (r"/api/models/([^/]+/[^/]+)", self.info),
            (r"/api/models/([^/]+/[^/]+)/revision/(.+)", self.info),
            (r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", self.tree),
            (r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.resolve),
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
            if match := re.fullmatch(pattern, path):
                return action(*match.groups())
        return self.send(404, b"no such route")

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

    def info(self, name, revision="main"):
        if (repo := self.repo(name)) is None:
            return
        sha, files = repo.at(revision)
        if sha is None:
            return self.send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        data = {"id": name, "sha": sha, "siblings": [_sibling(*item) for item in files.items()]}
        self.json(self.hub.edit(data))

    def tree(self, name, revision):
        if (repo := self.repo(name)) is None:
            return
        sha, files = repo.at(revision)
        if sha is None:
            return self.send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        entries = []
        for path, data in files.items():
            entry = {"type": "file", "path": path, "size": len(data), "oid": git_sha1(data)}
            if path.endswith(LFS):
                digest = hashlib.sha256(data).hexdigest()
                entry["lfs"] = {"oid": digest, "size": len(data), "pointerSize": 130}
            entries.append(entry)
        self.json(entries)

    def resolve(self, name, revision, path):
        if (repo := self.repo(name)) is None:
            return
        sha, files = repo.at(revision)
        if sha is None or path not in files:
            code = "RevisionNotFound" if sha is None else "EntryNotFound"
            return self.send(
                404, b"", {"X-Error-Code": code} | ({"X-Repo-Commit": sha} if sha else {})
            )
        data = files[path]
        headers = {"X-Repo-Commit": sha, "ETag": f'"{git_sha1(data)}"', "Accept-Ranges": "bytes"}
        if path.endswith(LFS):
            digest = hashlib.sha256(data).hexdigest()
            headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(data))}
            headers["ETag"] = f'"{digest}"'
            if self.hub.cdn:
                to = f"http://localhost:{self.hub.port}/cdn/{sha}/{name}/{path}?{SECRET}"
                return self.send(302, b"", headers | {"Location": to})
        self.data(data, headers)

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
                headers = headers | {"Content-Range": f"bytes {start}-{total - 1}/{total}"}
        if kind == "truncate":
            data = data[: int(len(data) * value)]
        if kind == "drop":
            return self.partly(status, data, headers, int(len(data) * value))
        if kind == "slow":
            return self.slowly(status, data, headers, value)
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

    def json(self, data, status=200):
        body, headers = json.dumps(data).encode(), {"Content-Type": "application/json"}
        if self.flaw and self.flaw.kind == "slow":
            return self.slowly(status, body, headers, self.flaw.value)
        self.send(status, body, headers)

    def send(self, status, data, headers=None):
        self.head(status, len(data), headers or {})
        if self.command != "HEAD":
            self.wfile.write(data)

    def head(self, status, length, headers):
        self.send_response(status)
        for name, value in ({"Content-Length": str(length)} | headers).items():
            self.send_header(name, value)
        self.end_headers()


def _sibling(path, data):
    sibling = {"rfilename": path, "size": len(data), "blobId": git_sha1(data)}
    if path.endswith(LFS):
        digest = hashlib.sha256(data).hexdigest()
        sibling["lfs"] = {"sha256": digest, "size": len(data), "pointerSize": 130}
    return sibling
