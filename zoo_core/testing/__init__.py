"""For plugin authors: the conformance kit, and a guard against torch's own randomness.

from zoo_core.testing import conformance

test_conformance = conformance("rings")
"""

from zoo_core.testing.checks import CHECKS, Case, Result, cases, run_checks
from zoo_core.testing.conformance import conformance
from zoo_core.testing.guard import forbid_torch_randomness
from zoo_core.testing.subjects import (
    Inapplicable,
    Inconclusive,
    ModelSubject,
    PluginSubject,
    subjects,
)

__all__ = [
    "CHECKS",
    "Case",
    "Inapplicable",
    "Inconclusive",
    "ModelSubject",
    "PluginSubject",
    "Result",
    "cases",
    "conformance",
    "forbid_torch_randomness",
    "run_checks",
    "subjects",
]
