"""The plugin reference is what the source says, and the policy names what the code has."""

import shutil
import subprocess
import sys
from pathlib import Path

from zoo_core.catalog import capabilities, hookspecs, specs

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "plugin_reference.py"
PAGE = (ROOT / "docs" / "reference" / "plugin-reference.md").read_text()


def test_the_reference_is_up_to_date():
    done = subprocess.run([sys.executable, TOOL, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_reference_names_every_hook_spec_and_capability():
    hooks = [name for name in vars(hookspecs.ZooHooks) if name.startswith("zoo_")]
    classes = [n for n in specs.__all__ if isinstance(getattr(specs, n), type)]
    assert [n for n in hooks if f"| `{n}` |" not in PAGE] == []
    assert [n for n in [*classes, *capabilities.CORE] if f"### {n}\n" not in PAGE] == []


def test_a_changed_docstring_is_found_out(tmp_path):
    catalog = [f"zoo_core/catalog/{name}.py" for name in ("hookspecs", "specs", "capabilities")]
    for name in (*catalog, "tools/plugin_reference.py", "docs/reference/plugin-reference.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    command = [sys.executable, tmp_path / "tools" / "plugin_reference.py", "--check"]
    assert subprocess.run(command).returncode == 0
    hooks = tmp_path / "zoo_core" / "catalog" / "hookspecs.py"
    hooks.write_text(hooks.read_text().replace("Architectures.", "Architecture."))
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "out of date" in done.stderr


def test_the_policy_states_the_version_of_the_contract():
    text = (ROOT / "docs" / "guides" / "plugin-policy.md").read_text()
    assert f"It is {hookspecs.ZOO_API}." in text
