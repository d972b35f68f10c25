"""Loading from the Hub: resolve once, fetch once, verify before use, and no request too many."""

import io
import json
import os
import subprocess
import sys
import time

import pytest
import torch

import zoo_core as zoo
from zoo_core.catalog.specs import Pretrained
from zoo_core.errors import IntegrityError, NetworkError, UnknownNameError, UsageError
from zoo_core.weights.checkpoint import GOLDEN, METADATA, WEIGHTS, read_metadata
from zoo_core.weights.file_hashes import git_and_sha256
from zoo_core.weights.hub import patience
from zoo_core.weights.hub.access import Access
from zoo_core.weights.hub.cache import Store

MODEL = "hf://me/mini"
FILES = {METADATA, WEIGHTS, GOLDEN}


def blobs(cache):
    return sorted(p.name for p in cache.glob("models--*/blobs/*"))


def leftovers(cache):
    return list(cache.rglob("*.incomplete"))


def test_a_branch_is_resolved_once_and_its_commit_serves_every_file(hub, commit, cache):
    model = zoo.load(MODEL)
    assert model.config.side == 2
    assert hub.lines()[0] == "GET /api/models/me/mini?blobs=true"
    assert sorted(hub.lines()[1:]) == [f"GET /me/mini/resolve/{commit}/{f}" for f in sorted(FILES)]
    store = Store(cache, "me/mini")
    assert store.ref("main") == commit
    assert {p.name for p in store.snapshot(commit).iterdir()} == FILES


def test_a_cached_commit_needs_no_request(hub, commit):
    zoo.load(MODEL)
    hub.asked.clear()
    zoo.load(f"{MODEL}@{commit}")
    zoo.load(MODEL, revision=commit)
    assert hub.asked == []


def test_a_cached_branch_needs_one_request_and_no_file(hub, commit):
    zoo.load(MODEL)
    hub.asked.clear()
    zoo.load(MODEL)
    assert hub.lines() == ["GET /api/models/me/mini?blobs=true"]


def test_what_is_saved_again_records_its_commit(hub, commit, tmp_path):
    model = zoo.load(MODEL)
    assert model.origin == f"{MODEL}@{commit}"
    folder = model.save(tmp_path / "again")
    assert read_metadata(folder)["origin"] == model.origin
    assert zoo.load(str(folder)).origin == model.origin


def test_a_branch_that_moves_meanwhile_gives_one_commit_only(hub, commit, files):
    """Between the listing and the weights `main` moves; what was resolved is what is loaded."""
    old = hub.edit

    def move(data):
        hub.repos["me/mini"].commit(files | {"zoo.json": b"{}"})
        hub.edit = old
        return data

    hub.edit = move
    assert zoo.load(MODEL).origin == f"{MODEL}@{commit}"
    assert hub.repos["me/mini"].refs["main"] != commit


def test_revisions_are_branches_tags_and_commits(hub, commit, files):
    hub.repos["me/mini"].refs["v1"] = commit
    hub.add("me/mini", files | {"zoo.json": b"{}"})
    assert zoo.load(f"{MODEL}@v1").origin == f"{MODEL}@{commit}"
    assert zoo.load(MODEL, revision="v1").origin == f"{MODEL}@{commit}"
    with pytest.raises(UsageError, match="two revisions"):
        zoo.load(f"{MODEL}@v1", revision="main")
    with pytest.raises(UnknownNameError, match="no revision 'v2'"):
        zoo.load(f"{MODEL}@v2")
    with pytest.raises(UnknownNameError, match="only weights on the Hub have revisions"):
        zoo.load("./somewhere", revision="v1")


def test_endpoint_cache_and_token_are_arguments_too(hub, commit, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
    hub.repos["me/mini"].private = True
    zoo.load(MODEL, endpoint=hub.url, cache_dir=tmp_path / "mine", token="hf_goodtoken")
    assert blobs(tmp_path / "mine")
    assert all(h["authorization"] == "Bearer hf_goodtoken" for _, _, h in hub.asked)


def test_the_environment_is_read_when_it_is_needed(hub, commit, monkeypatch, tmp_path):
    """Not when huggingface_hub was imported."""
    zoo.load(MODEL)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.asked.clear()
    zoo.load(MODEL)
    with pytest.raises(NetworkError, match="offline"):
        zoo.load("hf://me/other")
    assert hub.asked == []
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("HF_TOKEN", "hf_goodtoken")
    zoo.load(MODEL)
    assert blobs(tmp_path / "elsewhere")
    assert hub.asked[-1][2]["authorization"] == "Bearer hf_goodtoken"


def test_offline_loads_what_is_cached_and_names_what_is_not(hub, commit, cache):
    start = time.monotonic()
    with pytest.raises(NetworkError, match="missing every file") as caught:
        zoo.load(MODEL, offline=True)
    assert time.monotonic() - start < 1
    assert caught.value.hint == f"with a connection: zoo pull {MODEL}"
    zoo.load(MODEL)
    hub.asked.clear()
    zoo.load(MODEL, offline=True)
    (cache / "models--me--mini" / "snapshots" / commit / WEIGHTS).unlink()
    with pytest.raises(NetworkError, match=rf"missing {WEIGHTS}\."):
        zoo.load(MODEL, offline=True)
    assert hub.asked == []


def test_offline_reads_what_another_client_has_cached(hub, commit, cache, monkeypatch):
    from huggingface_hub import snapshot_download

    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    snapshot_download("me/mini", cache_dir=cache, endpoint=hub.url)
    hub.asked.clear()
    assert zoo.load(MODEL, offline=True).origin == f"{MODEL}@{commit}"
    assert hub.asked == []


def test_another_client_reads_what_we_have_cached(hub, commit, cache):
    from huggingface_hub import hf_hub_download

    zoo.load(MODEL)
    hub.asked.clear()
    path = hf_hub_download("me/mini", WEIGHTS, revision=commit, cache_dir=cache)
    assert git_and_sha256(cache / path)["sha256"] in blobs(cache)
    assert hub.asked == []


def test_an_unreachable_hub_fails_soon(hub, commit, monkeypatch):
    monkeypatch.setattr(patience, "_PAUSES", (0.5, 1.0, 2.0, 4.0))
    hub.close()
    start = time.monotonic()
    with pytest.raises(NetworkError, match="cannot be reached") as caught:
        zoo.load(MODEL)
    assert time.monotonic() - start < 5
    assert "HF_ENDPOINT" in caught.value.hint


def test_an_unreachable_hub_leaves_a_cached_branch_and_says_so(hub, commit, caplog):
    zoo.load(MODEL)
    hub.fail("GET /api", "status", 503, times=99)
    zoo.load(MODEL)
    assert f"Its cached commit {commit} is used" in caplog.text


def test_a_damaged_file_is_set_aside_and_fetched_again(hub, commit, cache):
    zoo.load(MODEL)
    blob = (cache / "models--me--mini" / "snapshots" / commit / WEIGHTS).resolve()
    data = blob.read_bytes()
    blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    hub.asked.clear()
    zoo.load(f"{MODEL}@{commit}")
    assert [line.rpartition("/")[2] for line in hub.lines()[1:]] == [WEIGHTS]
    assert blob.read_bytes() == data
    assert (cache / "models--me--mini" / "quarantine" / blob.name).exists()


def test_weights_are_hashed_once_a_load(hub, commit, cache, monkeypatch):
    """After a download, from the cache, and where a pull prints the hashes."""
    import hashlib

    hashed, real = [], hashlib.file_digest

    def counted(file, name):
        hashed.append(os.path.basename(file.name))
        return real(file, name)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    blob = hub.repos["me/mini"].commits[commit][WEIGHTS]
    digest = hashlib.sha256(blob).hexdigest()
    for action, name in (
        (zoo.load, f"{digest}.zoo.incomplete"),
        (zoo.load, WEIGHTS),
        (zoo.pull, WEIGHTS),
    ):
        hashed.clear()
        action(MODEL)
        assert hashed.count(name) == 1 and {digest, WEIGHTS} & set(hashed) <= {name}


def test_weights_that_are_not_those_of_their_metadata_are_refused(hub, commit, files):
    """The Hub's hash is right; the one in zoo.json is compared with it, not computed again."""
    data = json.loads(files[METADATA])
    data["files"][WEIGHTS]["sha256"] = "0" * 64
    hub.add("me/mini", files | {METADATA: json.dumps(data).encode()})
    with pytest.raises(IntegrityError, match="not the one recorded in zoo.json"):
        zoo.load(MODEL)


def test_a_revision_shares_blobs_with_another(hub, commit, files, cache):
    zoo.load(MODEL)
    hub.asked.clear()
    hub.add("me/mini", files | {"README.md": b"new"})
    zoo.load(MODEL)
    assert len(hub.asked) == 1 and len(blobs(cache)) == 3


def test_without_links_there_are_copies(hub, commit, cache, monkeypatch):
    monkeypatch.setenv("HF_HUB_DISABLE_SYMLINKS", "1")
    zoo.load(MODEL)
    path = cache / "models--me--mini" / "snapshots" / commit / WEIGHTS
    assert path.is_file() and not path.is_symlink()
    hub.asked.clear()
    zoo.load(f"{MODEL}@{commit}")
    assert hub.asked == []


def test_a_renamed_repository_is_found_and_its_new_name_told(hub, commit, caplog):
    hub.renamed["me/old"] = "me/mini"
    assert zoo.load("hf://me/old").config.side == 2
    assert "hf://me/old is now called hf://me/mini" in caplog.text


TAGGED = """
from zoo_core.plugin import ModelSpec, hookimpl
from zoo_core.catalog.specs import Pretrained
ZOO_API = 1

@hookimpl
def zoo_models():
    return [ModelSpec(
        "mini_ar", "miniature", "explicit/tractable", "zoo_mini.autoregressive:MiniAR",
        "zoo_mini.autoregressive:Config", capabilities=("Density", "Conditionals"),
        default_likelihood="exact", default_sampler="sequential",
        pretrained=(Pretrained("here", "me/mini", "CC0-1.0", "us", {revision!r}, {pins!r}),),
    )]
"""


@pytest.fixture
def tagged(hub, commit, files, install, registry_of):
    """`tagged(pins)`: the registry of a plugin with the tag `mini_ar.here`, pinned or not."""
    import hashlib

    from zoo_core.catalog.registry import use

    names = []

    def enter(pinned=True, **changes):
        pins = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()} | changes
        text = TAGGED.replace("{revision!r}", repr(commit if pinned else None))
        text = text.replace("{pins!r}", repr(tuple(pins.items()) if pinned else ()))
        block = use(registry_of(install(text)))
        names.append(block)
        return block.__enter__()

    yield enter
    for block in reversed(names):
        block.__exit__(None, None, None)


def test_a_pinned_tag_is_listed_loaded_and_then_needs_no_request(hub, commit, tagged):
    tagged()
    assert zoo.info("mini_ar.here").tag.status == "pinned"
    assert zoo.load("mini_ar.here").origin == f"{MODEL}@{commit}"
    hub.asked.clear()
    zoo.load("mini_ar.here")
    assert hub.asked == []


def test_an_unpinned_tag_is_pinned_by_a_pull(hub, commit, files, tagged, zoo_command):
    tagged(pinned=False)
    assert zoo_command("pull", "zoo-acme:mini_ar.here", "--pin")[0] == 0
    assert zoo.info("mini_ar.here").tag.status == "pinned"
    hub.add("me/mini", files | {"zoo.json": b"{}"})
    hub.asked.clear()
    assert zoo.load("mini_ar.here").origin == f"{MODEL}@{commit}"
    assert hub.asked == []


def test_an_unpinned_tag_is_its_repository(hub, commit, tagged):
    tagged(pinned=False)
    assert zoo.info("mini_ar.here").tag.status == "unpinned"
    assert zoo.load("mini_ar.here").origin == f"{MODEL}@{commit}"


def test_other_bytes_than_the_pinned_are_not_used(hub, commit, tagged):
    tagged(**{WEIGHTS: "0" * 64})
    with pytest.raises(IntegrityError, match=f"{WEIGHTS} has the hash .*, expected 0000"):
        zoo.load("mini_ar.here")


def test_another_revision_of_a_pinned_tag_is_not_pinned(hub, commit, files, tagged):
    tagged()
    other = hub.add("me/mini", files | {"README.md": b"new"})
    assert zoo.load("mini_ar.here@main").origin == f"{MODEL}@{other}"
    assert zoo.load("mini_ar.here", revision=other).origin == f"{MODEL}@{other}"
    with pytest.raises(UsageError, match="two revisions"):
        zoo.load("mini_ar.here@main", revision=other)


def test_an_offline_tag_names_the_pull_that_fetches_it(tagged, hub):
    tagged()
    with pytest.raises(NetworkError) as caught:
        zoo.load("mini_ar.here", offline=True)
    assert caught.value.hint == "with a connection: zoo pull mini_ar.here"
    assert hub.asked == []


PULL = """
import sys
from zoo_core.weights.hub.access import Access
from zoo_core.weights.hub.snapshot import snapshot
from zoo_core.catalog.layout import zoo_files
got = snapshot("me/mini", zoo_files, Access(endpoint=sys.argv[1], cache_dir=sys.argv[2]))
print(got.commit)
"""


def pull(hub, cache, **options):
    return subprocess.Popen(
        [sys.executable, "-c", PULL, hub.url, str(cache)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_four_processes_at_once_fetch_each_file_once(hub, commit, cache):
    hub.fail(WEIGHTS, "slow", 0.5)
    children = [pull(hub, cache) for _ in range(4)]
    said = [child.communicate(timeout=60) for child in children]
    assert [out.strip() for out, _ in said] == [commit] * 4, said
    gets = [line for line in hub.lines() if "/resolve/" in line]
    assert len(gets) == len(set(gets)) == 3
    assert leftovers(cache) == []


def test_a_kill_in_mid_download_leaves_nothing_wrong(hub, commit, cache):
    hub.fail(WEIGHTS, "slow", 30)
    child = pull(hub, cache)
    deadline = time.monotonic() + 30
    while not (leftovers(cache) and WEIGHTS in hub.lines()[-1]) and time.monotonic() < deadline:
        time.sleep(0.02)
    child.kill()
    child.communicate()
    assert leftovers(cache)
    assert zoo.load(MODEL).config.side == 2
    assert leftovers(cache) == []


def test_loading_leaves_torchs_generator_alone(hub, commit):
    before = torch.get_rng_state()
    zoo.load(MODEL)
    assert torch.equal(torch.get_rng_state(), before)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_each_file_has_one_bar_on_a_terminal_and_nothing_on_stdout(
    hub, commit, monkeypatch, capsys, tmp_path
):
    for progress, stream, bars in ((True, Terminal(), 3), (False, Terminal(), 0)):
        monkeypatch.setattr(sys, "stderr", stream)
        zoo.load(MODEL, cache_dir=tmp_path / str(progress), progress=progress)
        assert sum(f"{name}:   0%" in stream.getvalue() for name in FILES) == bars
    monkeypatch.setattr(sys, "stderr", pipe := io.StringIO())
    zoo.load(MODEL, cache_dir=tmp_path / "pipe")
    assert pipe.getvalue() == "" and capsys.readouterr().out == ""


def test_a_pinned_declaration_has_a_commit_and_hashes():
    assert Pretrained("t", "me/m", "MIT", "us").status == "unpinned"
    assert Pretrained("t", "me/m", "MIT", "us", "a" * 40, (("f", "0" * 64),)).status == "pinned"


def test_a_token_is_not_part_of_what_is_printed():
    assert "hf_secret" not in repr(Access(token="hf_secret"))
