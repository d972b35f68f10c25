"""The README's code runs, the pages' links lead somewhere, and their tables are as recorded."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from zoo_core.catalog.plugins import Plugins
from zoo_core.catalog.registry import Registry, known_plugins
from zoo_core.weights.card import headline

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
RINGS = ROOT / "examples" / "zoo-rings"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
LIKELIHOODS = (ROOT / "docs" / "studies" / "likelihoods.md").read_text()


def blocks(language, text=README):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def run(command, folder):
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "HOME": str(folder)}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_readme_is_short_and_the_chinese_one_has_the_same_blocks():
    assert len(README.splitlines()) <= 90
    chinese = (ROOT / "README.zh-CN.md").read_text()
    for language in ("bash", "python"):
        assert blocks(language, chinese) == blocks(language)


def test_plugin_of_the_guide_is_the_one_in_examples():
    guide = (ROOT / "docs" / "guides" / "plugins.md").read_text()
    declared, pyproject = blocks("toml", guide)[0], (RINGS / "pyproject.toml").read_text()
    assert [line for line in declared.splitlines() if line not in pyproject] == []
    (module,) = [b for b in blocks("python", guide) if b.startswith("# zoo_rings/plugin.py")]
    body = module.split("\n", 1)[1]
    imports, _, hook = body.partition("\nZOO_API = 1\n")
    text = (RINGS / "src" / "zoo_rings" / "plugin.py").read_text()
    assert imports.strip() in text
    assert hook.strip() in text


@pytest.mark.parametrize("folder", ["start", "zh/start"])
def test_density_types_of_the_documentation_are_those_of_the_core(folder):
    names = [entry.spec.name for entry in Registry(Plugins([])).density_types]
    page = (ROOT / "docs" / folder / "which-family.md").read_text()
    table = re.findall(r"^\| `([a-z]+(?:/[a-z]+)?)` \|", page, re.MULTILINE)
    assert sorted(table) == sorted(names)


def test_every_official_plugin_is_named():
    assert [name for name in known_plugins() if f"plugins/{name}/README.md" not in README] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
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


def test_numbers_of_the_page_of_likelihoods_are_those_recorded_with_the_weights():
    row = r"^\| `(\S+)` \| ([\d,]+) \| (?:≤ )?([\d.]+) ± ([\d.]+) \|"
    rows = re.findall(row, LIKELIHOODS, re.MULTILINE)
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
    (code,) = blocks("python")
    scored = run([sys.executable, "-c", code], tmp_path)
    assert re.match(r"log p >= -[\d.]+ \+- [\d.]+ nats \(bits/dim <= [\d.]+\)", scored)


@pytest.mark.slow
@pytest.mark.parametrize("text", [README, LIKELIHOODS], ids=["README", "likelihoods"])
def test_commands_of_the_page_run(text, tmp_path):
    """With trainings cut short; `make` is what has set these tests up."""
    np.savez(tmp_path / "images.npz", x=np.random.default_rng(0).integers(0, 4, (60, 1, 4, 4)))
    short = {"train": ["--set", "train.steps=2"], "choose": ["--minutes", "0.01"]}
    lines = [line for block in blocks("bash", text) for line in block.splitlines()]
    commands = [line.split() for line in lines if not line.startswith("make ")]
    assert commands and {command[0] for command in commands} == {"zoo"}
    for _, verb, *options in commands:
        run([sys.executable, "-m", "zoo_core", verb, *options, *short.get(verb, [])], tmp_path)
    written = {"food.png", "choice.html", "density-zoo-acme-energy", "runs"}
    assert {path.name for path in tmp_path.iterdir()} & written
