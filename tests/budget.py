"""`pytest --costs`: what the tests cost, the dearest of them, and the budget of an architecture.

Costs are processor time, of the process and of children that it waited for: a busy machine makes
them little larger. A fixture counts for the test that asked for it first.
"""

import os
import re
from collections import Counter

import pytest

SECONDS = 6.0
"""Of `make test`, for an architecture: the tests that name it in their brackets."""
FAILS = 2.0
"""How often over budget an architecture ends the run as failed; below that it is a warning."""
SHOWN = 20
_COST = "cpu_seconds"


class Costs:
    """Processor time by test; with xdist the workers measure and the controller adds up."""

    def __init__(self, config):
        self.config = config
        self.spent = Counter()
        self.mark = _processor()

    def pytest_runtest_logstart(self):
        self.mark = _processor()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self):
        report = yield
        now = _processor()
        report.user_properties = [*report.user_properties, (_COST, now - self.mark)]
        self.mark = now
        return report

    def pytest_runtest_logreport(self, report):
        self.spent[report.nodeid] += dict(report.user_properties)[_COST]

    def over(self):
        """Architectures beyond the budget, and their seconds; of the default tests alone."""
        if self.config.option.markexpr != "not slow":
            return {}
        return {a: s for a, s in by_architecture(self.spent).items() if s > SECONDS}

    def pytest_sessionfinish(self, session, exitstatus):
        if exitstatus == 0 and any(s > FAILS * SECONDS for s in self.over().values()):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        write = terminalreporter.write_line
        terminalreporter.section(f"processor time: {sum(self.spent.values()):.0f} s in all")
        for name, seconds in self.spent.most_common(SHOWN):
            write(f"{seconds:7.2f} s  {name}")
        spent = by_architecture(self.spent)
        for line in _columns([f"{s:5.1f} s  {name}" for name, s in spent.most_common()]):
            write(line)
        for name, seconds in self.over().items():
            write(
                f"over budget: {name} takes {seconds:.1f} s of {SECONDS:g} s; make its tests "
                "smaller, or mark the dearest `slow`",
                red=True,
            )


def by_architecture(spent):
    """Seconds of the tests that name an architecture in their brackets, by its name.

    Tests of the kernels name their cases, some after the model that they are from.
    """
    from zoo_core.catalog.registry import current

    archs = {entry.spec.arch for entry in current().models}
    found = Counter()
    for name, seconds in spent.items():
        if name.startswith("tests/kernels/"):
            continue
        words = re.split(r"[^a-z0-9_]+", name.partition("[")[2])
        if named := [word for word in words if word in archs]:
            found[named[0]] += seconds
    return found


def _columns(cells, columns=4):
    rows = range(0, len(cells), columns)
    return ["  ".join(f"{cell:28}" for cell in cells[i : i + columns]).rstrip() for i in rows]


def _processor():
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
