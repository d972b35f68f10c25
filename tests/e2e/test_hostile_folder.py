"""The command in a folder of somebody who wants their files to run, with secrets in sight.

A `sitecustomize` on PYTHONPATH notes of every Python process, the command and all below it, what
it sees. The current folder is hostile in all of them.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from place import GOOD, wheel

from zoo_core.installing import manifest
from zoo_core.installing.requirements import parse_requirement

COMMAND = Path(sys.executable).with_name("zoo")
NAMES = (
    "click",
    "dataclasses",
    "encodings",
    "importlib",
    "json",
    "numpy",
    "pip",
    "pluggy",
    "re",
    "resource",
    "runpy",
    "safetensors",
    "setuptools",
    "site",
    "sitecustomize",
    "subprocess",
    "torch",
    "typing",
    "usercustomize",
    "zipfile",
    "zoo_core",
    "zoo_kernels",
)
SECRETS = (
    "HF_TOKEN",
    "hf_token",
    "HUGGING_FACE_HUB_TOKEN",
    "MY_SECRET",
    "GITHUB_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
)
SPY = """
import json, os, sys
seen = {"safe": sys.flags.safe_path, "path": sys.path, "names": list(os.environ),
        "command": sys.orig_argv}
with open(f"{os.environ['SPY']}/{os.getpid()}", "w") as file:
    json.dump(seen, file)
"""


def plant(folder):
    """Modules, packages and configuration that would be found before the real ones."""
    for name in NAMES:
        (folder / f"{name}.py").write_text("open('PWNED', 'w')\nraise SystemExit('pwned')\n")
    for package in ("zoo_tiny", "zoo_flows"):
        (folder / package).mkdir()
        (folder / package / "__init__.py").write_text("open('PWNED', 'w')\n")
    (folder / "uv.toml").write_text('[pip]\nfind-links = ["."]\n')


@pytest.fixture
def hostile(home, site, tmp_path):
    """Run the installed command in a hostile folder: its output, and what its children saw."""
    spy, seen = tmp_path / "spy", tmp_path / "seen"
    spy.mkdir()
    seen.mkdir()
    (spy / "sitecustomize.py").write_text(SPY)
    plant(home)
    variables = {
        **os.environ,
        **dict.fromkeys(SECRETS, "hf_secret"),
        "SPY": str(seen),
        "PYTHONPATH": os.pathsep.join(map(str, (spy, site))),
        "OMP_NUM_THREADS": "1",
        "PATH": os.pathsep.join([str(COMMAND.parent), "/usr/bin", "/bin"]),
        "PIP_CONFIG_FILE": os.devnull,
    }

    def run(*argv, folder=home):
        started = subprocess.Popen(
            [COMMAND, *map(str, argv)],
            cwd=folder,
            env=variables,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = started.communicate(timeout=120)
        assert started.returncode == 0, out + err
        return out, children(started.pid)

    def children(parent):
        return [json.loads(p.read_text()) for p in seen.iterdir() if p.name != str(parent)]

    return run


def answer(out):
    """What was printed, without times."""
    return re.sub(r'"(load_ms|seconds)": [0-9.e-]+', "", out)


def assert_unharmed(home, children):
    assert children, "nothing was started"
    for seen in children:
        assert not set(SECRETS) & set(seen["names"]), seen["command"]
        assert seen["safe"] and not {"", str(home)} & set(seen["path"]), seen["command"]
    assert not (home / "PWNED").exists()


@pytest.mark.parametrize("verb", ["", "list", "info tiny", "doctor tiny"])
def test_plugins_are_looked_at_without_the_files_of_the_folder(hostile, home, tmp_path, verb):
    out, children = hostile("plugins", *verb.split(), "--json")
    assert "density-zoo-tiny" in out
    assert_unharmed(home, children)
    elsewhere, _ = hostile("plugins", *verb.split(), "--json", folder=tmp_path)
    assert answer(out) == answer(elsewhere)


def test_a_pickle_is_converted_without_the_files_of_the_folder(hostile, home):
    import torch
    from safetensors.torch import load_file

    torch.save({"a": {"w": torch.arange(3.0)}}, home / "w.bin")
    _, children = hostile("convert", "w.bin", "out.safetensors")
    assert load_file(home / "out.safetensors")["a.w"].tolist() == [0, 1, 2]
    assert_unharmed(home, children)


@pytest.mark.parametrize("verb", ["install", "sync"])
def test_an_installation_is_planned_without_the_files_of_the_folder(hostile, home, tmp_path, verb):
    file = wheel(tmp_path / "wheels", "density-zoo-acme", GOOD)
    manifest.record(parse_requirement(str(file)), {}, version="1", plugins=["acme"])
    asked = [verb, *([file] if verb == "install" else []), "--dry-run", "--offline", "--json"]
    out, children = hostile("plugins", *asked)
    assert "density-zoo-acme" in out
    assert_unharmed(home, children)
    elsewhere, _ = hostile("plugins", *asked, folder=tmp_path)
    assert out == elsewhere


@pytest.mark.slow
def test_a_plugin_is_checked_without_the_files_of_the_folder(hostile, home):
    out, children = hostile("plugins", "check", "tiny")
    assert ", 0 failed," in out
    assert len(children) > 1  # the check itself starts further ones
    assert_unharmed(home, children)
