"""Weights at https addresses of their own: verified, resumed, from mirrors, without a token."""

import hashlib
import json
import shutil

import pytest

from zoo_core.catalog.specs import Pretrained, PretrainedFile
from zoo_core.errors import IntegrityError, NetworkError, OutputError, UsageError
from zoo_core.weights.hub import snapshot as snapshots
from zoo_core.weights.hub.access import Access
from zoo_core.weights.hub.urls import check_url, plan_urls, snapshot_of_urls

DATA = bytes(range(256)) * 64
SIZE = len(DATA)
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def places(hub, cache):
    """Two addresses of the same file on this machine."""
    hub.add("a/files", {"w.pt": DATA})
    hub.add("b/files", {"w.pt": DATA})
    return [f"{hub.url}/{org}/files/resolve/main/w.pt" for org in "ab"]


def file(*urls, size=SIZE, sha256=SHA):
    return PretrainedFile("w.pt", size, sha256, urls)


def fetch(*urls, **stated):
    return snapshot_of_urls("net.one", [file(*urls, **stated)], Access())


def test_a_file_is_fetched_once_and_verified_at_each_load(places, hub, cache, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_goodtoken")
    got = fetch(places[0])
    path = got.folder / "w.pt"
    assert path.read_bytes() == DATA and got.verified == {path: SHA} and got.name == places[0]
    assert all("authorization" not in headers for _, _, headers in hub.asked)
    hub.asked.clear()
    assert fetch(places[0]).folder == got.folder and hub.asked == []
    path.resolve().write_bytes(DATA[:-1] + b"!")
    assert fetch(places[0]).verified == {path: SHA} and len(hub.asked) == 1
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("kind", ["status", "corrupt", "truncate", "instead"])
def test_a_mirror_serves_where_the_first_address_fails_or_serves_other_bytes(places, hub, kind):
    values = {"status": 404, "truncate": 0.5, "instead": b"<html>" + DATA}
    hub.fail("/a/files/resolve", kind, values.get(kind), times=9)
    assert (fetch(*places).folder / "w.pt").read_bytes() == DATA


def test_bytes_of_another_hash_are_refused_from_the_last_address_too(places, hub):
    hub.fail("/resolve", "corrupt", times=9)
    with pytest.raises(IntegrityError, match=r"net\.one: w\.pt has the hash"):
        fetch(*places)
    hub.fail("/resolve", "status", 404, times=9)
    with pytest.raises((NetworkError, IntegrityError), match=r"status 404|the hash"):
        fetch(*places)


@pytest.mark.parametrize("stated", [{"size": None}, {"sha256": None}, {"sha256": "a" * 40}])
def test_nothing_is_fetched_whose_size_and_sha256_are_not_stated(places, hub, stated):
    with pytest.raises(IntegrityError, match="states no size and SHA-256"):
        fetch(places[0], **stated)
    assert hub.asked == []


def test_offline_names_what_is_missing_and_serves_what_is_there(places, hub):
    access = Access(offline=True)
    with pytest.raises(NetworkError, match=r"net\.one is at an address of its own .* w\.pt"):
        snapshot_of_urls("net.one", [file(places[0])], access)
    fetch(places[0])
    hub.asked.clear()
    assert snapshot_of_urls("net.one", [file(places[0])], access).files and hub.asked == []


@pytest.mark.parametrize(
    "url",
    ["http://example.org/w", "ftp://x/w", "https://x", "https://u:p@x/w", "https://x/w?sig=1", ""],
)
def test_an_address_is_https_and_names_a_file(url):
    with pytest.raises(UsageError, match="no https address of a file"):
        check_url(url)


@pytest.mark.parametrize("path", ["../w", "/w", "a/../../w", "c:\\w"])
def test_the_name_of_a_file_stays_in_the_cache(places, hub, path):
    with pytest.raises(IntegrityError):
        snapshot_of_urls("net.one", [PretrainedFile(path, 1, SHA, (places[0],))], Access())
    assert hub.asked == []


def test_the_disk_is_asked_for_room_before_anything_is_fetched(places, hub, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(snapshots.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(OutputError, match=r"16,384 bytes are to be fetched.* has 1,000 free"):
        fetch(places[0])
    assert hub.asked == []


def test_room_is_asked_for_what_is_still_to_come(places, hub, commit, monkeypatch):
    planned = plan_urls("net.one", [file(places[0])], Access())
    part = planned.store.part(planned.files[0])
    part.parent.mkdir(parents=True)
    part.write_bytes(DATA[:10_000])
    assert planned.fetched_bytes == len(DATA) - 10_000
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(snapshots.shutil, "disk_usage", lambda _: usage._replace(free=7000))
    assert (fetch(places[0]).folder / "w.pt").read_bytes() == DATA


def test_a_card_of_addresses_is_pinned_by_its_hashes(places):
    card = Pretrained("one", None, "MIT", "us", files=(file(places[0]),))
    assert card.status == "pinned" and card.download_size == len(DATA)
    assert Pretrained("one", None, "MIT", "us", files=(file(sha256=None),)).status == "unpinned"


def test_a_plan_says_what_would_be_fetched_and_fetches_nothing(commit, hub, zoo_command):
    code, out, _ = zoo_command("pull", "hf://me/mini", "--plan", "--json")
    row = json.loads(out)
    assert code == 0 and row["commit"] == commit and row["free"] > 0
    assert row["fetch"] == sum(f["size"] for f in row["files"]) > 0
    assert not any("resolve" in line for line in hub.lines())
    zoo_command("pull", "hf://me/mini")
    row = json.loads(zoo_command("pull", "hf://me/mini", "--plan", "--json")[1])
    assert row["fetch"] == 0 and all(f["cached"] for f in row["files"])
    assert "(cached)" in zoo_command("pull", "hf://me/mini", "--plan")[1]
    assert zoo_command("pull", "hf://me/mini", "--plan", "--pin")[0] == 2


def test_a_full_disk_is_told_before_a_repository_is_fetched(commit, hub, monkeypatch, zoo_command):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(snapshots.shutil, "disk_usage", lambda _: usage._replace(free=10))
    code, _, err = zoo_command("pull", "hf://me/mini")
    assert code == 7 and "are to be fetched" in err and "zoo cache prune" in err
    assert not any("resolve" in line for line in hub.lines())
