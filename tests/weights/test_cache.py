"""`zoo pull`, pins and `zoo cache`: what is fetched is written down, and kept small and sound."""

import json
import subprocess
import sys

import pytest

import zoo_core as zoo
from zoo_core.catalog import lockfile as pins
from zoo_core.errors import ConfigError, IntegrityError
from zoo_core.plugin import Pretrained
from zoo_core.weights.checkpoint import METADATA, WEIGHTS
from zoo_core.weights.hub.access import Access
from zoo_core.weights.hub.cache import Store

MODEL = "hf://me/mini"


def pulled(zoo_command, *argv):
    code, out, err = zoo_command("pull", *argv, "--json")
    assert code == 0, err
    return json.loads(out)


def test_a_pull_says_what_the_name_was_resolved_to(hub, commit, files, zoo_command):
    import hashlib

    found = pulled(zoo_command, MODEL)
    assert (found["repo"], found["commit"]) == ("me/mini", commit)
    assert found["sha256"] == {n: hashlib.sha256(d).hexdigest() for n, d in files.items()}
    assert found["size"] == sum(map(len, files.values()))
    hub.asked.clear()
    assert zoo.load(MODEL, offline=True).origin == f"{MODEL}@{commit}"
    code, out, _ = zoo_command("pull", MODEL)
    assert code == 0 and commit in out and found["sha256"][WEIGHTS] in out


def test_pull_of_several_and_of_what_is_bundled(hub, commit, zoo_command, tmp_path):
    folder = zoo.create("mini_ar").save(tmp_path / "own")
    found = pulled(zoo_command, MODEL, str(folder))
    assert [f["commit"] for f in found] == [commit, None]


@pytest.mark.parametrize("flags", [[], ["--pin"]])
def test_a_folder_here_needs_no_pull_and_another_path_is_none(zoo_command, minis, tmp_path, flags):
    folder = zoo.create("mini_ar").save(tmp_path / "own")
    code, _, err = zoo_command("pull", folder, *flags)
    assert code == 0 and f"is here already, in {folder}: nothing to fetch" in err
    assert ("nothing to pin" in err) == bool(flags)
    code, out, err = zoo_command("pull", tmp_path / "nope", *flags)
    assert code == 3 and out == "" and "does not exist; pull fetches a tag" in err
    code, out, err = zoo_command("pull", tmp_path, *flags)
    assert code == 3 and out == "" and "holds no model" in err


def test_a_pull_is_a_python_call_too(hub, commit, cache):
    found = zoo.pull(MODEL, access=Access(cache_dir=cache / "x"))
    assert found.commit == commit and found.folder.is_relative_to(cache / "x")


def test_pulling_imports_no_torch(hub, commit, tmp_path):
    code = (
        "import sys; from zoo_core.cli import main; assert main(sys.argv[1:]) == 0;"
        "assert 'torch' not in sys.modules"
    )
    argv = [sys.executable, "-c", code, "pull", MODEL, "--cache-dir", str(tmp_path / "c"), "-h"]
    argv = argv[:-1]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_pinned_name_stays_what_it_was(hub, commit, files, zoo_command):
    pulled(zoo_command, MODEL, "--pin")
    other = hub.add("me/mini", files | {"README.md": b"new"})
    hub.asked.clear()
    assert zoo.load(MODEL).origin == f"{MODEL}@{commit}"
    assert hub.asked == []
    assert zoo.load(f"{MODEL}@main").origin == f"{MODEL}@{other}"
    assert pulled(zoo_command, f"{MODEL}@{other}", "--pin")["commit"] == other
    assert zoo.load(MODEL).origin == f"{MODEL}@{other}"


def test_a_pinned_name_takes_no_other_bytes(hub, commit, zoo_command, cache):
    pulled(zoo_command, MODEL, "--pin")
    pin = pins.pinned(MODEL)
    pins.write(MODEL, pins.Pin(pin.repo, pin.revision, {**pin.sha256, METADATA: "0" * 64}))
    with pytest.raises(IntegrityError, match=f"{METADATA} has the hash"):
        zoo.load(MODEL)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"hf://me/mini": 3}',
        '{"hf://me/mini": {"repo": "me/mini"}}',
        '{"hf://me/mini": {"repo": "me/mini", "revision": "main", "sha256": {}}}',
    ],
)
def test_a_file_that_holds_no_pins_is_named(hub, commit, text):
    pins.path().parent.mkdir(parents=True)
    pins.path().write_text(text)
    with pytest.raises(ConfigError, match=r"pins.json cannot be read"):
        zoo.load(MODEL)


def test_the_cache_is_listed(hub, commit, files, zoo_command):
    assert json.loads(zoo_command("cache", "--json")[1]) == []
    assert "nothing is cached" in zoo_command("cache")[2]
    zoo.load(MODEL)
    (row,) = json.loads(zoo_command("cache", "list", "--json")[1])
    assert (row["repo"], row["commits"], row["refs"]) == ("me/mini", [commit[:12]], ["main"])
    assert row["size"] >= sum(map(len, files.values()))
    assert "me/mini" in zoo_command("cache")[1]


def test_a_repository_or_a_commit_is_removed(hub, commit, files, cache, zoo_command):
    zoo.load(MODEL)
    other = hub.add("me/mini", files | {METADATA: files[METADATA] + b" "})
    zoo.load(MODEL)
    assert zoo_command("cache", "remove", f"me/mini@{commit}")[0] == 0
    assert Store(cache, "me/mini").commits() == [other]
    assert zoo.load(MODEL, offline=True).origin == f"{MODEL}@{other}"
    assert zoo_command("cache", "remove", "hf://me/mini")[0] == 0
    assert not list(cache.glob("models--*"))
    for name in ("me/mini", "me/../x", "../../etc"):
        assert zoo_command("cache", "remove", name)[0] == 3


def test_prune_keeps_what_is_led_to_and_pinned(hub, commit, files, cache, zoo_command):
    pulled(zoo_command, MODEL, "--pin")
    old = hub.add("me/mini", files | {METADATA: files[METADATA] + b" "})
    pulled(zoo_command, f"{MODEL}@main")
    new = hub.add("me/mini", files | {METADATA: files[METADATA] + b"  "})
    pulled(zoo_command, f"{MODEL}@main")
    store = Store(cache, "me/mini")
    orphan = store.folder / "blobs" / f"{'a' * 64}.zoo.incomplete"
    orphan.write_bytes(bytes(1000))
    assert store.commits() == sorted([commit, old, new])
    freed = json.loads(zoo_command("cache", "prune", "--json")[1])["freed"]
    assert store.commits() == sorted([commit, new])
    assert freed >= 1000 and not orphan.exists()
    assert zoo.load(MODEL, offline=True) and zoo.load(f"{MODEL}@main", offline=True)


def test_prune_leaves_a_download_that_is_going_on(hub, commit, cache, zoo_command):
    from filelock import FileLock

    zoo.load(MODEL)
    store = Store(cache, "me/mini")
    part = store.folder / "blobs" / f"{'a' * 64}.zoo.incomplete"
    part.write_bytes(b"x")
    with FileLock(cache / ".locks" / store.folder.name / f"{'a' * 64}.lock"):
        zoo_command("cache", "prune")
        assert part.exists()
    zoo_command("cache", "prune")
    assert not part.exists()


def test_verify_finds_a_changed_file_without_the_network(hub, commit, cache, zoo_command):
    zoo.load(MODEL)
    hub.asked.clear()
    assert zoo_command("cache", "verify")[0] == 0
    path = Store(cache, "me/mini").snapshot(commit) / WEIGHTS
    data = path.read_bytes()
    path.resolve().write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    code, out, _ = zoo_command("cache", "verify", "me/mini", "--json")
    verdicts = {v["path"]: v["status"] for v in json.loads(out)}
    assert code == 6 and verdicts[WEIGHTS] == "damaged" and verdicts[METADATA] == "ok"
    assert hub.asked == []
    assert zoo_command("cache", "verify", "me/none")[0] == 3


def test_the_command_passes_on_how_the_hub_is_reached(hub, commit, zoo_command, tmp_path):
    hub.repos["me/mini"].private = True
    place = tmp_path / "mine"
    argv = ["--cache-dir", place, "--token", "hf_goodtoken", "--endpoint", hub.url]
    argv += ["--revision", commit, "--quiet"]
    out = tmp_path / "x.npz"
    assert zoo_command("sample", MODEL, "-n", 2, "--out", out, *argv)[0] == 0
    assert list(place.glob("models--me--mini/blobs/*"))
    hub.asked.clear()
    argv = ["--cache-dir", place, "--revision", commit, "--offline"]
    assert zoo_command("sample", MODEL, "-n", 2, "--out", out, *argv)[0] == 0
    code, _, err = zoo_command("sample", "hf://me/other", "--offline")
    assert code == 5 and "hint: with a connection: zoo pull hf://me/other" in err
    assert hub.asked == []
    assert "hf_goodtoken" not in out.read_bytes().decode("latin1")


def test_list_and_info_show_status_source_licence_and_size(hub, commit, files, zoo_command):
    import dataclasses

    from zoo_core.catalog.registry import ModelInfo, current
    from zoo_core.catalog.tags import tags_of

    weights = Pretrained("far", "me/mini", "CC0-1.0", "a paper", size=1_500_000)
    entry = current().models.one("mini_ar")
    spec = dataclasses.replace(entry.spec, pretrained=(weights,))
    (tag,) = tags_of(spec)
    row = ModelInfo("mini_ar.far", spec, entry.plugin, tag).row()
    assert (row["status"], row["size"]) == ("unpinned", 1_500_000)
    assert (row["license"], row["source"]) == ("CC0-1.0", "a paper")
    pins.write("mini_ar.far", pins.Pin("me/mini", commit, {WEIGHTS: "0" * 64}))
    (tag,) = tags_of(spec)
    assert (tag.status, tag.hub.revision) == ("pinned", commit)
    code, out, _ = zoo_command("list", "mini_ar*", "--long")
    assert code == 0 and "size" in out.splitlines()[0] and "source" in out.splitlines()[0]
