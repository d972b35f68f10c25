"""`zoo serve`: the read side of the Hub, to our own client and to those of others."""

import hashlib
import http.client
import os
import signal
import subprocess
import sys
import threading
from urllib.parse import urlsplit

import pytest

import zoo_core as zoo
from zoo_core.errors import DataError, UnknownNameError
from zoo_core.weights.checkpoint import GOLDEN, METADATA, WEIGHTS

uvicorn = pytest.importorskip("uvicorn", reason="needs density-zoo[serve]")
pytest.importorskip("starlette", reason="needs density-zoo[serve]")

MODEL = "hf://me/mini"


@pytest.fixture
def repositories(files, tmp_path):
    """A folder with the model `me/mini`, a secret beside it, and links of every kind."""
    root = tmp_path / "repositories"
    folder = root / "me" / "mini"
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (tmp_path / "secret").write_text("s3cr3t")
    (folder / "leak.txt").symlink_to(tmp_path / "secret")
    (folder / "inside.txt").symlink_to(folder / METADATA)
    (folder / "up").symlink_to(tmp_path)
    (root / "me" / "linked").symlink_to(tmp_path)
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("s3cr3t")
    return root


@pytest.fixture
def mirror(hub, repositories, monkeypatch):
    """The server on a free port; HF_ENDPOINT points at it."""
    import socket

    from zoo_core.weights.serve import application

    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(application(repositories), log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    monkeypatch.setenv("HF_ENDPOINT", url)
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    yield url
    server.should_exit = True
    thread.join(10)


def ask(url, path, method="GET", **headers):
    """One request as it is written, without anybody's tidying of the path."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    connection.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    response = connection.getresponse()
    found = response.status, dict(response.getheaders()), response.read()
    connection.close()
    return found


def test_our_client_loads_from_it_and_then_without_it(mirror, minis, hub):
    model = zoo.load(MODEL)
    commit = model.origin.partition("@")[2]
    assert model.config.side == 2 and hub.asked == []
    assert zoo.load(f"{MODEL}@{commit}", offline=True).origin == model.origin
    for name in ("hf://me/none", f"{MODEL}@none"):
        with pytest.raises(UnknownNameError):
            zoo.load(name)


def test_huggingface_hub_downloads_from_it(mirror, files, tmp_path):
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

    path = hf_hub_download("me/mini", WEIGHTS, cache_dir=tmp_path / "c", endpoint=mirror)
    assert open(path, "rb").read() == files[WEIGHTS]
    folder = snapshot_download("me/mini", cache_dir=tmp_path / "c", endpoint=mirror)
    assert set(os.listdir(folder)) == {METADATA, WEIGHTS, GOLDEN, "inside.txt"}
    info = HfApi(mirror).model_info("me/mini", files_metadata=True)
    lfs = {s.rfilename: s.lfs.sha256 for s in info.siblings if s.lfs}
    assert lfs[WEIGHTS] == hashlib.sha256(files[WEIGHTS]).hexdigest()
    with pytest.raises(EntryNotFoundError):
        hf_hub_download("me/mini", "none", cache_dir=tmp_path / "c", endpoint=mirror)
    with pytest.raises(RepositoryNotFoundError):
        HfApi(mirror).model_info("me/none")


def _names(entries):
    return [entry.path for entry in entries]


REPO = "me/mini"
CALLS = {
    "model_info": lambda api: api.model_info(REPO).author == "me",
    "model_info, with files": lambda api: (
        {s.size for s in api.model_info(REPO, files_metadata=True).siblings} >= {3}
    ),
    "model_info of a commit": lambda api: (
        api.model_info(REPO, revision=api.model_info(REPO).sha).id == REPO
    ),
    "repo_info": lambda api: api.repo_info(REPO, revision="main").sha == api.model_info(REPO).sha,
    "repo_exists": lambda api: api.repo_exists(REPO) and not api.repo_exists("me/none"),
    "revision_exists": lambda api: (
        api.revision_exists(REPO, "main") and not api.revision_exists(REPO, "none")
    ),
    "file_exists": lambda api: api.file_exists(REPO, WEIGHTS) and not api.file_exists(REPO, "x"),
    "list_models": lambda api: [m.id for m in api.list_models()] == [REPO, "you/other"],
    "list_models by author": lambda api: [m.id for m in api.list_models(author="me")] == [REPO],
    "list_models by search": lambda api: [m.id for m in api.list_models(search="MINI")] == [REPO],
    "list_models by both": lambda api: not list(api.list_models(author="you", search="mini")),
    "list_models, limited": lambda api: len(list(api.list_models(limit=1))) == 1,
    "list_models by tag": lambda api: not list(api.list_models(filter="text")),
    "list_repo_files": lambda api: "sub/deep/x.txt" in api.list_repo_files(REPO),
    "list_repo_tree": lambda api: (
        {"sub", WEIGHTS} <= set(_names(api.list_repo_tree(REPO)))
        and "sub/deep" not in _names(api.list_repo_tree(REPO))
    ),
    "list_repo_tree, recursive": lambda api: (
        {"sub", "sub/deep", "sub/deep/x.txt"}
        <= set(_names(api.list_repo_tree(REPO, recursive=True)))
    ),
    "list_repo_tree of a folder": lambda api: (
        _names(api.list_repo_tree(REPO, "sub")) == ["sub/deep"]
    ),
    "list_repo_refs": lambda api: (
        [(b.name, b.target_commit) for b in api.list_repo_refs(REPO).branches]
        == [("main", api.model_info(REPO).sha)]
    ),
    "list_repo_commits": lambda api: (
        [c.commit_id for c in api.list_repo_commits(REPO)] == [api.model_info(REPO).sha]
    ),
    "get_paths_info": lambda api: (
        _names(api.get_paths_info(REPO, [WEIGHTS, "sub", "none"])) == [WEIGHTS, "sub"]
    ),
    "get_hf_file_metadata": lambda api: (
        api.get_hf_file_metadata(url=f"{api.endpoint}/{REPO}/resolve/main/sub/deep/x.txt").size
        == 3
    ),
    "get_safetensors_metadata": lambda api: api.get_safetensors_metadata(REPO).parameter_count,
    "auth_check": lambda api: api.auth_check(REPO) is None,
}


def test_huggingface_hub_gets_an_answer_to_all_that_it_asks_of_a_model(mirror, repositories):
    """Each of its reading calls, and what it must say."""
    from huggingface_hub import HfApi

    (repositories / "me" / "mini" / "sub" / "deep").mkdir(parents=True)
    (repositories / "me" / "mini" / "sub" / "deep" / "x.txt").write_text("abc")
    (repositories / "you" / "other").mkdir(parents=True)
    api = HfApi(mirror)
    wrong = {}
    for name, law in CALLS.items():
        try:
            if not law(api):
                wrong[name] = "another answer"
        except Exception as error:
            wrong[name] = repr(error)[:200]
    assert wrong == {}


def test_ranges_are_served(mirror, files):
    path = f"/me/mini/resolve/main/{WEIGHTS}"
    data = files[WEIGHTS]
    status, headers, body = ask(mirror, path, range="bytes=100-")
    assert (status, body) == (206, data[100:])
    assert headers["content-range"] == f"bytes 100-{len(data) - 1}/{len(data)}"
    assert ask(mirror, path, range=f"bytes={len(data)}-")[0] == 416
    status, headers, body = ask(mirror, path, method="HEAD")
    assert (status, body) == (200, b"") and headers["content-length"] == str(len(data))
    assert headers["x-linked-etag"] == f'"{hashlib.sha256(data).hexdigest()}"'


OUTSIDE = [
    "/me/mini/resolve/main/../../../secret",
    "/me/mini/resolve/main/..%2f..%2f..%2fsecret",
    "/me/mini/resolve/main/%2e%2e/%2e%2e/%2e%2e/secret",
    "/me/mini/resolve/main/..%252f..%252f..%252fsecret",
    "/me/mini/resolve/main//etc/passwd",
    "/me/mini/resolve/main/%2fetc%2fpasswd",
    "/me/mini/resolve/main/leak.txt",
    "/me/mini/resolve/main/up/secret",
    "/me/mini/resolve/main/.git/config",
    "/me/linked/resolve/main/secret",
    "/../secret/resolve/main/x",
    "/me/../resolve/main/secret",
    "/me/%2e%2e/resolve/main/secret",
    "/api/models/../..",
    "/api/models/me/..",
    "/me/mini/resolve/..%2f/secret",
    "/me/mini/resolve/main/zoo.json%00",
    "/secret",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_nothing_outside_the_folder_is_served(mirror, path):
    status, _, body = ask(mirror, path)
    assert status in (400, 404) and b"s3cr3t" not in body and b"root:" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_it_only_reads(mirror, repositories, method):
    before = {p: p.lstat().st_mtime_ns for p in repositories.rglob("*")}
    for path in ("/api/models/me/mini", f"/me/mini/resolve/main/{WEIGHTS}", "/api/repos/create"):
        assert ask(mirror, path, method=method)[0] in (404, 405)
    assert {p: p.lstat().st_mtime_ns for p in repositories.rglob("*")} == before


def test_a_changed_file_is_a_new_commit(mirror, minis, repositories):
    first = zoo.load(MODEL).origin
    zoo.create("mini_ar", side=2, hidden=4).save(repositories / "me" / "small")
    for name in (METADATA, WEIGHTS):
        (repositories / "me" / "mini" / name).write_bytes(
            (repositories / "me" / "small" / name).read_bytes()
        )
    again = zoo.load(MODEL)
    assert again.origin != first and again.config.hidden == 4


def test_many_clients_at_once_get_the_same(mirror, files):
    found = []

    def client():
        found.append(ask(mirror, f"/me/mini/resolve/main/{WEIGHTS}")[2])

    threads = [threading.Thread(target=client) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [files[WEIGHTS]] * 24


def test_what_it_lists_are_the_models(mirror):
    assert ask(mirror, "/api/models")[2] == b'[{"id":"me/mini","modelId":"me/mini"}]'


def test_the_command_serves_until_it_is_interrupted(repositories, hub, minis, tmp_path):
    command = [sys.executable, "-m", "zoo_core", "serve", str(repositories), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
        try:
            url = p.stdout.readline().strip().removeprefix("export HF_ENDPOINT=")
            assert zoo.load(MODEL, endpoint=url, cache_dir=tmp_path / "c").config.side == 2
        finally:
            p.send_signal(signal.SIGINT)
        p.communicate(timeout=30)
    assert p.returncode is not None


def test_what_cannot_be_served_is_said(zoo_command, tmp_path, repositories):
    import socket

    from zoo_core.weights.local_repository import LocalRepositories

    with pytest.raises(DataError, match="is no folder"):
        LocalRepositories(tmp_path / "none")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = zoo_command("serve", repositories, "--port", port)
    assert code == 2 and f"127.0.0.1:{port} cannot be listened on" in err
