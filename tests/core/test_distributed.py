"""Several processes train as one does, and stay together or say which one is missing."""

import json
import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from zoo_core.catalog.registry import current
from zoo_core.errors import UsageError
from zoo_core.training import distributed, rendezvous

sys.path.insert(0, str(Path(__file__).parent))
import two_processes as script

LAUNCH = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


def launch(out: Path, cases) -> Path:
    """Run the script's trainings in two processes."""
    out.mkdir(exist_ok=True)
    done = subprocess.run(
        [*LAUNCH, script.__file__, str(out), ",".join(cases)],
        capture_output=True,
        text=True,
        timeout=580,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    return launch(tmp_path_factory.mktemp("together"), script.CASES)


def check_ten_steps(folder: Path, case: str) -> None:
    ranks = [load_file(folder / f"{case}.ten.{rank}.safetensors") for rank in (0, 1)]
    for name, value in script.trained(case).items():
        assert torch.equal(ranks[0][name], ranks[1][name]), name
        torch.testing.assert_close(ranks[0][name], value, rtol=0, atol=1e-9, msg=name)


def test_two_processes_write_what_each_of_them_has_trained(together):
    """First, so that the launch is no architecture's cost."""
    wanted = {f"{case}.{what}.{rank}.safetensors" for case in script.CASES
              for what in ("ten", "first") for rank in (0, 1)}  # fmt: skip
    assert wanted <= {path.name for path in together.iterdir()}


@pytest.mark.parametrize("case", script.CASES)
def test_ten_steps_of_two_processes_are_those_of_one(case, together):
    check_ten_steps(together, case)


@pytest.mark.parametrize("case", script.CASES)
def test_the_first_gradient_of_two_processes_is_that_of_one(case, together):
    two, one = load_file(together / f"{case}.first.0.safetensors"), script.first_gradient(case)
    assert one.keys() == two.keys()
    for name, gradient in one.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(two[name], gradient, rtol=0, atol=1e-5 * scale, msg=name)


@pytest.mark.slow
def test_every_architecture_trains_on_two_processes_as_on_one(tmp_path):
    archs = [e.spec.arch for e in current().models if e.plugin.dist.startswith("density-zoo-")]
    folder = launch(tmp_path, archs)
    for arch in archs:
        check_ten_steps(folder, arch)


def test_players_with_lazy_penalties_train_on_two_processes_as_on_one(together, tmp_path):
    ranks = [load_file(together / f"game.{rank}.safetensors") for rank in (0, 1)]
    for name, value in script.play(tmp_path).items():
        assert torch.equal(ranks[0][name], ranks[1][name]), name
        torch.testing.assert_close(ranks[0][name], value, rtol=0, atol=1e-9, msg=name)
    lines = [
        (folder / "log.jsonl").read_text().splitlines() for folder in (together / "game", tmp_path)
    ]
    assert len(lines[0]) == len(lines[1])


def test_a_training_of_two_processes_is_resumed_by_one(together, tmp_path):
    whole = script.play(tmp_path)
    resumed = script.play(together / "half", resume=True)
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=1e-9, msg=name)


def test_processes_of_different_trainings_are_refused_by_rank(together):
    said = [json.loads((together / f"refusals.{rank}.json").read_text()) for rank in (0, 1)]
    assert said[0] == said[1]
    assert re.match(
        "process 1 of 2 is of another training: data.train: '[0-9a-f]{64}' there", said[0]["data"]
    )
    assert "train.batch_size: 16 there, 15 in process 0" in said[0]["batch"]
    assert "model.hidden: 9 there, 8 in process 0" in said[0]["model"]
    assert "train.accumulate = 14 makes a microbatch of 1" in said[0]["step"]


def test_a_launcher_that_starts_one_process_where_several_were_asked_for_is_refused(monkeypatch):
    for name in ("ACCELERATE_USE_CPU", "MASTER_ADDR"):
        monkeypatch.setenv(name, "1")
    with pytest.raises(UsageError, match="asked for several processes and started one"):
        distributed.check_launcher("no")


LEFT_OVER = {
    "size_alone": ({"RANK": "0", "WORLD_SIZE": "2"}, "but not MASTER_ADDR, MASTER_PORT"),
    "main": (
        {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"},
        "RANK = 0 and WORLD_SIZE = 2 are set, but 2 processes did not meet at 127.0.0.1:0 within "
        "0:00:01",
    ),
    "other": (
        {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"},
        "RANK = 1 and WORLD_SIZE = 2 are set",
    ),
}


@pytest.mark.parametrize("case", LEFT_OVER)
def test_variables_that_a_launcher_left_over_end_in_an_error_that_names_them(
    case, monkeypatch, caplog
):
    variables, message = LEFT_OVER[case]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rendezvous, "_MEETING", timedelta(seconds=1))
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        distributed.ProcessGroup(torch.device("cpu"))
    assert "unset RANK WORLD_SIZE" in caught.value.hint
    said = f"process {variables['RANK']} waits for 2 in all (RANK, WORLD_SIZE are set)"
    assert caplog.messages == ([said] if "MASTER_ADDR" in variables else [])


def test_a_process_that_is_alone_says_nothing(caplog):
    assert distributed.ProcessGroup(torch.device("cpu")).world_size == 1
    assert caplog.messages == []
