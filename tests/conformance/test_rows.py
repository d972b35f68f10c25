"""A row of a sample does not depend on its batch: every bundled model of digits, every sampler.

Integers may differ in at most 1 row of 1,000 (docs/design.md). Samplers of fixed steps draw 200
rows; `ode`, whose steps depend on the data, 1,000, spread over the models that it serves.
"""

import pytest

import zoo_core as zoo
from zoo_core.catalog.registry import current

pytestmark = pytest.mark.slow

SIZES = (1, 7, 64)
FEW = {"steps": 10}
"""As many steps as show whether last bits become levels; the law is of the step."""
OPTIONS = {name: FEW for name in ("ancestral", "ddim", "dpmpp_2m", "heun")}
OPTIONS["ode"] = {"rtol": 1e-2, "atol": 1e-2}


def bundled():
    rows = current().list_models("*.digits", pretrained=True)
    return [row for row in rows if row.tag.status == "bundled"]


def samplers(row):
    """The model's own, and the registered ones whose capabilities it has."""
    entries = current().samplers
    able = [e.spec for e in entries if {*e.spec.requires} <= {*row.spec.capabilities}]
    named = {spec.name for spec in able if spec.requires}
    return sorted(named | {row.spec.default_sampler} - {None}) or [None]


PAIRS = [(row.name, sampler) for row in bundled() for sampler in samplers(row)]
ODE = [name for name, sampler in PAIRS if sampler == "ode"]


def differing(name, sampler, n):
    """How many of n rows are others in smaller or larger batches than all at once in 64s."""
    model = zoo.load(name)
    drawn = [
        model.sample(n, seed=0, sampler=sampler, batch_size=size, **OPTIONS.get(sampler, {}))
        for size in SIZES
    ]
    return int(sum((x != drawn[-1]).flatten(1) for x in drawn[:-1]).any(1).sum())


@pytest.mark.parametrize(("name", "sampler"), [p for p in PAIRS if p[1] != "ode"])
def test_rows_do_not_depend_on_their_batch(name, sampler):
    assert differing(name, sampler, 200) == 0


@pytest.mark.parametrize("name", ODE)
def test_rows_of_the_adaptive_solver_do_not_depend_on_their_batch(name):
    assert differing(name, "ode", 1000 // len(ODE)) == 0
