"""What is read, decided and said before an installer runs."""

import os
import shlex
import shutil
import stat
import tomllib
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo_core.catalog import plugin_config
from zoo_core.catalog.plugins import config_path, disabled_in_config
from zoo_core.catalog.registry import known_plugins
from zoo_core.errors import NetworkError, PluginError, UsageError
from zoo_core.installing import manifest
from zoo_core.installing.environment import Environment, here, kind_of, manual_command
from zoo_core.installing.installer import command, install_command, pins, resolve
from zoo_core.installing.plan import make_plan
from zoo_core.installing.requirements import Requirement, parse_requirement

PIP = Environment("/venv/bin/python", "/venv", "venv", None, True)
UV = Environment("/venv/bin/python", "/venv", "venv", "/bin/uv", True)
DIGEST = "sha256:" + "0" * 64


def pyproject(folder, text='[project]\nname = "Zoo_Acme"\nversion = "1"\n', points="acme = 'm'"):
    folder.mkdir()
    listed = f"[project.entry-points.density_zoo]\n{points}\n" if points else ""
    (folder / "pyproject.toml").write_text(text + listed)
    return folder


@pytest.mark.parametrize("alias", list(known_plugins()))
def test_short_names_mean_the_official_distributions(alias):
    official = f"density-zoo-{alias}"
    assert parse_requirement(alias) == Requirement(official, "index", official)
    assert parse_requirement(f"{alias}==0.1.0").text == f"{official}==0.1.0"


@pytest.mark.parametrize("end", ["flows-1-py3-none-any.whl", "flows-1.tar.gz"])
def test_a_short_name_with_a_url_means_no_official_distribution(end):
    """A distribution of that very name, which the installer compares; sources are not built."""
    found = parse_requirement(f"flows @ https://x.org/{end}")
    assert found.dist == "flows" and "density-zoo" not in found.text
    assert found.builds == end.endswith(".gz")


def test_a_misspelt_short_name_is_not_looked_up_on_an_index():
    with pytest.raises(UsageError, match="'flow' is no short name; .* Did you mean flows"):
        parse_requirement("flow")
    assert parse_requirement("flow>=0").dist == "flow"


@pytest.mark.parametrize(
    ("text", "kind", "dist"),
    [
        ("zoo-acme", "index", "zoo-acme"),
        ("Zoo_Acme[extra] >=1,<2", "index", "zoo-acme"),
        ("zoo-acme @ https://x.org/zoo_acme-1-py3-none-any.whl", "index", "zoo-acme"),
        ("zoo-acme @ git+https://x.org/acme", "source", "zoo-acme"),
        ("zoo-acme @ https://x.org/a/zoo_acme-1.tar.gz", "source", "zoo-acme"),
    ],
)
def test_a_requirement_is_told_from_a_url_and_a_source(text, kind, dist):
    found = parse_requirement(text)
    assert (found.kind, found.dist) == (kind, dist)


@pytest.mark.parametrize(
    "text",
    ["--index-url=x", "-r", "", " ", "a b", "a\nb", "https://x.org/acme-1-py3-none-any.whl"],
)
def test_options_and_nonsense_are_no_requirements(text):
    with pytest.raises(UsageError, match="is no requirement"):
        parse_requirement(text)


@pytest.mark.parametrize("text", ["density-zoo", "Density.Zoo>=2"])
def test_the_core_is_no_plugin(text):
    with pytest.raises(UsageError, match="is the core"):
        parse_requirement(text)


def test_a_folder_is_read_and_not_built(tmp_path):
    found = parse_requirement(str(pyproject(tmp_path / "acme")), editable=True)
    assert (found.kind, found.dist, found.version) == ("folder", "zoo-acme", "1")
    assert (found.requires, found.editable) == ((), True)


def test_folders_and_files_that_are_no_plugins_are_refused(tmp_path):
    (tmp_path / "x.whl").write_text("no zip")
    (tmp_path / "empty").mkdir()
    cases = {
        str(pyproject(tmp_path / "other", points="")): "declares no entry point",
        str(tmp_path / "empty"): "no pyproject.toml with a project name",
        str(tmp_path / "x.whl"): "is no wheel",
        str(tmp_path / "none.whl"): "does not exist",
    }
    for path, message in cases.items():
        with pytest.raises(PluginError, match=message):
            parse_requirement(path)
    with pytest.raises(PluginError, match="is no folder"):
        parse_requirement(str(tmp_path / "x.whl"), editable=True)


def test_the_kind_of_an_environment_is_told_by_the_marks_of_its_owner(tmp_path):
    base, lib = tmp_path / "base", tmp_path / "lib"
    lib.mkdir()
    for name in ("venv", "conda", "pipx", "uv"):
        (tmp_path / name).mkdir()
    (tmp_path / "conda" / "conda-meta").mkdir()
    (tmp_path / "pipx" / "pipx_metadata.json").touch()
    (tmp_path / "uv" / "uv-receipt.toml").touch()
    assert kind_of(tmp_path / "venv", base, lib) == "venv"
    assert kind_of(tmp_path / "conda", tmp_path / "conda", lib) == "conda"
    assert kind_of(tmp_path / "pipx", base, lib) == "pipx"
    assert kind_of(tmp_path / "uv", base, lib) == "uv tool"
    assert kind_of(base, base, lib) == "system"
    (lib / "EXTERNALLY-MANAGED").touch()
    assert kind_of(base, base, lib) == "managed"
    assert kind_of(tmp_path / "venv", base, lib) == "venv"


@pytest.mark.parametrize(
    ("kind", "uv", "want"),
    [
        ("pipx", None, "pipx inject density-zoo -e './a b'"),
        ("uv tool", "uv", "uv tool install density-zoo --with-editable './a b'"),
        ("conda", None, "python -m pip install X"),
        (
            "managed",
            None,
            "python3 -m venv ~/.venvs/zoo && ~/.venvs/zoo/bin/pip install density-zoo -e './a b'",
        ),
    ],
)
def test_where_the_zoo_does_not_act_it_says_what_to_run(monkeypatch, kind, uv, want):
    monkeypatch.setattr("zoo_core.catalog.plugins.discover", list)
    place = Environment("python", "/p", kind, uv, True)
    asked = Requirement("./a b", "folder", "acme", editable=True)
    assert manual_command(place, asked, shlex.split("python -m pip install X")) == want
    assert not place.acts


def test_without_an_installer_the_zoo_says_how_to_have_one():
    place = Environment("python", "/p", "venv", None, False)
    asked = Requirement("acme", "index", "acme")
    said = manual_command(place, asked, ["python", "-m", "pip", "install", "acme"])
    assert said == "python -m ensurepip && python -m pip install acme"
    assert not place.acts


def test_the_plugins_of_a_uv_tool_are_named_again(monkeypatch):
    """uv makes the environment of a tool anew."""
    there = {"a": SimpleNamespace(dist="zoo-a"), "b": SimpleNamespace(dist="zoo-b")}
    monkeypatch.setattr("zoo_core.installing.environment.survey", lambda: there)
    place = Environment("python", "/p", "uv tool", "uv", False)
    said = manual_command(place, Requirement("zoo-c", "index", "zoo-c"), [])
    assert said == "uv tool install density-zoo --with zoo-c --with zoo-a --with zoo-b"


def file_after(argument, argv):
    return Path(argv[argv.index(argument) + 1]).read_text()


def test_commands_pass_everything_through_and_name_this_interpreter():
    options = {
        "index_url": "https://i",
        "find_links": ["/w"],
        **dict.fromkeys(("no_index", "require_hashes", "pre"), True),
    }
    asked = parse_requirement("zoo-acme==1")
    pip = install_command(PIP, asked, options, ["torch==1"])
    assert pip[:5] == ["/venv/bin/python", "-P", "-m", "pip", "install"]
    uv = install_command(UV, asked, options, ["torch==1"])
    assert uv[:5] == ["/bin/uv", "pip", "install", "--python", "/venv/bin/python"]
    for argv in (pip, uv):
        text = " ".join(argv)
        flags = ("--index-url https://i", "--find-links /w", "--no-index", "--require-hashes")
        for flag in (*flags, "--pre", "--only-binary :all:"):
            assert flag in text
        assert argv[-1] == "zoo-acme==1" and file_after("-c", argv) == "torch==1\n"
        hashed = install_command(PIP, asked, {**options, "hashes": (DIGEST,)}, [])
        assert file_after("-r", hashed) == f"zoo-acme==1 --hash={DIGEST}\n"
        assert "zoo-acme==1" not in hashed
    assert command(UV, "uninstall", "x") == [*uv[:2], "uninstall", *uv[3:5], "x"]


def fake(path, text, code=0):
    """An installer that says what it is told to say, and notes how it was called."""
    path.write_text(
        f"#!/bin/sh\necho \"$@\" > '{path}.args'\ncat >&2 <<'X'\n{text}\nX\nexit {code}\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return Environment("/venv/bin/python", "/venv", "venv", str(path), False)


def test_uvs_dry_run_becomes_a_plan(tmp_path):
    uv = fake(tmp_path / "uv", "Resolved 3\n - zoo-b==1\n + zoo-acme==1.5\n + zoo-b==2")
    found = resolve(uv, parse_requirement("zoo-acme"), {})
    assert [(c.dist, c.version) for c in found] == [("zoo-acme", "1.5"), ("zoo-b", "2")]
    asked = (tmp_path / "uv.args").read_text().split()
    assert "--dry-run" in asked and asked[asked.index("--python") + 1] == "/venv/bin/python"
    assert file_after("-c", asked).split() == pins()


@pytest.fixture
def seen_by_uv(tmp_path, monkeypatch):
    """The variables of a uv that was asked for a plan."""
    for name in ("UV_CONFIG_FILE", "UV_NO_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def run():
        uv = tmp_path / "uv.sh"
        uv.write_text(f"#!/bin/sh\nenv > '{tmp_path}/env'\necho ' + zoo-acme==1.5' >&2\n")
        uv.chmod(0o755)
        place = Environment("/venv/bin/python", "/venv", "venv", str(uv), False)
        resolve(place, parse_requirement("zoo-acme"), {})
        lines = (tmp_path / "env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    return run


def test_an_installer_sees_the_credentials_of_its_indexes_and_no_others(seen_by_uv, monkeypatch):
    index = {
        "PIP_INDEX_URL": "https://me:secret@index.org/simple",
        "UV_INDEX_OURS_PASSWORD": "secret",
        "https_proxy": "http://me:secret@proxy:3128",
    }
    others = ("HF_TOKEN", "hf_token", "UV_PUBLISH_TOKEN", "AWS_SECRET_ACCESS_KEY")
    for name, value in index.items():
        monkeypatch.setenv(name, value)
    for name in others:
        monkeypatch.setenv(name, "secret")
    seen = seen_by_uv()
    assert seen.items() >= index.items()
    assert not set(others) & seen.keys()
    assert seen["PYTHONSAFEPATH"] == "1"


def test_a_uv_of_the_current_folder_is_none(tmp_path, monkeypatch):
    """An empty entry of PATH is a slip, which means the current folder."""
    fake(tmp_path / "uv", "mine")
    monkeypatch.chdir(tmp_path)
    for slip in ("", f"{tmp_path / 'nothing'}{os.pathsep}"):
        monkeypatch.setenv("PATH", slip)
        assert here().uv in (None, shutil.which("uv", path=os.defpath))


def test_uv_takes_no_configuration_from_the_current_folder(seen_by_uv, tmp_path, monkeypatch):
    """A uv.toml or pyproject.toml there could name an index of its own."""
    assert seen_by_uv()["UV_NO_CONFIG"] == "1"
    users = tmp_path / "uv" / "uv.toml"
    users.parent.mkdir()
    users.touch()
    seen = seen_by_uv()
    assert seen["UV_CONFIG_FILE"] == str(users) and "UV_NO_CONFIG" not in seen
    monkeypatch.setenv("UV_CONFIG_FILE", "/mine.toml")
    assert seen_by_uv()["UV_CONFIG_FILE"] == "/mine.toml"


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        ("error: error sending request for url", NetworkError, "cannot be reached"),
        (
            "error: Because density-zoo-gan was not found in the package registry",
            PluginError,
            "'gan' is short for it.* is not published",
        ),
        (
            "error: No solution found\n  cause: Because there are no versions of\n"
            "         density-zoo-gan and you require it",
            PluginError,
            "'gan' is short for it.* is not published",
        ),
        (
            "error: No solution found\n  cause: Because density-zoo-gan==1.0 has no usable wheels",
            PluginError,
            "is not published as a wheel",
        ),
        (
            "error: No solution found\n  cause: zoo-x needs torch>=99\n\nhint: relax",
            PluginError,
            r"no versions that fit .* zoo-x needs torch>=99 \[",
        ),
    ],
)
def test_an_installer_that_refuses_is_understood(tmp_path, said, error, message):
    with pytest.raises(error, match=message):
        resolve(fake(tmp_path / "uv", said, 2), parse_requirement("gan"), {})


def test_sources_are_built_only_where_that_is_allowed(tmp_path):
    uv = fake(tmp_path / "uv", " + acme==1")
    asked = parse_requirement("acme @ git+https://x.org/acme")
    with pytest.raises(UsageError, match="must be built to be looked at"):
        make_plan(uv, asked, {})
    plan = make_plan(uv, asked, {"allow_source": True})
    assert "--only-binary" not in plan.command


def test_what_a_folder_requires_is_resolved_at_once_and_the_folder_is_not_built(tmp_path):
    text = '[project]\nname = "acme"\nversion = "1"\ndependencies = ["a>=1", "b"]\n'
    folder = pyproject(tmp_path / "acme", text)
    uv = fake(tmp_path / "uv", " + a==1.5\n + b==2")
    plan = make_plan(uv, parse_requirement(str(folder), editable=True), {})
    assert [(c.dist, c.version) for c in plan.changes] == [("acme", "1"), ("a", "1.5"), ("b", "2")]
    asked = (tmp_path / "uv.args").read_text().split()
    assert asked[asked.index("b") - 1] == "a>=1" and str(folder) not in asked
    assert plan.command[-2:] == ["-e", str(folder)] and "--only-binary" not in plan.command


def test_a_plan_is_carried_out_with_the_versions_that_were_shown(tmp_path):
    plan = make_plan(fake(tmp_path / "uv", " + density-zoo-gan==1"), parse_requirement("gan"), {})
    assert file_after("-c", plan.command).split() == [*pins(), "density-zoo-gan==1"]


def test_a_plan_says_what_changes_from_where_and_with_which_rights(tmp_path):
    uv = fake(tmp_path / "uv", " - pluggy==0\n + pluggy==99\n + density-zoo-gan==1")
    plan = make_plan(uv, parse_requirement("gan"), {})
    text = "\n".join(plan.lines())
    assert "-> 99  [required]" in text and "1  [official]" in text
    assert "with your rights" in text and f"keeps    {', '.join(pins())}" in text


def test_the_manifest_gives_the_request_back_and_keeps_no_password():
    place = "https://me:secret@x.org/simple"
    options = {"index_url": place, "find_links": ["/w", place], "hashes": (DIGEST,), "pre": True}
    asked = parse_requirement("zoo-acme==1")
    manifest.record(asked, {**options, "upgrade": True}, version="1", plugins=["acme"])
    assert "secret" not in config_path().read_text()
    again, kept = manifest.restore(manifest.entries()["zoo-acme"], offline=True)
    assert again == asked
    bare = "https://x.org/simple"
    links = {"index_url": bare, "find_links": ["/w", bare], "hashes": [DIGEST]}
    assert kept == {**links, "pre": True, "no_index": True}
    plugin_config.forget("zoo-acme", ["acme"])
    assert manifest.entries() == {}


def test_the_user_of_ssh_is_no_secret():
    asked = parse_requirement("zoo-acme @ git+ssh://git@x.org/acme")
    manifest.record(asked, {"allow_source": True}, version="1", plugins=["acme"])
    assert manifest.restore(manifest.entries()["zoo-acme"], offline=False)[0] == asked


def test_a_command_is_shown_without_the_secrets_of_its_urls(tmp_path):
    uv = fake(tmp_path / "uv", " + density-zoo-gan==1")
    place = "https://me:secret@x.org/simple"
    options = {"index_url": place, "find_links": ["https://t0k@y.org"]}
    plan = make_plan(uv, parse_requirement("gan"), options)
    assert "https://me:secret@x.org/simple" in plan.command
    told = "\n".join(plan.lines()) + str(plan.record())
    assert "https://****@x.org/simple" in told and "secret" not in told and "t0k" not in told


def test_disabling_keeps_the_rest_of_the_file():
    config_path().parent.mkdir(parents=True)
    config_path().write_text(
        'mine = [1, 2.5, true, "x"]\nwhen = 2026-01-02\n[installed.zoo-a]\nrequirement = "a"\n'
        '["odd key".deeper]\n"\\u00e9\\n" = "\\\\"\n'
    )
    before = plugin_config.read()
    plugin_config.write(disabled=["a"])
    assert disabled_in_config() == ["a"]
    assert {**before, "disabled": ["a"]} == plugin_config.read()
    assert before["when"] == date(2026, 1, 2)


_values = st.recursive(
    st.text() | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(), _values, max_size=3))
def test_every_table_is_written_as_toml_that_reads_back(table):
    text = "\n".join(plugin_config._table(table))
    assert tomllib.loads(text) == table


def test_a_relative_path_is_kept_absolute(tmp_path, monkeypatch):
    pyproject(tmp_path / "acme")
    monkeypatch.chdir(tmp_path)
    assert Path(parse_requirement("./acme").text) == tmp_path / "acme"


def test_what_the_installer_says_is_told_without_unsafe_advice(tmp_path):
    """Advice of an installer to do without a check is not ours."""
    flags = ("--trusted-host x.org", "--break-system-packages", "--allow-insecure-host x.org")
    for flag in flags:
        said = f"error: it does not fit. You may pass {flag}; at your risk."
        with pytest.raises(PluginError, match="it does not fit") as caught:
            resolve(fake(tmp_path / "uv", said, 2), parse_requirement("gan"), {})
        assert flag.split()[0] not in str(caught.value)
