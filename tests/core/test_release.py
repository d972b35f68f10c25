"""What a release rests on: one version, one address, workflows that name what there is."""

import re
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tools import project_urls  # noqa: E402
from tools.companions import prepare  # noqa: E402

PROJECTS = [ROOT / "pyproject.toml", *sorted(ROOT.glob("plugins/*/pyproject.toml"))]
GITHUB = ROOT / ".github"
ADDRESS = "https://example.org/zoo"


def project(path):
    return tomllib.loads(path.read_text())["project"]


def test_all_distributions_and_the_citation_have_one_version():
    from zoo_core import __version__

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {project(path)["version"] for path in PROJECTS} == {__version__, citation["version"]}
    assert citation["cff-version"] == "1.2.0" and citation["license"] == "Apache-2.0"
    assert citation["authors"] and citation["title"] and citation["message"]


def test_the_addresses_are_those_of_the_setting():
    """No address is invented: while the setting is empty there are none."""
    for path, text in project_urls.texts().items():
        assert path.read_text() == text, path


@pytest.fixture
def checkout(tmp_path):
    """A copy of the files that state addresses."""
    for path in [*PROJECTS, ROOT / "CITATION.cff", ROOT / "zensical.toml"]:
        place = tmp_path / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    return tmp_path


def set_address(checkout, address):
    path = checkout / "zensical.toml"
    path.write_text(re.sub('repo_url = ".*"', f'repo_url = "{address}"', path.read_text()))
    for path, text in project_urls.texts(checkout).items():
        path.write_text(text)


def test_one_setting_puts_the_address_into_every_distribution_and_takes_it_out(checkout):
    before = project_urls.texts(checkout)
    set_address(checkout, ADDRESS)
    for path in [checkout / p.relative_to(ROOT) for p in PROJECTS]:
        assert project(path)["urls"]["Source"] == ADDRESS
        own = {k: v for k, v in project(path).items() if k != "urls"}
        assert own == project(ROOT / path.relative_to(checkout))
    assert yaml.safe_load((checkout / "CITATION.cff").read_text())["repository-code"] == ADDRESS
    set_address(checkout, "")
    assert {path: path.read_text() for path in before} == before


def test_a_companion_of_weights_has_the_addresses_of_its_plugin(tmp_path):
    plugin = tmp_path / "flows"
    shutil.copytree(
        ROOT / "plugins" / "flows", plugin, ignore=shutil.ignore_patterns("*.egg-info", "tests")
    )
    path = plugin / "pyproject.toml"
    path.write_text(project_urls.with_urls(path.read_text(), ADDRESS))
    _, companion = prepare(plugin, tmp_path / "out", most=1)
    assert project(companion / "pyproject.toml")["urls"] == project(path)["urls"]


WORKFLOWS = sorted(GITHUB.glob("workflows/*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_calls_make_targets_that_exist_and_asks_for_few_rights(path):
    found = yaml.safe_load(path.read_text())
    assert found["permissions"] == {"contents": "read"}
    steps = [step for job in found["jobs"].values() for step in job["steps"]]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for step in steps:
        words = step.get("run", "").split()
        called = [w for w in words[1:] if "=" not in w] if words[:1] == ["make"] else []
        assert set(called) <= targets
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[\w./-]+", step.get("uses", "a/b@v1"))


def test_tests_run_on_every_python_that_is_supported():
    tests = yaml.safe_load((GITHUB / "workflows" / "tests.yml").read_text())
    pythons = tests["jobs"]["linux"]["strategy"]["matrix"]["python"]
    assert pythons == ["3.11", "3.12", "3.13", "3.14"]
    assert {project(path)["requires-python"] for path in PROJECTS} == {">=3.11"}


@pytest.mark.parametrize("path", sorted(GITHUB.glob("ISSUE_TEMPLATE/*.yml")), ids=lambda p: p.stem)
def test_an_issue_form_has_what_a_host_needs(path):
    form = yaml.safe_load(path.read_text())
    if path.stem == "config":
        return
    assert {"name", "description", "body"} <= form.keys()
    ids = [field["id"] for field in form["body"]]
    assert len(ids) == len(set(ids))


def test_the_guide_lists_every_name_to_claim():
    guide = (ROOT / "docs" / "development.md").read_text()
    for path in PROJECTS:
        assert f"`{project(path)['name']}`" in guide
