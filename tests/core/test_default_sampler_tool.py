"""`tools/default_sampler.py`: which of the measured samplers a tag draws by."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tools.default_sampler import Case, Measured, able, cases, chosen  # noqa: E402


def measured(sampler, calls, coverage, std_err=0.01):
    return Measured(Case(sampler, calls, calls), coverage, std_err)


def test_the_fewest_calls_that_keep_97_percent_of_the_best_coverage_are_chosen():
    best, near, far = measured("a", 50, 0.400), measured("b", 20, 0.389), measured("c", 10, 0.387)
    assert chosen([best, near, far]) is near
    assert chosen([best, near, measured("d", 20, 0.395)]).case.sampler == "d"


def test_only_what_is_surely_worse_is_dropped_after_a_round():
    best, near, far = measured("a", 50, 0.40), measured("b", 20, 0.35), measured("c", 10, 0.34)
    assert able([best, near, far]) == [best.case, near.case]


def test_cases_are_told_by_their_calls_of_the_network():
    calls = {(c.sampler, c.steps): c.calls for c in cases(at_most=40)}
    assert calls["heun", 20] == 39 and calls["midpoint", 20] == 40 and calls["ddim", 10] == 10
    assert ("ancestral", 50) not in calls
    assert [c.calls for c in cases(250)] == sorted(c.calls for c in cases(250))
