"""`zoo plugins install | uninstall | sync` in an environment of its own, from local wheels."""

import os
from pathlib import Path

import pytest
from place import GOOD, digest

import zoo_core


def test_a_plugin_is_planned_installed_listed_and_uninstalled(place):
    place.wheel("density-zoo-flows")
    plan = place.local("install", "flows", "--dry-run")
    (change,) = plan["changes"]
    assert (change["dist"], change["version"], change["before"]) == (
        "density-zoo-flows",
        "1.0",
        None,
    )
    assert change["source"].startswith("file://") and len(change["sha256"]) == 64
    assert f"density-zoo=={zoo_core.__version__}" in plan["keeps"]
    assert "with your rights" in plan["note"]
    assert not list(place.site.glob("density_zoo_flows*")) and not place.config.exists()

    (outcome,) = place.local("install", "flows", "-y")
    assert (outcome["plugin"], outcome["status"]) == ("flows", "ok"), outcome
    assert place.installed()["flows"]["status"] == "ok"
    assert "[installed.density-zoo-flows]" in place.config.read_text()

    gone = place.json("uninstall", "flows", "-y")
    assert gone["dist"] == "density-zoo-flows"
    assert place.installed() == {} and "density-zoo-flows" not in place.config.read_text()


def test_a_short_name_that_is_not_published_is_said_to_be_so(place):
    done = place.zoo("install", "vae", "--offline", "--find-links", place.wheels, "-y", code=4)
    assert "density-zoo-vae ('vae' is short for it) is not published as a wheel" in done.stderr
    assert "-e plugins/vae" in done.stderr and "--find-links" in done.stderr


@pytest.mark.slow
def test_a_plugin_that_fails_its_check_is_installed_disabled_and_its_trace_kept(place):
    bad = place.wheel("zoo-bad", "raise RuntimeError('not today')")
    (outcome,) = place.json("install", bad, "-y", "--offline", code=4)
    assert outcome["status"] == "disabled" and "not today" in outcome["error"]
    trace = Path(outcome["trace"])
    assert "Traceback" in trace.read_text() and "not today" in trace.read_text()
    assert place.installed()["bad"]["status"] == "disabled"
    assert str(trace) in place.zoo("doctor", "bad").stdout

    mended = place.wheel("zoo-bad", GOOD, version="1.1")
    (outcome,) = place.json("install", mended, "-y", "--offline")
    assert outcome["status"] == "ok" and not trace.exists()
    assert place.installed()["bad"]["status"] == "ok"


@pytest.mark.slow
def test_neither_the_core_nor_torch_changes_its_version(place):
    place.wheel("density-zoo", "", version="9.0", points={})
    place.wheel("torch", "", version="99.0", points={})
    place.wheel("zoo-needy", requires=["density-zoo>=9"])
    place.wheel("zoo-torchy", requires=["torch>=99"])
    for name in ("zoo-needy", "zoo-torchy"):
        links = ("--offline", "--find-links", place.wheels)
        done = place.zoo("install", name, *links, "-y", code=4)
        assert "no versions that fit beside density-zoo==" in done.stderr
        assert "nothing was changed" in done.stderr
    assert place.installed() == {}
    core = place.zoo("install", "density-zoo", "-y", code=2)
    assert "is the core" in core.stderr


@pytest.mark.slow
def test_hashes_are_passed_through_and_must_match(place):
    path = place.wheel("zoo-acme")
    wrong = f"sha256:{'0' * 64}"
    for what in (path, "zoo-acme==1.0"):
        links = ("--offline", "--find-links", place.wheels, "-y")
        done = place.zoo("install", what, "--hash", wrong, *links, code=4)
        assert "HASH" in done.stderr.upper()
        assert place.installed() == {}
        place.zoo("install", what, "--hash", digest(path), *links)
        assert digest(path) in place.config.read_text()
        place.zoo("uninstall", "acme", "-y")
    done = place.zoo("install", "zoo-acme==1.0", "--require-hashes", *links, code=4)
    assert "hash" in done.stderr.lower()


@pytest.mark.slow
def test_sync_restores_what_an_upgrade_took_away(place):
    place.wheel("density-zoo-gan")
    acme = place.wheel("zoo-acme")
    place.local("install", "gan", "-y")
    (outcome,) = place.json("install", acme, "-y", "--offline")
    assert outcome["status"] == "ok"
    assert outcome["notes"] == ["sampler 'walk' is also density-zoo-gan:walk"]
    assert place.json("sync", "--offline") == {"missing": [], "plugins": [], "failures": {}}
    for entry in [*place.site.glob("density_zoo_gan*"), *place.site.glob("zoo_acme*")]:
        os.system(f"rm -r '{entry}'")
    assert place.installed() == {}
    acme.unlink()
    found = place.json("sync", "-y", "--offline", code=4)
    assert found["missing"] == ["density-zoo-gan", "zoo-acme"]
    assert [p["plugin"] for p in found["plugins"]] == ["gan"]
    assert "does not exist" in found["failures"]["zoo-acme"]
    assert set(place.installed()) == {"gan"}
    place.zoo("uninstall", "zoo-acme", "-y")
    assert place.json("sync", "--offline")["missing"] == []


@pytest.mark.slow
def test_a_folder_is_installed_in_place_and_read_before_it_is_built(place):
    folder = place.folder / "acme"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "zoo_acme.py").write_text(GOOD.replace("{module}", "zoo_acme"))
    (folder / "setup.py").write_text(
        "import pathlib, setuptools\npathlib.Path('built').touch()\nsetuptools.setup()\n"
    )
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "zoo-acme"\nversion = "2.0"\ndependencies = ["density-zoo"]\n'
        '[project.entry-points.density_zoo]\nacme = "zoo_acme"\n'
        '[tool.setuptools]\npackage-dir = {"" = "src"}\npy-modules = ["zoo_acme"]\n'
    )
    flags = ("--offline", "--no-build-isolation")
    plan = place.json("install", "-e", folder, *flags, "--dry-run")
    assert [(c["dist"], c["version"]) for c in plan["changes"]] == [("zoo-acme", "2.0")]
    assert not (folder / "built").exists()
    (outcome,) = place.json("install", "-e", folder, *flags, "-y")
    assert outcome["status"] == "ok" and (folder / "built").exists()
    assert place.installed()["acme"]["version"] == "2.0"
    assert "editable = true" in place.config.read_text()


@pytest.mark.slow
def test_nothing_happens_without_a_yes(place):
    path = place.wheel("zoo-acme")
    done = place.zoo("install", path, "--offline", code=2)
    assert "nobody is there to be asked" in done.stderr and "install  zoo-acme 1.0" in done.stderr
    assert place.installed() == {}
    place.zoo("install", path, "--offline", "-y")
    assert "nobody is there" in place.zoo("uninstall", "acme", code=2).stderr
    assert set(place.installed()) == {"acme"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mark", "command"),
    [
        ("pipx_metadata.json", "pipx inject density-zoo density-zoo-gan"),
        ("uv-receipt.toml", "uv tool install density-zoo --with density-zoo-gan"),
        ("conda-meta", "-m pip install"),
    ],
)
def test_environments_with_an_owner_are_left_alone_and_the_command_is_told(place, mark, command):
    place.wheel("density-zoo-gan")
    where = place.folder / "venv" / mark
    where.mkdir() if mark == "conda-meta" else where.touch()
    links = ("--offline", "--find-links", place.wheels)
    done = place.zoo("install", "gan", *links, "-y", code=4)
    assert "zoo does not install into" in done.stderr and command in done.stderr
    assert command in place.zoo("install", "gan", *links, "--dry-run").stdout
    assert place.installed() == {}


@pytest.mark.slow
def test_recovery_verbs_import_no_plugin(place):
    path = place.wheel("zoo-acme")
    place.zoo("install", path, "--offline", "-y")
    mark = place.folder / "imported"
    (place.site / "zoo_acme.py").write_text(f"open({str(mark)!r}, 'w')\nraise SystemExit(9)\n")
    place.zoo("disable", "acme")
    place.zoo("sync", "--offline", "-y")
    place.zoo("install", path, "--offline", "--dry-run")
    place.zoo("enable", "acme")
    place.zoo("uninstall", "acme", "-y")
    assert not mark.exists()


def test_a_wheel_without_an_entry_point_is_no_plugin_and_touches_nothing(place):
    path = place.wheel("zoo-acme", points={})
    done = place.zoo("install", path, "--offline", "-y", code=4)
    assert "declares no entry point in the group 'density_zoo'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(place.site.glob("zoo_acme*"))
