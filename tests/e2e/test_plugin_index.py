"""`zoo plugins install NAME` from a package index, by this interpreter's pip and by uv."""

import os
import shutil
import socket

import pytest
from index import Index

UV = shutil.which("uv")
TOOLS = [
    "pip",
    pytest.param("uv", marks=pytest.mark.skipif(UV is None, reason="uv is not on the PATH")),
]


@pytest.fixture
def index(request):
    """An index in JSON, or in HTML where a test asks for it."""
    index = Index(json=getattr(request, "param", "json") == "json")
    yield index
    index.close()


@pytest.fixture(params=TOOLS)
def tool(request, monkeypatch):
    """What a `zoo` in the place is told of the installers: pip alone, or uv as well."""
    paths = [os.path.dirname(UV)] if request.param == "uv" else []
    loopback = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "UV_NO_CONFIG": "1"}
    return {"PATH": os.pathsep.join([*paths, "/usr/bin", "/bin"]), **loopback}


def publish(place, index, dist, version, **options):
    said = {k: options.pop(k) for k in ("yanked", "digest", "requires_python") if k in options}
    return index.add(place.wheel(dist, version=version, **options), **said)


@pytest.mark.slow
@pytest.mark.parametrize("index", ["html", "json"], indirect=True)
def test_a_short_name_is_resolved_on_an_index(place, index, tool):
    """The newest that fits, not a yanked one nor one for another Python; and what it needs."""
    publish(place, index, "zoo-helper", "2.5", points={})
    for version in ("0.9", "1.0"):
        publish(place, index, "density-zoo-flows", version, requires=["zoo-helper>=2"])
    publish(place, index, "density-zoo-flows", "2.0", yanked="broken")
    publish(place, index, "density-zoo-flows", "3.0", requires_python=">=4")
    at = ("--index-url", index.url)
    plan = place.json("install", "flows", *at, "--dry-run", **tool)
    changes = {c["dist"]: c for c in plan["changes"]}
    assert {d: c["version"] for d, c in changes.items()} == {
        "density-zoo-flows": "1.0",
        "zoo-helper": "2.5",
    }
    if plan["environment"]["uv"] is None:
        change = changes["density-zoo-flows"]
        assert change["source"].startswith(index.url.removesuffix("simple") + "files/")
        assert len(change["sha256"]) == 64
    assert place.installed() == {}

    (outcome,) = place.json("install", "flows", *at, "-y", **tool)
    assert (outcome["plugin"], outcome["status"]) == ("flows", "ok")
    assert place.installed()["flows"]["version"] == "1.0"
    assert index.url in place.config.read_text()


@pytest.mark.slow
def test_an_index_serves_upgrades_and_sync(place, index, tool):
    publish(place, index, "density-zoo-gan", "1.0")
    at = ("--index-url", index.url, "-y")
    place.zoo("install", "gan", *at, **tool)
    publish(place, index, "density-zoo-gan", "1.1")
    place.zoo("install", "gan", *at, **tool)
    assert place.installed()["gan"]["version"] == "1.0", "an upgrade is asked for"
    place.zoo("install", "gan", "--upgrade", *at, **tool)
    assert place.installed()["gan"]["version"] == "1.1"
    for entry in place.site.glob("density_zoo_gan*"):
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    assert place.installed() == {}
    found = place.json("sync", "-y", **tool)
    assert (found["missing"], found["failures"]) == (["density-zoo-gan"], {})
    assert place.installed()["gan"]["version"] == "1.1"


@pytest.mark.slow
def test_what_an_index_lacks_or_would_change_is_said_and_nothing_happens(place, index, tool):
    index.projects["density-zoo-flows"] = []
    publish(place, index, "density-zoo", "9.0", points={})
    publish(place, index, "density-zoo-vae", "1.0", requires=["density-zoo>=9"])
    archive = place.wheels / "density_zoo_gan-1.0.tar.gz"
    archive.write_bytes(b"never opened")
    index.add(archive)
    at = ("--index-url", index.url, "-y")
    for name in ("flows", "diffusion", "gan"):
        told = place.zoo("install", name, *at, code=4, **tool).stderr
        assert f"density-zoo-{name} ('{name}' is short for it) is not published as a wheel" in told
        assert "--allow-source" in told
    assert "no versions that fit" in place.zoo("install", "vae", *at, code=4, **tool).stderr
    assert "did you mean" in place.zoo("install", "flow", *at, code=2, **tool).stderr.lower()
    assert not any("/simple/flow/" in path for path in index.asked)
    assert not any(path.startswith("/files/density_zoo_gan") for path in index.asked)
    assert place.installed() == {}


@pytest.mark.slow
def test_bytes_that_are_not_those_of_the_index_are_refused(place, index, tool):
    publish(place, index, "density-zoo-flows", "1.0", digest="0" * 64)
    told = place.zoo("install", "flows", "--index-url", index.url, "-y", code=4, **tool).stderr
    assert "hash" in told.lower()
    assert place.installed() == {}


@pytest.mark.slow
def test_an_index_with_a_password_is_used_and_the_password_kept_nowhere(place, tool):
    index = Index(json=True, user="me:s3cr3t")
    try:
        publish(place, index, "density-zoo-flows", "1.0")
        done = place.zoo("install", "flows", "--index-url", index.url, "-y", **tool)
        assert place.installed()["flows"]["status"] == "ok"
        kept = [p for p in place.config.parent.rglob("*") if p.is_file()]
        assert not any("s3cr3t" in p.read_text() for p in kept)
        assert "s3cr3t" not in done.stdout + done.stderr
    finally:
        index.close()


@pytest.mark.slow
def test_an_index_that_is_not_there_is_a_network_error(place, tool):
    with socket.create_server(("127.0.0.1", 0)) as held:
        url = f"http://127.0.0.1:{held.getsockname()[1]}/simple"
    tool |= {"PIP_RETRIES": "1", "UV_HTTP_RETRIES": "0"}
    done = place.zoo("install", "flows", "--index-url", url, "-y", code=5, **tool)
    assert "the index cannot be reached" in done.stderr and "--find-links" in done.stderr
