"""`zoo plugins` and `zoo doctor` beside plugins that are broken in every way they can be."""

import os
import sys

import pytest


def broken_site(path, install):
    """Plugins that raise, kill, hang for good, speak another version, misspell and collide."""
    path.mkdir()
    modules = {
        "bad_import": "import no_such_module\n",
        "bad_exit": "import os; os._exit(3)\n",
        "bad_api": "ZOO_API = 99\n",
        "bad_print": "print('{not json')\nZOO_API = 1\n",
        "bad_hook": (
            "from zoo_core.plugin import hookimpl\nZOO_API = 1\n"
            "@hookimpl\ndef zoo_modles(): return []\n"
            "@hookimpl\ndef zoo_models(): raise RuntimeError('no models today')\n"
        ),
        "bad_heavy": "import numpy\nZOO_API = 1\n",
        "bad_twin": "ZOO_API = 1\n",
    }
    for name, text in modules.items():
        (path / f"{name}.py").write_text(text)
        if name != "bad_twin":
            install(path, f"dist-{name.replace('_', '-')}", {name: name})
    for dist in ("twin-one", "twin-two"):
        install(path, dist, {"bad_twin": "bad_twin"})
    return path


@pytest.fixture
def broken(tmp_path, install):
    return broken_site(tmp_path / "broken", install)


@pytest.fixture
def beside(zoo, broken, monkeypatch):
    """The command in this process, with the broken plugins installed beside the tiny one."""
    monkeypatch.syspath_prepend(str(broken))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(broken), os.environ["PYTHONPATH"]]))
    return zoo


def test_each_broken_plugin_costs_its_own_row_and_no_more(beside):
    done = beside("plugins", "list", "--json")
    assert done.code == 0
    rows = {row["name"]: row for row in done.json}
    status = {name: row["status"] for name, row in rows.items()}
    assert (
        status
        | {
            "tiny": "ok",
            "bad_import": "failed",
            "bad_exit": "failed",
            "bad_api": "incompatible",
            "bad_print": "ok",
            "bad_hook": "ok",
            "bad_heavy": "ok",
            "bad_twin": "conflict",
        }
        == status
    )
    assert rows["tiny"]["models"][:2] == ["dice", "dice.classy"]
    assert rows["tiny"]["load_ms"] > 0
    assert "no_such_module" in rows["bad_import"]["error"]
    assert "exited 3" in rows["bad_exit"]["error"]
    assert "Did you mean zoo_models" in " ".join(rows["bad_hook"]["problems"])
    assert "twin-one" in rows["bad_twin"]["error"] and "twin-two" in rows["bad_twin"]["error"]


def test_no_verb_of_plugins_imports_plugin_code_in_its_own_process(beside):
    beside("plugins", "info", "bad_heavy")
    beside("plugins", "disable", "bad_exit")
    beside("plugins", "enable", "bad_exit")
    assert not [name for name in sys.modules if name.startswith("bad_")]


def test_doctor_shows_the_traceback_that_was_kept(beside):
    done = beside("plugins", "doctor", "bad_import")
    assert done.code == 4
    assert "bad_import  failed" in done.out
    assert "ModuleNotFoundError: No module named 'no_such_module'" in done.out
    assert "Traceback (most recent call last)" in done.out
    hook = beside("plugins", "doctor", "bad_hook")
    assert hook.code == 4
    assert "RuntimeError: no models today" in hook.out
    heavy = beside("plugins", "doctor", "bad_heavy")
    assert heavy.code == 0
    assert "it imports numpy" in heavy.out
    assert beside("plugins", "doctor", "tiny").code == 0


def test_a_broken_plugin_does_not_stop_the_others(shell, broken):
    (broken / "bad_exit.py").write_text("raise SystemExit(3)\n")
    done = shell("list", "dice.*", "--json", sites=[broken])
    assert done.code == 0
    assert len(done.json) == 3
    lines = [line for line in done.err.splitlines() if "'bad_import'" in line]
    assert len(lines) == 1 and "zoo plugins doctor bad_import" in lines[0]


def test_a_disabled_plugin_is_gone_until_it_is_enabled(zoo, shell):
    assert zoo("plugins", "disable", "tiny").code == 0
    assert "tiny" not in {row["plugin"] for row in shell("list", "--json").json}
    rows = {row["name"]: row for row in zoo("plugins", "--json").json}
    assert rows["tiny"]["status"] == "disabled"
    assert zoo("plugins", "doctor", "tiny").code == 0
    assert zoo("plugins", "enable", "tiny").code == 0
    assert "tiny" in {row["plugin"] for row in shell("list", "--json").json}


def test_info_tells_where_a_plugin_comes_from(zoo):
    found = zoo("plugins", "info", "tiny", "--json").json
    assert found["dist"] == "density-zoo-tiny"
    assert found["license"] == "CC0-1.0"
    assert found["module"] == "zoo_tiny.plugin"
    assert "dice.fair" in found["models"]


def test_a_damaged_switch_file_is_named(shell, home):
    config = home.parent / "xdg_config_home" / "density-zoo" / "plugins.toml"
    config.parent.mkdir(parents=True)
    config.write_text("disabled = 5")
    done = shell("list")
    assert done.code == 4
    assert str(config) in done.err and "Traceback" not in done.err


def test_doctor_reports_the_core_and_what_plugins_add(zoo):
    done = zoo("doctor", "--json")
    assert done.code == 0
    checks = {c["name"]: c for c in done.json["checks"]}
    assert {"python", "torch", "triton", "kernels", "plugins", "cache", "accelerate"} <= set(
        checks
    )
    assert checks["tiny_check"] == {
        "name": "tiny_check",
        "plugin": "tiny",
        "status": "ok",
        "message": "tiny is fine",
        "remedy": "",
        "fixed": False,
    }
    served = {(row["op"], row["backend"]): row for row in done.json["kernels"]}
    assert served["rng_normal", "reference"]["serves"]
    assert all(row["serves"] or row["reason"] for row in served.values())
    text = zoo("doctor").out
    assert "rng_normal" in text and "tiny is fine" in text


def test_doctor_fix_mends_what_can_be_mended(zoo, monkeypatch):
    monkeypatch.setattr("zoo_core.doctor.compile_kernels", lambda: None)
    monkeypatch.setenv("TINY_BROKEN", "once")
    before = zoo("doctor")
    assert before.code == 4
    assert "PROBLEM" in before.out and "-> zoo doctor --fix" in before.out
    mended = zoo("doctor", "--fix", "--json")
    assert mended.code == 0
    check = next(c for c in mended.json["checks"] if c["name"] == "tiny_check")
    assert (check["status"], check["fixed"]) == ("ok", True)


def test_a_fix_that_fails_says_why(zoo, monkeypatch):
    monkeypatch.setattr("zoo_core.doctor.compile_kernels", lambda: None)
    monkeypatch.setenv("TINY_BROKEN", "forever")
    done = zoo("doctor", "--fix")
    assert done.code == 4
    assert "the fix failed: no glue left" in done.out


def test_check_runs_the_conformance_kit_in_a_child(zoo):
    done = zoo("plugins", "check", "tiny", "--json")
    results = done.json
    assert {r["subject"] for r in results} == {"tiny", "dice", "fog"}
    assert {"ok", "inapplicable"} <= {r["status"] for r in results}
    failed = [
        f"{r['subject']} {r['check']}: {r['message']}" for r in results if r["status"] == "failed"
    ]
    assert done.code == (4 if failed else 0)
    assert not failed


def test_check_ends_with_what_failed(zoo, monkeypatch):
    kept = {"traceback": "", "seconds": 0.1}
    results = [
        {"check": "check_seeds", "subject": "dice", "status": "ok", "message": "", **kept},
        {"check": "check_laws", "subject": "dice", "status": "failed", "message": "2 > 1", **kept},
        {
            "check": "check_mass",
            "subject": "fog",
            "status": "inconclusive",
            "message": "n = 3",
            **kept,
        },
    ]
    monkeypatch.setattr("zoo_core.installing.probe.checks", lambda *names: {"results": results})
    done = zoo("plugins", "check", "tiny")
    assert done.code == 4
    assert "FAILED  dice  laws\n        2 > 1\n" in done.out
    assert "?       fog  mass\n        n = 3\n" in done.out
    assert done.out.splitlines()[-1] == "tiny: 1 ok, 1 failed, 0 inapplicable, 1 inconclusive"


def test_check_says_so_when_the_plugin_ends_its_process(beside):
    dead = beside("plugins", "check", "bad_exit")
    assert dead.code == 4
    assert "could not be checked: its process exited 3" in dead.err
