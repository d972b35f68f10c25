"""What scripts of users rely on is as recorded: help, JSON, exit codes, the table of the demo.

A change that is meant is recorded by `make figures`; the diff of `figures.json` is reviewed.
"""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import figures  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default:option .* is now:DeprecationWarning")
RECORDED = json.loads(figures.BASELINE.read_text())


@pytest.fixture(scope="module")
def measured():
    return figures.measured()


@pytest.mark.parametrize("what", ["help", "json", "exits"])
def test_the_command_is_as_recorded(measured, what):
    changed = list(figures.differences(RECORDED[what], measured[what]))
    assert changed == [], "if this is meant: make figures"


@pytest.mark.slow
def test_the_table_of_the_demo_is_as_recorded():
    changed = list(figures.differences(RECORDED["demo"], figures.demo()))
    assert changed == [], "if this is meant: make figures"


def test_a_difference_is_told_by_its_place():
    old = {"a": [1.0, "x"], "b": None, "c": 2, "text": ["one", "two"]}
    new = {"a": [1.0004, "y"], "b": 0.5, "d": 2, "text": ["one", "and", "two"]}
    assert list(figures.differences(old, new)) == [
        "/a[1]: 'x' is now 'y'",
        "/b: None is now 0.5",
        "/c: is gone",
        "/d: is new",
        "/text: + and",
    ]


def test_every_verb_has_recorded_json_or_a_reason_why_not():
    without = {"serve", "plugins check", "plugins install", "plugins uninstall"}
    without |= {"choose", "completion", "compress", "decompress", "demo", "export"}
    groups = {"zoo", "zoo cache list", "zoo data list", "zoo plugins list"}  # as without a verb
    verbs = {name.removeprefix("zoo ") for name in RECORDED["help"].keys() - groups}
    covered = {verb for verb in verbs for call in figures.CALLS.values() if call.startswith(verb)}
    assert verbs - covered == without
