"""Makes a folder that travels with the checkout to a machine that reaches no network.

    python benchmarks/gpu/wheels.py dist/gpu --python 3.12 --data binarized_mnist.npz
    source dist/gpu/env.sh        # there, in the checkout: installs the wheels, sets PYTHONPATH

It holds wheels of the benchmarks' peers (the extra `bench`), the metadata by which Python finds
the plugins of the checkout, which are not installed there, and files of data. Peers that have no
wheel are built, and must be pure. Checkout and folder together must not be larger than `--most`.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import tomllib
from importlib.metadata import distribution
from pathlib import Path

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
PROJECTS = [ROOT, *sorted(p.parent for p in ROOT.glob("plugins/*/pyproject.toml"))]
PLATFORMS = [f"--platform=manylinux{v}_x86_64" for v in ("2014", "_2_17", "_2_27", "_2_28")]
ENVIRONMENT = """\
# source this in the checkout: the peers, the packages of the checkout, the kernels
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
python3 -m pip install --quiet --no-index --no-deps --no-compile --upgrade \\
  --target "$here/site" "$here"/*.whl
export ZOO_SHARED="$here"
export PYTHONPATH="$PWD:$PWD/kernels:PLUGINS:$here/metadata:$here/site"
"""


def wheel(requirement: str, python: str, folder: Path) -> None:
    """A peer's wheel for that Python; where there is none, one of its source."""
    pip = [sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "-q"]
    ready = [*pip, "download", "--no-deps", "--only-binary=:all:", f"--python-version={python}",
             "--implementation=cp", *PLATFORMS, "-d", str(folder), requirement]  # fmt: skip
    if subprocess.run(ready, check=False, capture_output=True).returncode == 0:
        return
    with tempfile.TemporaryDirectory() as fresh:
        subprocess.run([*pip, "wheel", "--no-deps", "-w", fresh, requirement], check=True)
        (built,) = Path(fresh).iterdir()
        if not built.name.endswith("-none-any.whl"):
            raise SystemExit(f"{built.name} holds machine code of this Python; bring another")
        built.rename(folder / built.name)


def metadata(project: Path, folder: Path) -> None:
    """What an installation knows of a project: its name, its version, its entry points."""
    name = tomllib.loads((project / "pyproject.toml").read_text())["project"]["name"]
    found = distribution(name)
    target = folder / f"{name.replace('-', '_')}-{found.version}.dist-info"
    target.mkdir(parents=True, exist_ok=True)
    for file in ("METADATA", "entry_points.txt"):
        text = found.read_text(file)
        if text:
            (target / file).write_text(text)


def environment() -> str:
    """The text of env.sh."""
    sources = (f"$PWD/{p.relative_to(ROOT).as_posix()}/src" for p in PROJECTS[1:])
    return ENVIRONMENT.replace("PLUGINS", ":".join(sources))


def size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def checkout() -> int:
    """Bytes of the files that git tracks."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    paths = [ROOT / name.decode() for name in listed.stdout.split(b"\0") if name]
    return sum(path.stat().st_size for path in paths if path.exists())


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default=f"3.{sys.version_info.minor}", help="of that machine")
    parser.add_argument("--without", nargs="*", default=[], metavar="NAME", help="peers to leave")
    parser.add_argument("--data", nargs="*", type=Path, default=[], metavar="FILE")
    parser.add_argument("--most", type=float, default=64, help="MiB in all (default: 64)")
    given = parser.parse_args(arguments)
    given.folder.mkdir(parents=True, exist_ok=True)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in extras["optional-dependencies"]["bench"]:
        if requirement.partition("==")[0] not in given.without:
            wheel(requirement, given.python, given.folder)
    for project in PROJECTS:
        metadata(project, given.folder / "metadata")
    (given.folder / "data").mkdir(exist_ok=True)
    for file in given.data:
        shutil.copy(file, given.folder / "data")
    (given.folder / "env.sh").write_text(environment())
    taken = (checkout() + size(given.folder)) / MIB
    print(f"{given.folder}: {size(given.folder) / MIB:.1f} MiB, with the checkout {taken:.1f}")
    return 0 if taken <= given.most else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
