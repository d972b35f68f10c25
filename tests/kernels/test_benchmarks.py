"""The benchmark scripts run: what needs a GPU at tiny sizes through Triton's interpreter."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import zoo_kernels
from zoo_kernels import _dispatch, _extension

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
    p = args[0][0].flatten()[7] + torch.tensor([margins[7], -margins[7]])
    args[0][0].flatten()[7] = p[0] if drawn[0].flatten()[7] == 1 else p[1]
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


def test_a_goal_may_ask_less_of_the_second_baseline(module):
    report, goals = module("report.py"), module("goals.py")
    two = goals.Goal("flows", "row", "peer", 3, best=1.5)
    assert report.wanted(two) == "3x; 1.5x"
    verdicts = [report.verdict(two, *pair) for pair in ((3, 1.5), (3, 1.4), (2.9, 2))]
    assert verdicts == ["yes", "as shipped only", "**no**"]
    one = goals.Goal("flows", "row", "peer", 3)
    assert [report.verdict(one, 4, 3), report.verdict(one, 4, 2)] == ["yes", "as shipped only"]


def dry_run(out, *arguments):
    environment = os.environ | {"TRITON_INTERPRET": "1", "OUT": str(out)}
    return subprocess.run(
        [sys.executable, "benchmarks/gpu/run.py", "--dry-run", *arguments], cwd=ROOT,
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_the_gpu_scripts_run_under_the_interpreter(tmp_path):
    pytest.importorskip("triton")
    done = dry_run(tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    pieces = {path.stem for path in tmp_path.glob("*.json")}
    assert pieces == {
        *("laws", "ceilings", "speed", "sampler", "loop"),
        *("compile", "sanitize", "steps", "pipeline", "tune", "tuned-none"),
    }
    assert json.loads((tmp_path / "tuned-none.json").read_text()) is not None
    (tmp_path / "tuned-none.json").unlink()
    for piece in pieces - {"tuned-none"}:
        made = json.loads((tmp_path / f"{piece}.json").read_text())
        assert made["tiny"] and made["entries"] and made["environment"]["triton"]
    pixels = json.loads((tmp_path / "sampler.json").read_text())["entries"]
    assert next(iter(pixels.values()))["equal_pixels"] == 1.0
    taken = json.loads((tmp_path / "compile.json").read_text())["entries"]
    assert all(row["reg"] and not row["over"] for op in taken.values() for row in op.values())
    steps = json.loads((tmp_path / "steps.json").read_text())["entries"]
    assert steps["made.digits"]["as shipped"]["ms"] > 0


@pytest.fixture
def sanitizer(tmp_path, monkeypatch):
    """`sanitizer(text, code)`: a compute-sanitizer that says a text instead of looking."""

    def write(text, code=0):
        path = tmp_path / "compute-sanitizer"
        path.write_text(f"#!/bin/sh\necho '{text}'\nexit {code}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return write


@pytest.mark.parametrize(
    ("text", "code", "fails"),
    [
        ("========= ERROR SUMMARY: 0 errors", 0, None),
        ("========= RACECHECK SUMMARY: 0 hazards displayed", 0, None),
        ("========= ERROR SUMMARY: 3 errors", 0, AssertionError),
        ("========= RACECHECK SUMMARY: 1 hazard displayed (1 error)", 0, AssertionError),
        ("no summary at all", 0, AssertionError),
        ("Internal Sanitizer Error", 1, RuntimeError),
    ],
)
def test_a_sanitizer_that_found_something_or_said_nothing_fails(
    module, sanitizer, text, code, fails
):
    sanitizer(text, code)
    piece = module("gpu/gpu_sanitize.py")
    if fails is None:
        assert piece.sanitized("memcheck", "cpu") == {"errors": 0}
    else:
        with pytest.raises(fails):
            piece.sanitized("memcheck", "cpu")


@pytest.mark.slow
def test_a_piece_goes_on_where_it_stopped(tmp_path):
    pytest.importorskip("triton")
    stopped = dry_run(tmp_path, "ceilings", "--limit", "0")
    assert stopped.returncode == 3 and "call again" in stopped.stdout
    assert dry_run(tmp_path, "ceilings").returncode == 0
    before = (tmp_path / "ceilings.json").read_text()
    again = dry_run(tmp_path, "ceilings", "--limit", "0")
    assert again.returncode == 0 and (tmp_path / "ceilings.json").read_text() == before
