"""A Hub that refuses, lies, breaks off or is in the way: clear errors, and nothing wrong kept.

Numbers are those of the list of bad inputs in the design notes: no code runs, nothing outside
the cache changes, no model is half built, and messages name the file and the remedy.
"""

import json
import logging
import multiprocessing
import os
import resource
import signal
import sys
import time

import pytest

import zoo_core as zoo
from zoo_core.catalog.layout import zoo_files
from zoo_core.errors import (
    IntegrityError,
    NetworkError,
    OutputError,
    UnknownNameError,
    UsageError,
    ZooError,
)
from zoo_core.weights.checkpoint import METADATA, WEIGHTS
from zoo_core.weights.hub import client, patience
from zoo_core.weights.hub.access import Access
from zoo_core.weights.hub.library import http_error
from zoo_core.weights.hub.redaction import redact
from zoo_core.weights.hub.snapshot import snapshot

MODEL = "hf://me/mini"


def everything(folder):
    return {p for p in folder.rglob("*") if p.is_file()}


def no_leftovers(cache):
    return not list(cache.rglob("*.incomplete"))


# 1, 3, 23: pickles and code are never asked for


def test_pickles_without_safetensors_are_refused_unread(hub, minis, files, cache):
    hub.add("me/mini", {METADATA: files[METADATA], "weights.bin": b"\x80\x04cos\nsystem\n."})
    with pytest.raises(IntegrityError, match=f"no {WEIGHTS}. weights.bin can run code") as caught:
        zoo.load(MODEL)
    assert "zoo convert" in caught.value.hint
    assert len(hub.asked) == 1
    assert not list(cache.glob("models--*/blobs/*"))


def test_only_what_makes_the_model_is_asked_for(hub, minis, files):
    code = dict.fromkeys(("modeling.py", "setup.py", "pytorch_model.bin", "x/zoo.py"), b"boom")
    hub.add("me/mini", files | code)
    zoo.load(MODEL)
    asked = {line.rpartition("/")[2] for line in hub.lines()[1:]}
    assert asked == set(files)


def test_metadata_name_no_code(hub, minis, files):
    data = json.loads(files[METADATA]) | {"auto_map": {"AutoModel": "modeling.M"}}
    evil = data | {"arch": "os:system"}
    hub.add("me/mini", files | {METADATA: json.dumps(data).encode()})
    assert zoo.load(MODEL).config.side == 2
    hub.add("me/mini", files | {METADATA: json.dumps(evil).encode()})
    with pytest.raises(ZooError, match="os:system"):
        zoo.load(MODEL)


def test_a_repository_of_another_layout_says_how_to_convert_it(hub, minis):
    hub.add("me/mini", {"model_index.json": b"{}", "unet/config.json": b"{}"})
    with pytest.raises(UsageError, match="diffusers' layout") as caught:
        zoo.load(MODEL)
    assert "zoo convert" in caught.value.hint


# 11, 12: bytes that are not what is listed

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
WRONG = {
    "corrupt": ("corrupt", None, "has the hash"),
    "truncated": ("truncate", 0.5, "has the hash"),
    "an LFS pointer": ("instead", POINTER, "Git LFS pointer"),
    "a login page": ("instead", b"<!DOCTYPE html><html>sign in</html>", "web page"),
    "too long": ("instead", b"x" * 100_000, "has the hash"),
    "empty": ("instead", b"", "has the hash"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_bytes_are_fetched_once_more_and_never_used(hub, commit, cache, what):
    kind, value, message = WRONG[what]
    hub.fail(WEIGHTS, kind, value, times=2)
    with pytest.raises(IntegrityError, match=message) as caught:
        zoo.load(MODEL)
    assert WEIGHTS in caught.value.message and caught.value.hint
    assert len([line for line in hub.lines() if WEIGHTS in line]) == 2
    assert no_leftovers(cache)
    assert zoo.load(MODEL).config.side == 2


@pytest.mark.parametrize("what", WRONG)
def test_bytes_that_are_wrong_once_are_healed(hub, commit, what):
    hub.fail(WEIGHTS, *WRONG[what][:2])
    assert zoo.load(MODEL).config.side == 2


# 14, 15: drops and busy servers


@pytest.mark.parametrize("fraction", [0.0, 0.5, 0.9])
def test_a_dropped_connection_is_taken_up_where_it_broke(hub, commit, files, fraction):
    hub.fail(WEIGHTS, "drop", fraction)
    zoo.load(MODEL)
    start = int(len(files[WEIGHTS]) * fraction)
    ranges = [h.get("range") for _, path, h in hub.asked if WEIGHTS in path]
    assert ranges == [None, f"bytes={start}-" if start else None]


def test_a_server_without_ranges_sends_the_file_anew(hub, commit):
    hub.fail(WEIGHTS, "drop", 0.9)
    hub.fail(WEIGHTS, "no range")
    assert zoo.load(MODEL).config.side == 2


def test_a_connection_that_always_drops_ends_bounded(hub, commit, cache):
    hub.fail(WEIGHTS, "drop", 0.1, times=99)
    with pytest.raises(NetworkError, match="does not answer as the Hub does"):
        zoo.load(MODEL)
    assert len([line for line in hub.lines() if WEIGHTS in line]) == 5
    assert no_leftovers(cache)


def test_an_outage_in_a_download_is_waited_for(hub, commit, files, monkeypatch):
    """The connection is refused for a while after the first half has come."""
    failures = iter([True, True, False])
    append = client._append

    def refused(url, file, out, *others):
        if out.tell() and next(failures, False):
            raise http_error("ConnectError")("refused")
        append(url, file, out, *others)

    monkeypatch.setattr(client, "_append", refused)
    monkeypatch.setattr(patience, "_PAUSES", (1.0, 1.0, 1.0, 1.0))
    monkeypatch.setattr(patience.time, "sleep", lambda _: None)
    hub.fail(WEIGHTS, "drop", 0.5)
    assert zoo.load(MODEL).config.side == 2


def test_a_long_download_goes_on_as_long_as_it_gets_on(hub, commit, files, monkeypatch):
    monkeypatch.setattr(client, "PROGRESS", 16)
    hub.fail(WEIGHTS, "drop", 0.3, times=8)
    assert zoo.load(MODEL).config.side == 2


def test_a_hub_that_accepts_and_hangs_fails_in_under_five_seconds(hub, commit, cache, monkeypatch):
    """Nothing is cached, nothing is set, and the pauses are the real ones."""
    monkeypatch.setattr(patience, "_PAUSES", (0.5, 1.0, 2.0, 4.0))
    hub.fail("GET /api", "stall", 8, times=99)
    start = time.monotonic()
    with pytest.raises(NetworkError, match=r"no answer within 3\.5 s") as caught:
        zoo.load(MODEL)
    assert time.monotonic() - start < 5 and no_leftovers(cache)
    assert "HF_HUB_ETAG_TIMEOUT" in caught.value.hint


def test_a_listing_that_trickles_is_given_up_unless_the_user_waits(hub, commit, monkeypatch):
    """Each packet comes in time; the library's own timeout would wait for ever."""
    hub.fail("GET /api", "slow", 1, times=99)
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "0.4")
    with pytest.raises(NetworkError, match=r"no answer within 0\.4 s"):
        zoo.load(MODEL)
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "20")
    assert zoo.load(MODEL).config.side == 2


def test_a_download_that_stalls_is_given_up(hub, commit, cache, monkeypatch):
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "0.1")
    hub.fail(WEIGHTS, "stall", 0.5, times=99)
    start = time.monotonic()
    with pytest.raises(NetworkError, match="ReadTimeout"):
        zoo.load(MODEL)
    assert time.monotonic() - start < 5 and no_leftovers(cache)


def test_a_slow_server_is_waited_for(hub, commit):
    hub.fail(WEIGHTS, "slow", 0.5)
    assert zoo.load(MODEL).config.side == 2


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("where", ["GET /api", WEIGHTS])
def test_a_busy_server_is_asked_again(hub, commit, status, where):
    hub.fail(where, "status", status, times=2)
    assert zoo.load(MODEL).config.side == 2


def test_the_wait_that_a_server_asks_for_is_kept(hub, commit, monkeypatch):
    waits = []
    monkeypatch.setattr(patience.time, "sleep", waits.append)
    hub.fail("GET /api", "status", (429, {"Retry-After": "7"}))
    zoo.load(MODEL)
    assert waits == [7.0]
    hub.fail("GET /api", "status", (429, {"Retry-After": "3600"}))
    with pytest.raises(NetworkError, match="too many requests"):
        zoo.load("hf://me/mini@other")
    assert waits == [7.0]


@pytest.mark.parametrize(("status", "message"), [(429, "too many requests"), (503, "status 503")])
def test_a_server_that_stays_busy_is_named(hub, commit, status, message):
    hub.fail("GET /api", "status", status, times=99)
    with pytest.raises(NetworkError, match=message) as caught:
        zoo.load(MODEL)
    assert len(hub.asked) == 5 and caught.value.hint


def test_a_hung_up_server_is_asked_again(hub, commit):
    hub.fail("GET /api", "hang up")
    assert zoo.load(MODEL).config.side == 2


# 16: who may read

REFUSED = {
    "gated, no token": ({"gated": True}, None, NetworkError, "is gated.*no token was sent"),
    "gated": ({"gated": True}, "hf_other1", NetworkError, "is gated.*with the token"),
    "private, no token": (
        {"private": True},
        None,
        UnknownNameError,
        "or is private, and no token",
    ),
    "private": ({"private": True}, "hf_other1", NetworkError, "access is denied, with the token"),
    "bad token": ({}, "hf_stale1", NetworkError, "token that was sent is not valid"),
    "missing": (None, "hf_goodtoken", UnknownNameError, "does not exist at"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_each_refusal_says_what_it_is_and_prints_no_token(hub, minis, files, what, cache):
    options, token, error, message = REFUSED[what]
    if options is not None:
        hub.add("me/mini", files, **options)
    with pytest.raises(error, match=message) as caught:
        zoo.load(MODEL, token=token)
    assert caught.value.hint
    assert token is None or token not in str(caught.value)
    assert everything(cache) == set()
    assert zoo.load(MODEL, token="hf_goodtoken") if options is not None else True


def test_a_file_that_is_gone_from_its_commit_is_named(hub, commit):
    hub.fail(WEIGHTS, "status", (404, {"X-Error-Code": "EntryNotFound"}))
    with pytest.raises(NetworkError, match="no longer has a file"):
        zoo.load(MODEL)


# 19, 20: names and hashes that would lead elsewhere

NAMES = ["../../x.safetensors", "/abs.safetensors", r"C:\x.safetensors", r"a\..\b", "a/../b", ".."]
NAMES += ["", "a\nb", "x" * 500, "a/./b"]


@pytest.mark.parametrize("name", NAMES)
def test_a_listed_name_that_leaves_the_folder_is_refused(hub, commit, cache, tmp_path, name):
    before = everything(tmp_path)

    def edit(data):
        data["siblings"].append({**data["siblings"][0], "rfilename": name})
        return data

    hub.edit = edit
    with pytest.raises(IntegrityError, match="lists the file"):
        zoo.load(MODEL)
    assert everything(tmp_path) == before


def test_a_commit_or_a_hash_that_is_none_is_refused(hub, commit, tmp_path):
    before = everything(tmp_path)

    def blob(data):
        data["siblings"][0] |= {"blobId": "../../x", "lfs": None}
        return data

    for edit in (lambda d: d | {"sha": "../../x"}, lambda d: d | {"sha": None}, blob):
        hub.edit = edit
        with pytest.raises(IntegrityError, match="names the"):
            zoo.load(MODEL)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("answer", [[], None, 3, {}, {"siblings": 3}, {"siblings": [3]}, "no"])
def test_an_answer_of_another_form_is_refused(hub, commit, answer):
    hub.edit = lambda _: answer
    with pytest.raises((IntegrityError, NetworkError), match="hf://me/mini"):
        zoo.load(MODEL)


def test_a_listing_that_is_too_deep_or_too_long_is_refused(hub, commit, monkeypatch):
    deep: list = []
    for _ in range(100):
        deep = [deep]
    hub.edit = lambda data: data | {"x": deep}
    with pytest.raises((IntegrityError, NetworkError), match="hf://me/mini"):
        zoo.load(MODEL)
    hub.edit = lambda data: data | {"x": "x" * 5000}
    monkeypatch.setattr("zoo_core.weights.hub.client._MAX_LISTING", 4096)
    with pytest.raises((IntegrityError, NetworkError), match="hf://me/mini"):
        zoo.load(MODEL)


def test_another_commit_than_the_one_asked_for_is_refused(hub, commit, files):
    hub.edit = lambda data: data | {"sha": "b" * 40}
    with pytest.raises(IntegrityError, match=f"asked for {commit}, got bbbb"):
        zoo.load(f"{MODEL}@{commit}")


# 21: revisions and repositories that are none


@pytest.mark.parametrize(
    "text", ["../../x", "x" * 300, "a\0b", "a\nb", "/x", "a\\b", "a//b", "-x"]
)
def test_a_revision_that_is_none_is_refused_here(hub, commit, text):
    with pytest.raises(UnknownNameError):
        zoo.load(MODEL, revision=text)
    with pytest.raises(UnknownNameError):
        zoo.load(f"{MODEL}@{text}")
    assert hub.asked == []


@pytest.mark.parametrize("repo", ["me/..", "me/a--b", "../me", "me", "me/a/b", ".me/x"])
def test_a_repository_name_that_is_none_is_refused_here(hub, repo):
    with pytest.raises(UnknownNameError, match="repository name"):
        snapshot(repo, zoo_files, Access())
    assert hub.asked == []


URLS = ["http://hub.example", "ftp://127.0.0.1", "file:///etc", "https://a@b.c", "//x"]
URLS += ["http://8.8.8.8", "http://127.0.0.1:99999", "http://127.0.0.1:x"]


@pytest.mark.parametrize("url", URLS)
def test_an_endpoint_is_https_or_near(url):
    with pytest.raises(UsageError, match="endpoint"):
        Access(endpoint=url).url  # noqa: B018


def test_no_token_goes_over_plain_http_to_another_machine():
    assert Access(endpoint="http://10.1.2.3:80", token="hf_x").secret is None
    assert Access(endpoint="http://localhost:80", token="hf_x").secret == "hf_x"
    assert Access(endpoint="https://hub.example", token="hf_x").secret == "hf_x"


# 24: links that lead out of the cache


def test_a_link_out_of_the_cache_is_refused_and_its_target_left(hub, commit, cache, tmp_path):
    zoo.load(MODEL)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    path = cache / "models--me--mini" / "snapshots" / commit / WEIGHTS
    blob = path.resolve()
    for link in (path, blob):
        link.unlink()
        link.symlink_to(victim)
        with pytest.raises(IntegrityError, match="leaves the cache") as caught:
            zoo.load(f"{MODEL}@{commit}")
        assert "zoo cache remove me/mini" in caught.value.hint
        assert victim.read_text() == "mine"
        path.unlink()
        path.symlink_to(os.path.relpath(blob, path.parent))


def test_a_planted_part_is_not_written_through(hub, commit, cache, files, tmp_path):
    import hashlib

    victim = tmp_path / "victim"
    victim.write_text("mine")
    digest = hashlib.sha256(files[WEIGHTS]).hexdigest()
    part = cache / "models--me--mini" / "blobs" / f"{digest}.zoo.incomplete"
    part.parent.mkdir(parents=True)
    part.symlink_to(victim)
    assert zoo.load(MODEL).config.side == 2
    assert victim.read_text() == "mine"


# 25: secrets


def test_no_token_and_no_signature_is_logged_or_told(hub, commit, monkeypatch, capfd, caplog):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_DEBUG", True)
    monkeypatch.setenv("HF_TOKEN", "hf_goodtoken")
    caplog.set_level(logging.DEBUG)
    stream = logging.StreamHandler(sys.stderr)
    logging.getLogger().addHandler(stream)
    hub.cdn = True
    hub.fail("GET /cdn", "status", 503, times=99)
    try:
        with pytest.raises(NetworkError) as caught:
            zoo.load(MODEL)
        assert "/cdn/" in caplog.text  # the requests were logged
        hub.faults.clear()
        model = zoo.load(MODEL)
    finally:
        logging.getLogger().removeHandler(stream)
    out = capfd.readouterr()
    seen = caplog.text + out.out + out.err + repr(caught.value) + str(model.origin)
    assert "hf_goodtoken" not in seen and "s3cr3t" not in seen
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    elsewhere = [h for _, path, h in hub.asked if path.startswith("/cdn")]
    assert elsewhere and not any("authorization" in h for h in elsewhere)


def test_redaction_keeps_what_helps():
    text = "GET https://cdn.example/a/b?X=1&Signature=abc with Bearer abcdef and hf_abcdef12"
    assert redact(text) == "GET https://cdn.example/a/b?*** with Bearer *** and hf_***"
    assert redact("token t0ps3cret", "t0ps3cret") == "token ***"


# Disks that are full or read-only


def in_a_child(action):
    """The outcome of `action()` in a forked process: the error's text, or ok."""
    reader, writer = multiprocessing.Pipe(duplex=False)
    pid = os.fork()
    if pid == 0:
        try:
            action()
            writer.send("ok")
        except BaseException as error:
            writer.send(f"{type(error).__name__}: {error}")
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    return reader.recv()


def fetch(hub, cache):
    return snapshot("me/mini", zoo_files, Access(endpoint=hub.url, cache_dir=cache))


def test_a_full_disk_is_an_output_error_and_leaves_no_part(hub, commit, cache):
    hub.add("me/mini", {METADATA: b"{}", WEIGHTS: b"x" * (1 << 20)})

    def full():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
        fetch(hub, cache)

    told = in_a_child(full)
    assert told.startswith(OutputError.__name__) and "free some space" in told
    assert no_leftovers(cache)
    assert fetch(hub, cache).files


@pytest.fixture(params=["ours", "another client's"])
def shared(request, hub, commit, tmp_path_factory, monkeypatch):
    """A cache that holds the model and that others may read alone."""
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    cache = tmp_path_factory.mktemp("shared") / "hub"
    if request.param == "ours":
        fetch(hub, cache)
    else:
        from huggingface_hub import snapshot_download

        monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
        snapshot_download("me/mini", cache_dir=cache, endpoint=hub.url)
    for path in [cache, *cache.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o555 if path.is_dir() else 0o444)
    for parent in cache.parents:  # up to the first that others may enter
        if parent.stat().st_mode & 0o055 == 0o055 and parent.parent.stat().st_mode & 0o005:
            break
        parent.chmod(parent.stat().st_mode | 0o055)
    yield cache
    for path in [cache, *cache.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)


@pytest.mark.parametrize("revision", ["main", "its commit"])
def test_a_read_only_cache_serves_what_it_has(hub, commit, files, shared, revision):
    def cached():
        _lose_rights()
        assert not os.access(shared, os.W_OK)
        access = Access(endpoint=hub.url, cache_dir=shared)
        snapshot("me/mini", zoo_files, access, revision=None if revision == "main" else commit)

    assert in_a_child(cached) == "ok"
    hub.add("me/mini", files | {METADATA: b"{}"})
    told = in_a_child(lambda: (_lose_rights(), fetch(hub, shared)))
    assert told.startswith(OutputError.__name__) and "cannot be written" in told


def _lose_rights():
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
