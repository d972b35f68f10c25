"""The tests' Hub is one to the real client too: what it downloads, retries and raises."""

import os

import pytest

from zoo_core.weights.checkpoint import METADATA, WEIGHTS
from zoo_core.weights.file_hashes import git_and_sha256 as hashes


@pytest.fixture(autouse=True)
def _quiet_client(hub, monkeypatch):
    import huggingface_hub.utils._http as http
    from huggingface_hub import constants, file_download

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(http.time, "sleep", lambda _: None)
    assert file_download.time.sleep is http.time.sleep


def download(hub, cache, name=WEIGHTS, repo="me/mini", **options):
    from huggingface_hub import hf_hub_download

    return hf_hub_download(repo, name, cache_dir=cache, endpoint=hub.url, **options)


@pytest.mark.parametrize("cdn", [False, True])
def test_the_real_client_downloads_what_is_there(hub, commit, files, cache, cdn):
    hub.cdn = cdn
    for name, data in files.items():
        with open(download(hub, cache, name), "rb") as file:
            assert file.read() == data
    blobs = {p.name for p in cache.glob("models--*/blobs/*")}
    paths = (cache / "models--me--mini" / "snapshots" / commit / n for n in files)
    assert all(blobs & set(hashes(path).values()) for path in paths)


FAULTS = [("drop", 0.5), ("status", 429), ("hang up", None), ("slow", 0.2), ("no range", None)]


@pytest.mark.parametrize(("kind", "value"), FAULTS)
def test_the_real_client_gets_over_what_passes(hub, commit, files, cache, kind, value):
    hub.fail(f"GET .*{WEIGHTS}", kind, value)
    with open(download(hub, cache), "rb") as file:
        assert file.read() == files[WEIGHTS]


def test_the_real_client_names_what_is_refused(hub, commit, files, cache):
    from huggingface_hub import errors

    hub.add("me/gated", files, gated=True)
    hub.add("me/private", files, private=True)
    hub.renamed["me/old"] = "me/mini"
    cases = [
        ({"repo": "me/none"}, errors.RepositoryNotFoundError),
        ({"repo": "me/gated", "token": "hf_other1"}, errors.GatedRepoError),
        ({"repo": "me/private"}, errors.RepositoryNotFoundError),
        ({"revision": "none"}, errors.RevisionNotFoundError),
        ({"name": "none"}, errors.EntryNotFoundError),
    ]
    for options, error in cases:
        with pytest.raises(error):
            download(hub, cache, **options)
    assert os.path.basename(download(hub, cache, METADATA, "me/old")) == METADATA
    assert download(hub, cache, repo="me/private", token="hf_goodtoken")


def test_the_real_client_keeps_wrong_bytes_and_ours_does_not(hub, commit, cache):
    """The reason for hashing: size and etag are right, the bytes are not."""
    import zoo_core as zoo

    hub.fail(f"GET .*{WEIGHTS}", "corrupt")
    path = download(hub, cache)
    hub.asked.clear()
    assert zoo.load("hf://me/mini").config.side == 2
    assert f"GET /me/mini/resolve/{commit}/{WEIGHTS}" in hub.lines()
    assert hashes(cache / path)["sha256"] in {p.name for p in cache.glob("models--*/blobs/*")}
