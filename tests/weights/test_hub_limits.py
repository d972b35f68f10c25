"""What a Hub or an environment can cost: time, memory, disk; and what a killed download is worth.

Each of these was a fault once.
"""

import gzip
import hashlib
import json
import os
import pwd
import resource
import signal
import subprocess
import sys
import threading
import time
import tracemalloc

import pytest

import zoo_core as zoo
from zoo_core.errors import IntegrityError, NetworkError, OutputError, UsageError, ZooError
from zoo_core.weights.checkpoint import METADATA, WEIGHTS
from zoo_core.weights.hub import cache as hub_cache
from zoo_core.weights.hub import client
from zoo_core.weights.hub.access import Access
from zoo_core.weights.hub.cache import Store
from zoo_core.weights.hub.patience import Patience

MODEL = "hf://me/mini"
BOMB = gzip.compress(bytes(1 << 27))
"""130 KB that inflate to 128 MiB."""


def ranges(hub, name=WEIGHTS):
    return [headers.get("range") for _, path, headers in hub.asked if path.endswith(name)]


def parts(cache):
    return list(cache.rglob("*.incomplete"))


def readers():
    return [t for t in threading.enumerate() if t.name == "density-zoo hub"]


# Memory and disk


@pytest.mark.parametrize("where", ["GET /api", WEIGHTS])
@pytest.mark.parametrize("status", [200, 302, 404])
def test_a_body_that_inflates_is_not_inflated(hub, commit, cache, where, status):
    headers = {"Content-Encoding": "gzip", "Location": "/elsewhere"}
    hub.fail(where, "answer", (status, BOMB, headers), times=99)
    tracemalloc.start()
    with pytest.raises(ZooError):
        zoo.load(MODEL)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20
    assert sum(p.stat().st_size for p in cache.rglob("*") if p.is_file()) < 1 << 20


def test_a_listing_without_an_end_is_read_to_a_limit_and_no_further(hub, commit):
    hub.fail("GET /api", "endless", bytes(1 << 16), times=99)
    tracemalloc.start()
    with pytest.raises(NetworkError, match="larger than 16,777,216 bytes|no answer within"):
        zoo.load(MODEL)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 128 << 20
    time.sleep(0.2)
    sent = hub.sent
    time.sleep(0.3)
    assert hub.sent == sent and not readers()


def test_a_listing_that_is_given_up_is_read_no_further(hub, commit, monkeypatch):
    hub.fail("GET /api", "endless", bytes(8), times=99)
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "0.3")
    with pytest.raises(NetworkError, match="no answer within"):
        zoo.load(MODEL)
    deadline = time.monotonic() + 2
    while readers() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not readers()


# Time


def test_a_host_that_hangs_after_its_listing_is_given_up_after_one_time_out(
    hub, commit, cache, monkeypatch
):
    hub.fail(WEIGHTS, "stall", 3, times=99)
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "0.5")
    start = time.monotonic()
    with pytest.raises(NetworkError) as caught:
        zoo.load(MODEL)
    assert time.monotonic() - start < 1.5
    assert "HF_ENDPOINT" in caught.value.hint and not parts(cache)


@pytest.mark.slow
def test_a_hang_is_given_up_after_ten_seconds(hub, commit):
    hub.fail(WEIGHTS, "stall", 40, times=99)
    start = time.monotonic()
    with pytest.raises(NetworkError):
        zoo.load(MODEL)
    assert time.monotonic() - start < 11


def test_a_download_that_trickles_has_a_total_limit(hub, commit, monkeypatch):
    monkeypatch.setattr(client, "_BASE", 0.5)
    monkeypatch.setattr(client, "_SLOWEST", 1 << 40)
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "0.4")
    hub.fail(WEIGHTS, "slow", 5, times=99)
    start = time.monotonic()
    with pytest.raises(NetworkError, match=r"not complete within 0\.5 s"):
        zoo.load(MODEL)
    assert time.monotonic() - start < 2


def test_a_resolver_that_hangs_is_left_behind():
    """No time-out of a socket is in force while a name is looked up."""
    patience, start = Patience(0.2, 10), time.monotonic()
    with pytest.raises(Exception, match=r"no answer within 0\.2 s"):
        patience.retried(lambda: time.sleep(1))
    assert time.monotonic() - start < 0.6


# Downloads that break off


def test_a_download_that_breaks_after_its_last_byte_is_whole(hub, commit):
    hub.fail(WEIGHTS, "no end")
    assert zoo.load(MODEL).config.side == 2
    assert ranges(hub) == [None]


def test_a_range_that_is_refused_starts_the_file_anew(hub, commit):
    hub.fail(WEIGHTS, "drop", 0.5)
    hub.fail(WEIGHTS, "status", 416)
    assert zoo.load(MODEL).config.side == 2
    assert [r is None for r in ranges(hub)] == [True, False, True]


@pytest.fixture
def part(hub, commit, cache, files):
    """`part(data)`: what a killed download has left of the weights."""

    def write(data):
        digest = hashlib.sha256(files[WEIGHTS]).hexdigest()
        path = cache / "models--me--mini" / "blobs" / f"{digest}.zoo.incomplete"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    return write


def test_a_killed_download_goes_on_where_it_was(hub, files, part):
    half = len(files[WEIGHTS]) // 2
    path = part(files[WEIGHTS][:half])
    assert zoo.load(MODEL).config.side == 2
    assert ranges(hub) == [f"bytes={half}-"] and not path.exists()


def test_a_download_that_was_killed_before_its_last_step_needs_no_request(hub, files, part):
    part(files[WEIGHTS])
    assert zoo.load(MODEL).config.side == 2
    assert ranges(hub) == []


@pytest.mark.parametrize(
    "change", [lambda d: b"x" * 100, lambda d: bytes(len(d)), lambda d: d * 2]
)
def test_a_part_with_other_bytes_is_set_aside_and_the_file_fetched_whole(hub, files, part, change):
    part(change(files[WEIGHTS]))
    assert zoo.load(MODEL).config.side == 2
    assert ranges(hub)[-1] is None


def test_a_part_that_is_linked_to_another_file_is_not_written_through(hub, files, part, tmp_path):
    (tmp_path / "victim").write_bytes(files[WEIGHTS][:10])
    path = part(b"")
    path.unlink()
    os.link(tmp_path / "victim", path)
    assert zoo.load(MODEL).config.side == 2
    assert (tmp_path / "victim").read_bytes() == files[WEIGHTS][:10]


def test_what_an_outage_leaves_of_a_large_download_is_kept(hub, commit, cache, files, monkeypatch):
    monkeypatch.setattr(hub_cache, "PROGRESS", 16)
    hub.fail(WEIGHTS, "drop", 0.5)
    hub.fail(WEIGHTS, "hang up", times=99)
    with pytest.raises(NetworkError):
        zoo.load(MODEL)
    (left,) = parts(cache)
    assert left.stat().st_size == len(files[WEIGHTS]) // 2
    hub.faults.clear()
    hub.asked.clear()
    assert zoo.load(MODEL).config.side == 2
    assert ranges(hub) == [f"bytes={len(files[WEIGHTS]) // 2}-"]


def test_an_interrupted_download_is_kept_too(hub, commit, cache, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "_append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        zoo.load(MODEL)
    assert len(parts(cache)) == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_a_content_server_refuses_is_not_said_of_the_repository(hub, commit, status):
    hub.cdn = True
    hub.fail("GET /cdn", "status", status, times=9)
    with pytest.raises(NetworkError, match=f"localhost, .* status {status}") as caught:
        zoo.load(MODEL)
    assert "does not exist" not in str(caught.value) and "private" not in str(caught.value)


def test_a_listed_file_that_the_hub_does_not_find_is_not_said_of_the_repository(hub, commit):
    hub.fail(WEIGHTS, "status", 404, times=9)
    with pytest.raises(NetworkError, match="no longer has a file"):
        zoo.load(MODEL)


# The cache's branches


def test_what_is_written_of_a_branch_is_nowhere_a_branch(hub, commit, cache):
    """A process is killed just before the branch appears."""

    def die(_, target, real=os.replace):
        return os._exit(9) if os.fspath(target).endswith("main") else real(_, target)

    zoo.pull(f"{MODEL}@{commit}")
    if (child := os.fork()) == 0:
        os.replace = die
        zoo.pull(MODEL)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert [p for p in (cache / "models--me--mini" / "refs").rglob("*") if p.is_file()] == []


def test_a_branch_moves_when_its_files_are_there(hub, commit, files, cache):
    zoo.load(MODEL)
    hub.add("me/mini", files | {METADATA: files[METADATA] + b" "})
    hub.fail(METADATA, "status", 403, times=9)
    with pytest.raises(NetworkError):
        zoo.load(MODEL)
    assert zoo.load(MODEL, offline=True).origin == f"{MODEL}@{commit}"


def test_what_a_kill_left_among_the_branches_is_neither_listed_nor_kept(
    hub, commit, cache, zoo_command
):
    zoo.load(MODEL)
    store = Store(cache, "me/mini")
    left = store.folder / "refs" / ".main.abcdefgh.part"
    left.write_text(commit)
    assert zoo_command("cache", "prune")[0] == 0 and not left.exists()
    (row,) = json.loads(zoo_command("cache", "--json")[1])
    assert row["refs"] == ["main"] and row["commits"] == [commit[:12]]


def test_pruning_leaves_a_first_download_that_is_going_on(hub, commit, cache, zoo_command):
    """Nothing leads to its commit yet: a branch is written when the files are there."""
    from filelock import FileLock

    zoo.load(f"{MODEL}@{commit}")
    store = Store(cache, "me/mini")
    (store.folder / "blobs" / f"{'a' * 64}.zoo.incomplete").write_bytes(b"x")
    with FileLock(cache / ".locks" / store.folder.name / f"{'a' * 64}.lock"):
        assert zoo_command("cache", "prune")[0] == 0
        assert store.commits() == [commit]
    assert zoo_command("cache", "prune")[0] == 0
    assert store.commits() == []


def test_one_commit_is_removed_from_the_repository_that_was_named(hub, commit, cache, files):
    """A repository and its old name hold the same commits."""
    from zoo_core.weights.hub.prune import remove

    hub.repos["you/mini"] = hub.repos["me/mini"]
    zoo.load(MODEL)
    zoo.load("hf://you/mini")
    for repo, other in (("you/mini", "me/mini"), ("me/mini", None)):
        remove(Store(cache, repo), commit)
        assert Store(cache, repo).commits() == []
        assert other is None or Store(cache, other).commits() == [commit]


def test_a_repository_with_a_missing_blob_is_named_and_can_be_removed(
    hub, commit, cache, zoo_command
):
    zoo.load(MODEL)
    Store(cache, "me/mini").snapshot(commit).joinpath(WEIGHTS).resolve().unlink()
    code, out, err = zoo_command("cache", "list")
    assert code == 0 and "broken symlink" in err and "zoo cache remove" in err
    code, out, _ = zoo_command("cache", "verify", "--json")
    assert code == 6 and {v["path"]: v["status"] for v in json.loads(out)}[WEIGHTS] == "damaged"
    assert zoo_command("cache", "remove", f"me/mini@{commit}")[0] == 0
    assert Store(cache, "me/mini").commits() == []


# The environment

CHILD = """
import os, sys
from zoo_core.cli import main
code = main(sys.argv[1:])
assert "torch" not in sys.modules
sys.exit(code)
"""


def run(*argv, **environment):
    """The command in a process of its own: huggingface_hub reads the environment once."""
    env = {**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1"}
    for name, value in environment.items():
        env.pop(name, None)
        env |= {} if value is None else {name: str(value)}
    command = [sys.executable, "-c", CHILD, *map(str, argv)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)
    return done.returncode, done.stderr


ENVIRONMENTS = {
    "no certificates": ({"SSL_CERT_FILE": "/nowhere.pem"}, 2, "check SSL_CERT_FILE"),
    "no certificate": ({"SSL_CERT_FILE": __file__}, 2, "check SSL_CERT_FILE"),
    "SOCKS without its package": ({"ALL_PROXY": "socks5://u:pw@127.0.0.1:9"}, 2, "ALL_PROXY"),
    "no proxy": ({"HTTPS_PROXY": "http://u:secret@[::1"}, 2, "HTTPS_PROXY"),
    "a fraction of a second": ({"HF_HUB_ETAG_TIMEOUT": "2.5"}, 3, "does not exist"),
    "no number of seconds": ({"HF_HUB_ETAG_TIMEOUT": "soon"}, 2, "no number of seconds"),
}


@pytest.mark.parametrize("what", ENVIRONMENTS)
def test_an_environment_that_cannot_be_used_is_named(hub, what):
    environment, code, message = ENVIRONMENTS[what]
    found, err = run("pull", "hf://me/none", HF_TOKEN="hf_goodtoken", **environment)
    assert found == code, err
    assert message in err and "unexpected" not in err and "secret" not in err


VERBS = [["sample"], ["likelihood", "--data", "digits"], ["evaluate"], ["compare"]]


def test_a_token_that_cannot_be_one_is_refused_unprinted(hub, monkeypatch, tmp_path):
    for token in ("hf_gööd", "hf_x\nX-Y: z"):
        with pytest.raises(UsageError, match="characters that no token has") as caught:
            zoo.load(MODEL, token=token)
        assert token not in str(caught.value)
    (tmp_path / "token").write_bytes(b"\xff")
    code, err = run("pull", "hf://me/none", HF_TOKEN=None, HF_TOKEN_PATH=tmp_path / "token")
    assert code == 2 and "cannot be read" in err


@pytest.mark.parametrize("verb", VERBS)
def test_offline_what_is_not_cached_is_said_before_torch_is_imported(hub, verb):
    code, err = run(*verb, "hf://me/none", "--offline")
    assert code == 5, err
    assert "zoo pull hf://me/none" in err and hub.asked == []


URLS = ["http://[::1", "https://a..b", "https://exa mple", "https://hub\n.example", "https://x?y"]
URLS += [f"https://{'a' * 300}.example", "https://", "hub.example", "https://bücher.example"]


@pytest.mark.parametrize("url", URLS)
def test_an_endpoint_that_is_no_address_is_named(url, monkeypatch):
    with pytest.raises(UsageError, match="endpoint"):
        Access(endpoint=url).url  # noqa: B018
    monkeypatch.setenv("HF_ENDPOINT", url)
    with pytest.raises(UsageError, match="endpoint"):
        zoo.load("hf://me/none", offline=False)


def test_an_endpoint_may_be_written_down(hub, commit, monkeypatch):
    place = os.path.join(os.environ["XDG_CONFIG_HOME"], "density-zoo", "hub.toml")
    monkeypatch.delenv("HF_ENDPOINT")
    assert Access().url == "https://huggingface.co"
    os.makedirs(os.path.dirname(place))
    with open(place, "w") as file:
        file.write(f'endpoint = "{hub.url}/"\n')
    assert zoo.load(MODEL).config.side == 2
    monkeypatch.setenv("HF_ENDPOINT", "https://env.example")
    assert Access().url == "https://env.example"
    assert Access(endpoint="https://given.example").url == "https://given.example"
    monkeypatch.delenv("HF_ENDPOINT")
    for text in ("endpoint = 3", "[", "other = 'x'"):
        with open(place, "w") as file:
            file.write(text)
        with pytest.raises(ZooError, match=r"hub\.toml"):
            zoo.load(MODEL)


LIBRARY = """
import sys
from zoo_core.weights.hub.access import Access
from zoo_core.weights.hub.library import library
library(Access(endpoint=sys.argv[1] or None).url)
import os
from huggingface_hub import constants
print(constants.ENDPOINT, constants.HF_HUB_ETAG_TIMEOUT, os.environ.get("HF_ENDPOINT"))
"""


def test_the_endpoint_holds_for_the_library_too_and_the_environment_stays():
    env = {k: v for k, v in os.environ.items() if k != "HF_ENDPOINT"}
    env["HF_HUB_ETAG_TIMEOUT"] = "2.5"
    for url, says in (("https://given.example", "https://given.example"), ("", "https://hugg")):
        command = [sys.executable, "-c", LIBRARY, url]
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)
        assert done.stdout.startswith(says), done.stderr
        assert done.stdout.split()[1:] == ["3", "None"]


@pytest.fixture
def homeless(monkeypatch):
    """A user whom the system does not know, without HOME."""

    def unknown(_):
        raise KeyError("no such user")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "ZOO_CACHE", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_home_what_needs_none_works(homeless, zoo_command, tmp_path):
    assert zoo_command("list", "made*")[0] == 0
    assert zoo_command("pull", "made.digits")[0] == 0
    for argv in (["cache"], ["pull", "hf://me/none"], ["convert", "~/x.bin", tmp_path / "y"]):
        code, _, err = zoo_command(*argv)
        assert code == 2 and "needs a home folder" in err and "set HOME" in err
    code, _, err = zoo_command("cache", "list", "--cache-dir", tmp_path)
    assert code == 0 and "nothing is cached" in err


def test_without_a_home_the_kernels_beside_the_package_are_found(homeless):
    from zoo_kernels import _extension, build

    assert len(_extension.candidates()) == 1
    with pytest.raises(build.BuildError, match="set HOME or ZOO_CACHE"):
        build.cache_directory()


# Files that cannot be


def test_an_index_that_names_no_shard_is_refused(minis, files, tmp_path):
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / WEIGHTS).unlink()
    metadata = json.loads(files[METADATA]) | {"files": {}}
    (tmp_path / METADATA).write_text(json.dumps(metadata))
    (tmp_path / f"{WEIGHTS}.index.json").write_text('{"weight_map": {}}')
    with pytest.raises(IntegrityError, match="weight_map is empty"):
        zoo.load(str(tmp_path))


@pytest.fixture
def full():
    """Inside the test no file may have more than 4 KiB, as on a disk that is full."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 12, limit[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_said_by_saving(minis, tmp_path, request):
    model = zoo.create("mini_ar", side=2, hidden=512)
    request.getfixturevalue("full")
    with pytest.raises(OutputError, match="cannot be written") as caught:
        model.save(tmp_path / "m")
    assert "space" in caught.value.hint and list(tmp_path.glob("*m*")) == []


@pytest.mark.parametrize("name", ["a.safetensors", pytest.param("a.bin", marks=pytest.mark.slow)])
def test_a_full_disk_is_said_by_converting(tmp_path, zoo_command, request, name):
    import torch
    from safetensors.torch import save_file

    write = save_file if name.endswith("rs") else torch.save
    write({"a": torch.zeros(1 << 16)}, tmp_path / name)
    request.getfixturevalue("full")
    code, _, err = zoo_command("convert", tmp_path / name, tmp_path / "x.safetensors")
    assert code == 7 and "cannot be written" in err, err
    assert [p.name for p in tmp_path.iterdir()] == [name]
