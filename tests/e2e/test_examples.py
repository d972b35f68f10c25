"""The example plugin installs like anybody's, and its own tests pass."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

RINGS = Path(__file__).parents[2] / "examples" / "zoo-rings"


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"


def test_ring_plugin_installs_and_passes_its_own_tests(tmp_path):
    source = shutil.copytree(RINGS, tmp_path / "zoo-rings", ignore=shutil.ignore_patterns("build"))
    site = tmp_path / "site"
    flags = ("-q", "--no-index", "--no-deps", "--no-build-isolation", "--target", str(site))
    run(sys.executable, "-m", "pip", "install", *flags, str(source))
    paths = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")]))
    variables = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    run(sys.executable, "-m", "pytest", "-q", "tests", cwd=source, env=variables)
