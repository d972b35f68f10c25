"""The file from which the core names the plugin of an architecture that is not installed."""

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

TOOL = Path(__file__).parents[2] / "tools" / "known_plugins.py"


def test_the_file_lists_what_the_plugins_declare():
    done = subprocess.run([sys.executable, TOOL, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_family_is_in_it():
    known = json.loads(files("zoo_core").joinpath("known_plugins.json").read_text())
    assert {f"plugins/{name}" for name in known} == {
        f"plugins/{p.parent.name}" for p in TOOL.parents[1].glob("plugins/*/pyproject.toml")
    }
    assert "ve_sde" in known["diffusion"]["archs"]
