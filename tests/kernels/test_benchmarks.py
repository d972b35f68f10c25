"""The benchmark scripts time what is right, beside peers that are there."""

import dataclasses
import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import zoo_kernels
from zoo_kernels import _dispatch, _extension
from zoo_kernels.pixelcnn_sampler.reference import SampleArguments

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(_dispatch.interpreted(), reason="starts its own interpreter")


@pytest.fixture
def module(monkeypatch):
    for folder in ("benchmarks", "benchmarks/gpu"):
        monkeypatch.syspath_prepend(str(ROOT / folder))

    def load(path):
        spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / "benchmarks" / path)
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        return loaded

    return load


def test_the_sampler_on_the_cpu_draws_the_stored_pixels(module):
    """What a GPU's pixels are compared with, by the C++ kernel or, smaller, by the reference."""
    if not _extension.load()[0]:
        pytest.skip("28 x 28 pixels take the reference long")
    sampler = module("gpu/gpu_sampler.py")
    for name in sampler.STACKS:
        args = sampler.arguments(name, sampler.STORED_IMAGES)
        assert torch.equal(sampler.sample(args, "cpp"), sampler.stored(name)), name


def test_a_pixel_is_close_to_a_decision_only_where_its_uniform_is(module):
    """The margin is |u - p| of the network: near 0 for p's own value, far for another."""
    sampler = module("gpu/gpu_sampler.py")
    name = "16ch 1+2 layers 6x6"
    args, drawn = sampler.arguments(name, 2), sampler.stored(name)[:2]
    margins = [sampler.margin(args, drawn, 0, i) for i in range(36)]
    assert 0 < min(margins) and max(margins) < 1
    uniforms = SampleArguments(*args).uniforms[0].flatten()
    p = uniforms[7] + torch.tensor([margins[7], -margins[7]])
    uniforms[7] = p[0] if drawn[0].flatten()[7] == 1 else p[1]
    assert sampler.margin(args, drawn, 0, 7) < 1e-5


def test_the_generated_tables_are_those_of_the_results_and_the_ops(module):
    report = module("report.py")
    assert report.main(["--check"]) == 0, "run: python benchmarks/report.py"


def test_every_goal_and_every_peer_is_of_a_benchmarked_row(module):
    benches = {(s.name, b.name): b for s in zoo_kernels.ops().values() for b in s.bench}
    for goal in module("goals.py").GOALS:
        assert goal.peer in {*benches[goal.op, goal.case].peers, "reference"}, goal
        compiled = f"{goal.peer} compiled" in benches[goal.op, goal.case].peers
        assert compiled, f"{goal} has no second baseline"


def test_every_goal_of_a_family_is_of_a_row_with_both_baselines(module):
    module("report.py")
    for family, found in importlib.import_module("models").families().items():
        benches = {b.name: b for b in found.BENCHES}
        for goal in found.GOALS:
            named = benches[goal.case].contestants
            assert goal.op == family and goal.peer in named, goal
            assert goal.best == 0 or f"{goal.peer} compiled" in named, f"{goal}: one baseline"


def test_a_wrong_kernel_is_not_timed(module, monkeypatch):
    ops, spec = module("ops.py"), zoo_kernels.ops()["rng_uniform"]
    if spec.cpp is None or not _extension.load()[0]:
        pytest.skip("needs the C++ kernels")
    right = spec.cpp.run
    wrong = _dispatch.Impl(lambda *args: right(*args) * 1.01, needs="rng_uniform")
    monkeypatch.setitem(spec.impls, "cpp", wrong)
    with pytest.raises(AssertionError, match="tolerances off"):
        ops.gate(spec, "cpp")
    with pytest.raises(AssertionError, match="not timed"):
        ops.row(spec, dataclasses.replace(spec.bench[0], peers={}), 1)


def doubled(n):
    """Builds a contestant whose call returns 2 n."""
    return lambda: lambda: torch.full((3,), 2.0 * n)


def absent():
    raise ImportError("No module named 'absent'")


def test_a_model_is_timed_beside_peers_that_are_there_and_equal(module, capsys):
    module("report.py")
    models = importlib.import_module("models")
    contestants = {"ours": doubled(1), "peer": doubled(1), "absent": absent}
    row = models.row("rings", models.Bench("double", contestants, equal={"peer": 1e-6},
                                           scale={"peer": 1000.0}), 1, ("torch",))  # fmt: skip
    assert list(row["cpu_ms"]) == ["ours", "peer"] and "without absent" in capsys.readouterr().err
    assert row["distance"] == {"ours": 0.0, "peer": 0.0} and row["scaled"] == ["peer"]
    assert row["cpu_ms"]["peer"] > 100 * row["cpu_ms"]["ours"] > 0
    unequal = models.Bench("double", {"ours": doubled(1), "peer": doubled(2)}, equal={"peer": 0.1})
    with pytest.raises(AssertionError, match="peer is 1.0 off ours"):
        models.row("rings", unequal, 1, ())


def test_a_row_that_says_nothing_on_this_machine_is_left_out_with_its_reason(
    module, capsys, monkeypatch
):
    module("report.py")
    models = importlib.import_module("models")
    both = {"ours": doubled(1), "peer": doubled(1)}
    benches = (models.Bench("fits", both), models.Bench("not", both, unless=lambda: "no bf16"))
    rings = SimpleNamespace(BENCHES=benches, PACKAGES=())
    monkeypatch.setattr(models, "families", lambda: {"rings": rings})
    assert [row["case"] for row in models.rows("rings", "", 1)] == ["fits"]
    assert "without rings not: no bf16" in capsys.readouterr().err


def test_a_goal_may_ask_less_of_the_second_baseline(module):
    report, goals = module("report.py"), module("goals.py")
    two = goals.Goal("flows", "row", "peer", 3, best=1.5)
    assert report.wanted(two) == "3x; 1.5x"
    verdicts = [report.verdict(two, *pair) for pair in ((3, 1.5), (3, 1.4), (2.9, 2))]
    assert verdicts == ["yes", "as shipped only", "**no**"]
    one = goals.Goal("flows", "row", "peer", 3)
    assert [report.verdict(one, 4, 3), report.verdict(one, 4, 2)] == ["yes", "as shipped only"]
