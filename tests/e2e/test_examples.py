"""The example plugins install like anybody's, and their own tests pass."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SLOW = pytest.mark.slow
EXAMPLES = [
    "zoo-rings",
    pytest.param("zoo-energy", marks=SLOW),
    pytest.param("zoo-addons", marks=SLOW),
]


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_plugin_installs_and_passes_its_own_tests(tmp_path, name):
    source = ROOT / "examples" / name
    source = shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("build"))
    site = tmp_path / "site"
    flags = ("-q", "--no-index", "--no-deps", "--no-build-isolation", "--target", str(site))
    run(sys.executable, "-m", "pip", "install", *flags, str(source))
    paths = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")]))
    variables = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    run(sys.executable, "-m", "pytest", "-q", "tests", cwd=source, env=variables)


def test_the_core_knows_no_line_of_the_energy_based_family():
    words = ("zoo_energy", "explicit/unnormalized", "energy_ais", "temperedchain")
    texts = {p: p.read_text().lower() for p in (ROOT / "zoo_core").rglob("*.py")}
    assert [(p.name, w) for p, text in texts.items() for w in words if w in text] == []


@SLOW
def test_recipes_of_the_energy_based_family_train_and_their_bounds_hold(tmp_path):
    """The lattice against the known log p, the plane against the integral of exp(-E)."""
    code = (
        "import math, torch, zoo_core as zoo\n"
        "from zoo_core.training import load_recipe, run_recipe\n"
        "from pathlib import Path\n"
        "def gap(name, points, volume, **options):\n"
        "    model = zoo.load(str(run_recipe(load_recipe(name), Path(name).absolute(), seed=0)))\n"
        "    data = zoo.load_dataset(name.partition('.')[2], **options)\n"
        "    x = data.split('test').x.to(points.dtype)\n"
        "    with torch.no_grad():\n"
        "        z = torch.logsumexp(-model.energy(points).double(), 0) + math.log(volume)\n"
        "        exact = (-model.energy(x).double() - z).mean().item()\n"
        "    bound = model.log_likelihood(x[:256]).nats.mean().item()\n"
        "    held = bound - (-model.energy(x[:256]).double() - z).mean().item()\n"
        "    return data.truth(x).mean().item() - exact, held\n"
        "states = torch.cartesian_prod(*[torch.arange(2)] * 16).view(-1, 1, 4, 4)\n"
        "side = torch.linspace(-12, 12, 801)\n"
        "plane = torch.cartesian_prod(side, side)\n"
        "lost, held = gap('energy_lattice.ising', states, 1.0, size=4)\n"
        "assert 0 <= lost < 0.02 and held > 0, (lost, held)\n"
        "lost, held = gap('energy_mlp.moons', plane, (24 / 800) ** 2)\n"
        "assert 0 < lost < 0.15 and held > 0, (lost, held)\n"
    )
    sources = os.pathsep.join(str(ROOT / "examples" / n / "src") for n in ("zoo-energy",))
    info = tmp_path / "site" / "density_zoo_energy-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: density-zoo-energy\nVersion: 0\n")
    (info / "entry_points.txt").write_text("[density_zoo]\nenergy = zoo_energy.plugin\n")
    paths = os.pathsep.join([str(info.parent), sources, os.environ.get("PYTHONPATH", "")])
    variables = {
        **os.environ,
        "PYTHONPATH": paths,
        "OMP_NUM_THREADS": "1",
        "ZOO_PLUGINS": "energy",
    }
    run(sys.executable, "-c", code, cwd=tmp_path, env=variables)
