"""A training of two processes that is ended, or loses one of them, says so and can be resumed.

The processes are started without a launcher, which would end all of them by itself.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zoo_core.training.rendezvous import PATIENCE

SCRIPT = Path(__file__).with_name("two_processes.py")
ALONE = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"}


def start(out: Path, scenario: str, seconds: float = 60) -> list[subprocess.Popen]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"OMP_NUM_THREADS": "1", PATIENCE: str(seconds)}
    return [
        subprocess.Popen(
            [sys.executable, SCRIPT, "--", scenario, out],
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]


def ends(processes) -> list[tuple[int, str]]:
    """Exit code and last line of what each process said."""
    said = [p.communicate(timeout=200)[1] for p in processes]
    lines = [[x for x in text.splitlines() if not x.startswith("[W")] for text in said]
    return [(p.returncode, x[-1] if x else "") for p, x in zip(processes, lines, strict=True)]


def wait_for_steps(out: Path, processes, n: int = 5) -> None:
    """Wait until the main process has logged some steps."""
    until = time.monotonic() + 200
    log = out / "log.jsonl"
    while not (log.exists() and log.read_text().count('"train"') >= n):
        assert time.monotonic() < until
        assert all(p.poll() is None for p in processes), ends(processes)
        time.sleep(0.1)


@pytest.fixture
def endless(tmp_path):
    """Start a training without end, and see to it that nothing of it stays."""
    started = []

    def begin(seconds: float = 60):
        started.extend(start(tmp_path, "endless", seconds))
        wait_for_steps(tmp_path, started)
        return started

    yield begin
    for process in started:
        process.kill()
        process.wait()


def test_sigterm_to_one_process_ends_all_after_a_checkpoint(endless, tmp_path):
    processes = endless()
    processes[1].send_signal(signal.SIGTERM)
    assert [code for code, _ in ends(processes)] == [-signal.SIGTERM] * 2
    last = (tmp_path / "log.jsonl").read_text().splitlines()[-1]
    assert '"checkpoint"' in last
    assert (tmp_path / "checkpoint.safetensors").exists()


@pytest.mark.slow
def test_a_killed_process_is_named_by_the_others(endless):
    processes = endless(seconds=4)
    processes[1].kill()
    code, said = ends(processes)[0]
    assert code == 1
    assert "ProcessError: process 1 of 2 ended or did not answer within 0:00:04" in said


@pytest.mark.slow
def test_a_stopped_process_is_named_after_the_time_that_processes_wait(endless):
    processes = endless(seconds=4)
    processes[1].send_signal(signal.SIGSTOP)
    began = time.monotonic()
    said = processes[0].communicate(timeout=100)[1]
    assert "ProcessError: process 1 of 2 ended or did not answer" in said
    assert time.monotonic() - began < 60
    processes[1].kill()


@pytest.mark.slow
def test_a_main_process_that_stops_while_the_others_wait_for_it_is_missed(tmp_path):
    processes = start(tmp_path, "main_hangs", seconds=3)
    said = processes[1].communicate(timeout=200)[1]
    assert "ProcessError: process 0" in said
    processes[0].kill()
    processes[0].communicate()


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["full_disk", "out_of_time"])
def test_what_the_main_process_meets_is_met_by_all(scenario, tmp_path):
    codes = ends(start(tmp_path, scenario))
    if scenario == "full_disk":
        assert all("OutputError" in said and "No space left" in said for _, said in codes), codes
    else:
        assert [code for code, _ in codes] == [0, 0], codes
        assert (tmp_path / "checkpoint.safetensors").exists()
