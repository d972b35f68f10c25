"""The scripts for a GPU: what they find is kept, goes on and travels. At tiny sizes they run here,
through Triton's interpreter."""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import distributions, version
from pathlib import Path

import pytest
import torch

import zoo_kernels
from zoo_core.workflows import load_recipe
from zoo_core.workflows.recipe import parse_recipe
from zoo_kernels import _dispatch

ROOT = Path(__file__).parents[2]
GPU = ROOT / "benchmarks" / "gpu"
pytestmark = pytest.mark.skipif(_dispatch.interpreted(), reason="starts its own interpreter")


@pytest.fixture
def module(monkeypatch):
    """A module of benchmarks/gpu by its name."""
    pytest.importorskip("triton")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.syspath_prepend(str(GPU))
    return importlib.import_module


@pytest.fixture
def results(module, tmp_path):
    """What the next call would see."""
    resumable = module("resumable")
    return lambda left=60.0: resumable.Results(
        tmp_path / "piece.json", "cpu", True, time.monotonic() + left
    )


def never():
    raise AssertionError("ran again")


def test_an_item_is_run_once_and_a_failure_is_an_entry(results):
    first = results()
    assert first.each("a", lambda: {"n": 1}) == {"n": 1}
    assert first.each("b", lambda: {"n": 1 / 0})["failed"].startswith("ZeroDivisionError")
    second = results()
    assert second.each("a", never) == {"n": 1} and "failed" in second.each("b", never)
    assert second.failed() == ["b"] and not second.finished
    second.finish()
    assert results().finished
    stored = json.loads(second.path.read_text())
    assert stored["tiny"] and stored["environment"]["torch"] == version("torch")
    again = results()
    again.forget_failures()
    assert results().each("b", lambda: {"n": 2}) == {"n": 2} and not results().finished


def test_measurements_of_tiny_sizes_do_not_pass_for_full_ones(results, module):
    first = results()
    first.each("a", lambda: {"n": 1})
    with pytest.raises(ValueError, match=r"piece\.json holds tiny measurements"):
        module("resumable").Results(first.path, "cuda", False, time.monotonic() + 60)


def test_after_the_limit_nothing_begins(results, module):
    over = results(left=-1.0)
    with pytest.raises(module("resumable").OutOfTime):
        over.each("a", never)
    assert results().each("a", lambda: {"n": 1}) == {"n": 1}


def test_what_is_cut_off_twice_counts_as_failed_and_what_stops_itself_does_not(results, module):
    def killed():
        raise KeyboardInterrupt  # as little as a kill it lets the item write

    def stops():
        raise module("resumable").OutOfTime

    for _ in range(3):
        with pytest.raises(module("resumable").OutOfTime):
            results().each("training", stops)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            results().each("hangs", killed)
    assert "cut off in 2 calls" in results().each("hangs", never)["failed"]
    assert results().each("training", lambda: {"n": 1}) == {"n": 1}


def test_an_entry_from_another_machine_says_so(results, module, monkeypatch):
    results().each("a", lambda: {"n": 1})
    monkeypatch.setattr(module("resumable"), "environment", lambda device: {"device": "another"})
    later = results()
    assert later.each("b", lambda: {"n": 2}) == {"n": 2, "environment": {"device": "another"}}
    assert later.each("a", never) == {"n": 1} and later.first["device"] == "cpu"


def test_a_lost_device_ends_the_process(module, tmp_path, monkeypatch):
    resumable = module("resumable")

    def lost():
        raise RuntimeError("an illegal memory access was encountered")

    monkeypatch.setattr(resumable, "environment", lambda device: {"device": device})
    monkeypatch.setattr(torch.cuda, "synchronize", lost)
    made = resumable.Results(tmp_path / "p.json", "cuda", False, time.monotonic() + 60)
    with pytest.raises(resumable.DeviceLost, match="after a"):
        made.each("a", lost)
    assert "illegal" in made.entries["a"]["failed"]


def test_the_recipes_for_a_gpu_fit_their_minutes_and_ask_for_no_other_change(
    module, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    train, tmp_path = module("gpu_train"), Path()
    assert sum(train.MINUTES.values()) <= 25
    timed = {name: {"as shipped": {"ms": 20.0}, "bf16": {"ms": 10.0}} for name in train.MINUTES}
    del timed["vdm.binarized_mnist_gpu"]
    (tmp_path / "steps.json").write_text(json.dumps({"entries": timed}))
    for name, minutes in train.MINUTES.items():
        written, made = load_recipe(name), train.fitted(name, minutes, tmp_path)
        if name not in timed:
            assert made == name  # not timed: as it is written
            continue
        recipe = load_recipe(made)
        assert recipe.name == name
        ms = 10.0 if written.stages[0].train.precision == "bf16" else 20.0
        steps = recipe.stages[0].train.steps
        assert 0.9 * minutes * 60e3 / ms <= steps <= minutes * 60e3 / ms
        same = parse_recipe(recipe.text, name=name, overrides={
            "train.steps": written.stages[0].train.steps})  # fmt: skip
        assert same.stages == written.stages and same.model == written.model
        (tmp_path / "steps.json").write_text('{"entries": {}}')
        assert train.fitted(name, minutes, tmp_path) == made  # made once
        (tmp_path / "steps.json").write_text(json.dumps({"entries": timed}))


def test_every_piece_has_its_share_of_three_calls_and_its_line_in_the_readme(module):
    run = module("run")
    assert sorted(run.PIECES) == sorted(p.stem.removeprefix("gpu_") for p in GPU.glob("gpu_*.py"))
    others = sum(seconds for name, seconds in run.PIECES.items() if name != "train")
    assert others <= 3 * module("resumable").LIMIT_SECONDS
    readme = (GPU / "README.md").read_text()
    assert all(f"| `{name}` | {seconds} |" in readme for name, seconds in run.PIECES.items())
    for recipe, minutes in module("gpu_train").MINUTES.items():
        assert f"| `{recipe}`" in readme and f"| {minutes:g} |" in readme


def test_goals_are_of_rows_that_are_measured_and_only_on_a_card(module, tmp_path):
    goals, benches = module("card_goals"), {}
    for name, spec in zoo_kernels.ops().items():
        benches |= {f"{name} {b.name}": b for b in spec.bench if spec.triton}
    for goal in goals.GOALS:
        if goal.piece == "speed":
            peer = goal.path.removeprefix("ratio/")
            assert goal.path == "of_copy" or peer in benches[goal.entry].peers
        if goal.piece == "sampler":
            assert goal.entry.partition(" B=")[0] in module("gpu_sampler").STACKS
    goal = goals.GOALS[0]
    row = {"environment": {}, "tiny": False, "entries": {goal.entry: {"of_copy": 0.9}}}
    (tmp_path / "speed.json").write_text(json.dumps(row))
    first, second, *_ = goals.verdicts(tmp_path)
    assert first.endswith("of_copy at least 0.85: 0.9, reached")
    assert second.endswith("not measured")
    row["entries"][goal.entry]["of_copy"] = 0.8
    (tmp_path / "speed.json").write_text(json.dumps(row))
    assert next(goals.verdicts(tmp_path)).endswith("MISSED")
    (tmp_path / "speed.json").write_text(json.dumps(row | {"tiny": True}))
    assert next(goals.verdicts(tmp_path)).endswith("not measured")


def test_every_recipe_whose_steps_are_timed_exists(module):
    assert all(load_recipe(name) for name in module("gpu_steps").RECIPES)


def test_results_pass_through_few_files_and_come_out_whole(module, tmp_path):
    pack = module("pack")
    results, back, home = (tmp_path / name for name in ("results", "back", "home"))
    files = {
        "laws.json": b"{}", "train/a.b/log.jsonl": b"log", "train/a.b/model/zoo.json": b"{}",
        "train/a.b/model/model.safetensors": os.urandom(30_000),
        "train/a.b/checkpoint.safetensors": os.urandom(10),  # its model is finished
        "train/c.d/checkpoint.safetensors": os.urandom(20_000),
        "train/e.f/checkpoint.safetensors": os.urandom(200_000),
    }  # fmt: skip
    for name, data in files.items():
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        (results / name).write_bytes(data)
    left = pack.pack(results, back, parts=4, part_bytes=20_000)
    assert [str(p.relative_to(results)) for p in left] == ["train/e.f/checkpoint.safetensors"]
    parts = list(back.iterdir())
    assert len(parts) <= 4 and all(p.stat().st_size <= 20_000 for p in parts)
    pack.unpack(back, home)
    found = {str(p.relative_to(home)): p.read_bytes() for p in home.rglob("*") if p.is_file()}
    gone = ("train/a.b/checkpoint.safetensors", "train/e.f/checkpoint.safetensors")
    assert found == {name: data for name, data in files.items() if name not in gone}


def test_plugins_of_a_checkout_are_found_by_their_metadata_alone(module, tmp_path):
    wheels = module("wheels")
    for project in wheels.PROJECTS:
        wheels.metadata(project, tmp_path)
    found = [e for d in distributions(path=[str(tmp_path)]) for e in d.entry_points]
    plugins = {e.name for e in found if e.group == "density_zoo"}
    assert plugins >= {"autoregressive", "flows", "vae", "gan", "diffusion"}
    for part in wheels.environment().splitlines()[-1].split(":"):
        if part.startswith("$PWD/"):
            assert (ROOT / part.removeprefix("$PWD/")).is_dir()


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
    piece = module("gpu_sanitize")
    if fails is None:
        assert piece.sanitized("memcheck", "cpu") == {"errors": 0}
    else:
        with pytest.raises(fails):
            piece.sanitized("memcheck", "cpu")


DRIVER = """
import sys
sys.path[:0] = [{gpu!r}, {here!r}]
import run
run.PIECES = {{"counting": 30, "crashing": 30, "sleepy": 5}}
run.START, run.WIND_UP, run.SLOWER = 5, 5, 1
sys.exit(run.main(sys.argv[1:]))
"""
PIECES = {
    "counting": "def run(results):\n    results.each('a', lambda: {'n': 1})",
    "crashing": "raise ImportError('no such peer')",
    "sleepy": """
import os, time
from pathlib import Path

def doze():
    first = Path(__file__).with_name("first")
    if not first.exists():
        first.write_text(str(os.getpid()))
        time.sleep(600)
    return {"n": 2}

def run(results):
    results.each("quick", lambda: {"n": 1, "pid": os.getpid()})
    results.each("slow", doze)
""",
}


@pytest.fixture
def driver(tmp_path):
    """A call of run.py with pieces of our own; `first` holds the process of the one that hangs."""
    path = tmp_path / "drive.py"
    path.write_text(DRIVER.format(gpu=str(GPU), here=str(tmp_path)))
    for name, text in PIECES.items():
        (tmp_path / f"gpu_{name}.py").write_text(text)
    variables = os.environ | {"TRITON_INTERPRET": "1", "OUT": str(tmp_path / "out")}

    def call(*arguments):
        command = [sys.executable, str(path), "--dry-run", *arguments]
        return subprocess.Popen(
            command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return call


@pytest.mark.slow
def test_a_call_that_is_killed_goes_on_in_the_next(driver, tmp_path):
    pytest.importorskip("triton")
    call, first = driver("sleepy"), tmp_path / "first"
    while not first.exists() and call.poll() is None:
        time.sleep(0.2)
    call.kill()
    os.kill(int(first.read_text()), signal.SIGKILL)
    call.communicate()
    half = json.loads((tmp_path / "out" / "sleepy.json").read_text())
    assert list(half["entries"]) == ["quick"] and half["attempts"] == {"slow": 1}
    again = driver("sleepy", "counting")
    out, err = again.communicate()
    assert again.returncode == 0, err
    whole = json.loads((tmp_path / "out" / "sleepy.json").read_text())
    assert whole["entries"]["slow"] == {"n": 2} and whole["finished"]
    assert whole["entries"]["quick"] == half["entries"]["quick"]  # with its process: not run again
    assert "sleepy    finished" in out and "counting  finished" in out


@pytest.mark.slow
def test_a_piece_that_hangs_or_crashes_leaves_the_others_their_time(driver, tmp_path):
    """It hangs once: what is left of the call goes to it again."""
    pytest.importorskip("triton")
    call = driver("--limit", "200")
    out, err = call.communicate()
    assert "crashing: ended with status 1" in err and "sleepy: cut off" in err
    assert "counting  finished" in out and "sleepy    finished" in out
    assert call.returncode == 1
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "first").read_text()), 0)


@pytest.mark.slow
def test_every_piece_runs_at_tiny_sizes_under_the_interpreter(tmp_path):
    pytest.importorskip("triton")
    command = [sys.executable, "benchmarks/gpu/run.py", "--dry-run"]
    variables = os.environ | {
        "TRITON_INTERPRET": "1",
        "OUT": str(tmp_path),
        "OMP_NUM_THREADS": "1",
    }
    status = 3
    while status == 3:  # as on a card: the next nine minutes
        done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
        status = done.returncode
    assert status == 0, done.stdout[-3000:] + done.stderr[-3000:]
    pieces = [path.stem.removeprefix("gpu_") for path in GPU.glob("gpu_*.py")]
    made = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in pieces}
    for piece in made.values():
        assert piece["tiny"] and piece["finished"] and piece["entries"]
        assert {"torch", "triton", "device"} <= set(piece["environment"])
    assert next(iter(made["sampler"]["entries"].values()))["equal_pixels"] == 1.0
    for op in made["compile"]["entries"].values():
        assert op["variants"] and all(row["reg"] for row in op["variants"].values())
    assert made["steps"]["entries"]["made.digits"]["as shipped"]["ms"] > 0
    assert made["train"]["entries"]["made.digits"]["metrics"]
    assert (tmp_path / "recipes" / "made.digits.toml").exists()
    assert json.loads((tmp_path / "tuned-none.json").read_text()) is not None
