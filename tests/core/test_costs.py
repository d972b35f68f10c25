"""Costs of tests are summed by architecture and held to the budget; changed times are marked."""

import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import budget
import pytest
from together import Together

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import compare_commits  # noqa: E402


def costs(markexpr="not slow", **spent):
    found = budget.Costs(SimpleNamespace(option=SimpleNamespace(markexpr=markexpr)))
    found.spent = Counter({f"t.py::test[{arch}-x]": seconds for arch, seconds in spent.items()})
    return found


def test_a_test_counts_for_the_architecture_in_its_brackets():
    spent = {
        "a.py::test_made[x]": 1.0,
        "a.py::test[vdm-heun]": 2.0,
        "b.py::test[made.digits]": 4.0,
    }
    assert budget.by_architecture(spent) == {"vdm": 2.0, "made": 4.0}


def test_only_the_default_tests_have_a_budget():
    assert costs(made=7.0, vae=5.0).over() == {"made": 7.0}
    assert costs("slow", made=7.0).over() == {}


@pytest.mark.parametrize(("seconds", "status"), [(5.0, 0), (7.0, 0), (13.0, 1)])
def test_a_run_fails_at_twice_the_budget(seconds, status):
    session = SimpleNamespace(exitstatus=0)
    costs(made=seconds).pytest_sessionfinish(session, 0)
    assert session.exitstatus == status


def test_golden_tensors_of_a_family_run_in_one_process_and_other_tests_wherever():
    def scope(name):
        return Together._split_scope(None, name)

    golden = "plugins/{}/tests/test_plugin.py::test_weights_reproduce_their_golden_tensors[{}]"
    assert scope(golden.format("vae", "a")) == scope(golden.format("vae", "b"))
    assert scope(golden.format("vae", "a")) != scope(golden.format("gan", "a"))
    assert scope("tests/core/test_rng.py::a") != scope("tests/core/test_rng.py::b")


@pytest.mark.parametrize(
    ("ratio", "noise", "said"),
    [(1.05, 0.0, ""), (1.3, 0.02, "  slower"), (0.7, 0.02, "  faster"), (1.3, 0.2, "")],
)
def test_a_time_is_marked_where_it_changed_beyond_the_noise(ratio, noise, said):
    assert compare_commits.mark(ratio, noise) == said


def test_times_of_two_commits_stand_side_by_side():
    old, new = {"a": [1.0, 1.1], "gone": [1.0]}, {"a": [2.0, 2.1], "come": [1.0]}
    _, a, come, gone = compare_commits.table(old, new)
    assert a.split() == ["a", "1.000", "2.000", "2.00", "10%", "slower"]
    assert come.endswith("only new") and gone.endswith("only old")
