"""Wheels, sdists and editable installs in environments that see no compiler and no checkout.

Third-party packages come from the surrounding environment through links; the zoo's own are built
from a copy of the sources and installed by pip. PATH holds the environment's own scripts alone,
and a compiler where a test says so.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAMILIES = ("autoregressive", "flows", "vae", "gan", "diffusion")
OURS = re.compile(r"(?i)density.zoo|zoo_|__editable__|__pycache__|.*\.pth$")
MODEL = "made.digits"


def call(command, *, check=True, **options):
    """Run a command; its output is part of the failure."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=600, **options
    )
    if check and done.returncode:
        pytest.fail(f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done


def pip(*arguments, **options):
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    verb, *rest = arguments
    return call([sys.executable, "-m", "pip", verb, "-q", *offline, *rest], **options)


def bare(**variables):
    """The environment variables of a machine without a compiler and without our settings."""
    drop = re.compile(r"ZOO_|PYTHON|CXX$|CC$|XDG_|VIRTUAL_ENV|PIP_")
    kept = {name: value for name, value in os.environ.items() if not drop.match(name)}
    return {**kept, "PATH": "", "OMP_NUM_THREADS": "1", **variables}


class Environment:
    """A virtual environment with nothing of the zoo in it, and a home of its own."""

    def __init__(self, folder, third_party):
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        venv.create(folder / "venv", with_pip=False, symlinks=True)
        (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
        (site / "third_party.pth").write_text(f"{third_party}\n")
        self.bin = folder / "venv" / "bin"

    def pip(self, verb, *arguments, **options):
        """pip for this environment, run by the surrounding one."""
        command = [sys.executable, "-m", "pip", "--python", self.bin / "python", verb, "-q"]
        flags = [] if verb == "uninstall" else ["--no-index", "--no-deps", "--no-build-isolation"]
        return call([*command, *flags, "--disable-pip-version-check", *arguments], **options)

    def run(self, script, *arguments, compiler=False, check=True, **variables):
        """Run a script of this environment; a compiler is in reach only if asked for."""
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}" if compiler else str(self.bin)
        variables = bare(PATH=path, HOME=str(self.home), **variables)
        return call([self.bin / script, *arguments], check=check, cwd=self.home, env=variables)

    def zoo(self, *arguments, **options):
        return self.run("zoo", *arguments, **options)

    def json(self, *arguments, **options):
        return json.loads(self.zoo("--json", *arguments, **options).stdout)


@pytest.fixture(scope="module")
def third_party(tmp_path_factory):
    """A folder with a link to every installed package but the zoo's own."""
    folder = tmp_path_factory.mktemp("third_party")
    for place in [Path(p) for p in sys.path if p.endswith("site-packages")]:
        for entry in place.iterdir():
            if not OURS.match(entry.name) and not (folder / entry.name).exists():
                (folder / entry.name).symlink_to(entry)
    return folder


@pytest.fixture
def environment(tmp_path, third_party):
    return Environment(tmp_path / "environment", third_party)


def copy_sources(target):
    """The files that a clone would have, so that nothing stale is built in."""
    listing = call(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT).stdout
    for name in filter(None, listing.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    return target


def build(source, target, *, compiler=False):
    """One wheel built from a source folder or an sdist."""
    variables = dict(os.environ) if compiler else bare()
    pip("wheel", "-w", target, source, env=variables)
    name = "density_zoo-" if source.name in ("sources", "core") else "density_zoo"
    (wheel,) = target.glob(f"{name}*.whl")
    return wheel


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return copy_sources(tmp_path_factory.mktemp("clone") / "sources")


@pytest.fixture(scope="module")
def pure(sources, tmp_path_factory):
    """The core's wheel, built where there is no compiler."""
    return build(sources, tmp_path_factory.mktemp("pure"))


@pytest.fixture(scope="module")
def compiled(sources, tmp_path_factory):
    """The core's wheel, built with a compiler."""
    return build(sources, tmp_path_factory.mktemp("compiled"), compiler=True)


@pytest.fixture(scope="module")
def families(sources, tmp_path_factory):
    """Wheels of plugins by name, each built once, on demand."""
    made = {}

    def wheel(name):
        if name not in made:
            made[name] = build(sources / "plugins" / name, tmp_path_factory.mktemp(name))
        return made[name]

    return wheel


def names(wheel):
    return set(zipfile.ZipFile(wheel).namelist())


def samples(environment, **options):
    """Events of a bundled model, drawn by the command, as nested lists."""
    path = environment.home / "samples.npz"
    environment.zoo("sample", MODEL, "-n", "4", "--seed", "1", "--out", path, **options)
    code = f"import numpy; print(numpy.load({str(path)!r})['x'].tolist())"
    return json.loads(environment.run("python", "-c", code).stdout)


def backends(environment, **options):
    """{backend: why not, or '' if it serves} of the random-number op."""
    code = (
        "import json, zoo_kernels\n"
        "rows = [r for r in zoo_kernels.backends() if r.op == 'normal']\n"
        "print(json.dumps({r.backend: '' if r.ok else r.reason for r in rows}))"
    )
    return json.loads(environment.run("python", "-c", code, **options).stdout)


def test_wheels_install_without_a_compiler_and_the_zoo_lists_and_samples(
    environment, pure, families
):
    environment.pip("install", pure, families("autoregressive"))
    rows = {row["name"]: row for row in environment.json("list")}
    assert rows[MODEL]["status"] == "bundled"
    drawn = samples(environment)
    assert len(drawn) == 4
    assert {value for image in drawn for row in image[0] for value in row} <= set(range(17))


def test_pure_wheel_carries_its_data_and_the_sources_of_the_kernels(pure, sources):
    assert pure.name.endswith("-py3-none-any.whl")
    wanted = {
        str(path.relative_to(base))
        for base, pattern in (
            (sources, "zoo_core/**/*"),
            (sources / "kernels", "zoo_kernels/**/*"),
        )
        for path in base.glob(pattern)
        if path.is_file()
    }
    assert {"zoo_core/py.typed", "zoo_core/known_plugins.json"} <= wanted
    found = names(pure)
    assert wanted - found == set()
    strays = {n for n in found - wanted if ".dist-info/" not in n}
    assert strays <= {"zoo_kernels/_C.failure.txt"}


@pytest.mark.parametrize("family", ["autoregressive", "flows"])
def test_plugin_wheel_carries_everything_in_its_package(family, families, sources):
    src = sources / "plugins" / family / "src"
    wanted = {str(p.relative_to(src)) for p in src.rglob("*") if p.is_file()}
    found = {n for n in names(families(family)) if ".dist-info/" not in n}
    assert found == wanted
