"""Which tests run in one process, where xdist has several: those that share something dear.

Every other test goes to whoever is free.
"""

import re

from xdist.scheduler import LoadScopeScheduling

ONE_FIXTURE = (
    "tests/compat/test_compat.py",
    "tests/compat/test_figures.py",
    "tests/conformance/test_kit.py",
    "tests/core/test_distributed.py",
    "tests/e2e/test_install.py",
)
"""Files whose tests share what a fixture makes in seconds."""
_GOLDEN = re.compile(r"plugins/(\w+)/tests/test_(conformance|plugin)\.py::.*golden")


class Together(LoadScopeScheduling):
    """Golden tensors of a family are checked in one process, so its modules are loaded once."""

    def _split_scope(self, nodeid):
        if found := _GOLDEN.match(nodeid):
            return f"golden tensors of {found[1]}"
        file = nodeid.partition("::")[0]
        return file if file in ONE_FIXTURE else nodeid
