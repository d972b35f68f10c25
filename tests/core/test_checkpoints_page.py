"""The page of published checkpoints is what the cards say."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_of_checkpoints_is_up_to_date():
    command = [sys.executable, "-m", "tools.checkpoints", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_is_missing_says_where_it_is_and_what_it_needs():
    rows = tomllib.loads((ROOT / "tools" / "missing_checkpoints.toml").read_text())["missing"]
    assert all(set(row) == {"names", "where", "license", "class", "needs"} for row in rows)
