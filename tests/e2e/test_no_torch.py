"""The command where torch is missing: what needs none runs, the rest says what is missing."""

import json
import subprocess
import sys

import pytest

HIDDEN = """
import sys
sys.modules["torch"] = None  # every import of it raises ModuleNotFoundError
from zoo_core.cli.app import run
sys.exit(run(sys.argv[1:]))
"""


def zoo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", HIDDEN, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_doctor_says_that_torch_is_missing_and_what_to_do():
    done = zoo("doctor", "--json")
    assert done.returncode == 4, done.stderr
    found = json.loads(done.stdout)
    checks = {check["name"]: check for check in found["checks"]}
    assert checks["torch"]["status"] == "problem"
    assert checks["torch"]["remedy"] == "pip install torch"
    assert checks["python"]["status"] == "ok"
    assert found["kernels"] == []
    assert "PROBLEM  torch" in zoo("doctor").stdout


@pytest.mark.parametrize("verb", ["--help", "list", "plugins", "cache", "data", "train --help"])
def test_verbs_that_look_only_need_no_torch(verb):
    done = zoo(*verb.split())
    assert done.returncode == 0, done.stderr
    assert "torch" not in done.stderr


def test_info_leaves_out_the_options_and_says_so():
    found = zoo("info", "made", "--json")
    assert found.returncode == 0
    assert "options are not shown: they need torch" in found.stderr
    value = json.loads(found.stdout)
    assert value["config"] is None and value["family"] == "autoregressive"
    assert "sequential" in zoo("info", "made").stdout


@pytest.mark.parametrize(
    "verb", ["sample made.digits", "data info digits", "evaluate made.digits"]
)
def test_verbs_that_need_torch_say_so_without_a_traceback(verb):
    done = zoo(*verb.split())
    assert done.returncode == 4
    assert "this needs torch, which cannot be imported" in done.stderr
    assert "hint: zoo doctor says what is missing" in done.stderr
    assert "Traceback" not in done.stderr
