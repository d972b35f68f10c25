"""The README's code runs, its plugin is the one in examples/, and its links lead somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from zoo_core.catalog.plugins import Plugins
from zoo_core.catalog.registry import Registry, known_plugins
from zoo_core.weights.card import headline

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
RINGS = ROOT / "examples" / "zoo-rings"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def run(command, folder):
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(folder)}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


def test_plugin_of_the_readme_is_the_one_in_examples():
    (declared,) = blocks("toml")
    assert declared in (RINGS / "pyproject.toml").read_text()
    (module,) = [block for block in blocks("python") if block.startswith("# zoo_rings/plugin.py")]
    body = module.split("\n", 1)[1]
    imports, _, hook = body.partition("\nZOO_API = 1\n")
    text = (RINGS / "src" / "zoo_rings" / "plugin.py").read_text()
    assert imports.strip() in text
    assert hook.strip() in text


def test_density_types_of_the_readme_are_those_of_the_core():
    names = [entry.spec.name for entry in Registry(Plugins([])).density_types]
    table = re.findall(r"^\| `([a-z/]+)` \|", README, re.MULTILINE)
    assert sorted(table) == sorted(names)


def test_every_official_plugin_is_named():
    assert [name for name in known_plugins() if not re.search(rf"\b{name}\b", README)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def in_bits(tag):
    """Whether weights have a likelihood of integers; densities depend on the units of x. That of
    static MNIST is told in nats, as is usual, in the plugins' READMEs."""
    if tag.metadata["data"]["name"] == "binarized_mnist":
        return False
    return tag.metadata["event"]["levels"] is not None and any(
        metric["split"] == "test" and "bits_per_dim" in metric
        for metric in tag.metadata["metrics"]
    )


def test_numbers_of_the_readme_are_those_recorded_with_the_weights():
    row = r"^\| `(\S+)` \| ([\d,]+) \| (?:≤ )?([\d.]+) ± ([\d.]+) \|"
    rows = re.findall(row, README, re.MULTILINE)
    infos = Registry(Plugins()).list_models(pretrained=True)
    bundled = [info for info in infos if info.tag.status == "bundled" and in_bits(info.tag)]
    assert sorted(row[0] for row in rows) == [info.name for info in bundled]
    for (_, params, value, error), info in zip(sorted(rows), bundled, strict=True):
        recorded = info.tag.metadata
        test = headline([m for m in recorded["metrics"] if m["split"] == "test"])
        assert int(params.replace(",", "")) == recorded["params"]
        assert (value, error) == (
            f"{test['bits_per_dim']:.3f}",
            f"{test['bits_per_dim_std_err']:.3f}",
        )


@pytest.mark.slow
def test_python_of_the_readme_runs_and_says_what_kind_of_number_it_is(tmp_path):
    (code,) = [block for block in blocks("python") if "zoo.load(" in block]
    listing, scored = run([sys.executable, "-c", code], tmp_path).splitlines()
    assert "made.digits" in listing
    assert re.match(r"exact = log p = -[\d.]+ \+- [\d.]+ nats \(bits/dim = [\d.]+\)", scored)


@pytest.mark.slow
def test_commands_of_the_readme_run(tmp_path):
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    commands = [line.split() for line in lines if line.startswith("zoo ")]
    assert {"list", "sample", "likelihood", "train"} <= {command[1] for command in commands}
    for command in commands:
        short = ["--set", "train.steps=2"] if command[1] == "train" else []
        run([sys.executable, "-m", "zoo_core", *command[1:], *short], tmp_path)
    assert (tmp_path / "digits.png").stat().st_size > 0
