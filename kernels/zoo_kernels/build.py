"""Compiles csrc/*.cpp into `_C.abi3.so`: one file, no Python.h, any torch from 2.11 on.

Used by setup.py (through its path, so only the standard library is imported at the top) and by
`zoo doctor --fix`, which compiles the packaged sources into the user's cache. The library keeps
to torch's stable ABI (target 2.11) and finds the wider ISA targets at run time, so it needs no
`-march` and moves between machines of one architecture.
"""

__all__ = ["BuildError", "build_extension", "cache_directory"]

import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

LIBRARY = "_C.abi3.so"
SECONDS = 1800
"""Compiling takes about a minute; what takes this long hangs."""
NEWEST_LIBSTDCPP = 24
"""GLIBCXX_3.4.24 is what manylinux allows for glibc 2.27 and 2.28."""
FAILURE = "_C.failure.txt"
SOURCES = Path(__file__).resolve().parent / "csrc"
FLAGS = [
    "-O3", "-std=c++20", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wno-psabi",
    "-ffp-contract=off",                         # bit-equal noise: no silent multiply-add
    "-fno-math-errno", "-fno-trapping-math",
    "-DTORCH_TARGET_VERSION=0x020b000000000000", "-DPy_LIMITED_API=0x030b0000",
]  # fmt: skip


class BuildError(RuntimeError):
    """The kernels were not compiled; the message says why."""


@cache
def source_hash() -> str:
    """Hash of the flags and of every file in csrc/."""
    digest = hashlib.sha256(" ".join(FLAGS).encode())
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def marker() -> str:
    """A string inside the library that tells which sources it was built from."""
    return f"zoo-kernels-sources:{source_hash()}"


def cache_directory() -> Path:
    """<$ZOO_CACHE or XDG_CACHE_HOME/density-zoo>/kernels/<hash of the sources>."""
    root = os.environ.get("ZOO_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if not root and base.startswith("~"):
        raise BuildError("there is no home folder for the compiled kernels; set HOME or ZOO_CACHE")
    return Path(root or Path(base) / "density-zoo") / "kernels" / source_hash()


def compiler() -> str:
    """$CXX or the first of c++, g++, clang++ on the path."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["c++", "g++", "clang++"]
    for name in names:
        if shutil.which(name.split()[0]):
            return name
    raise BuildError(f"no C++ compiler ({', '.join(names)}) on the path; install one or set CXX")


def ninja() -> str:
    """The ninja executable: on the path, beside this Python, or from the ninja package."""
    here = str(Path(sys.executable).parent)
    found = shutil.which("ninja") or shutil.which("ninja", path=here)
    if found is None:
        raise BuildError("no ninja on the path; pip install ninja")
    return found


def torch_folder() -> Path:
    try:
        import torch
    except ImportError as error:
        raise BuildError("torch is not importable here (pip: --no-build-isolation)") from error
    return Path(torch.__file__).parent


def ninja_file(folder: Path) -> str:
    """build.ninja: one edge a source, one link."""
    torch = torch_folder()
    flags = [
        *FLAGS,
        "-include",
        _shell(SOURCES / "portable.h"),
        "-isystem",
        _shell(torch / "include"),
    ]
    link = ["-shared", f"-L{_shell(torch / 'lib')}", "-ltorch_cpu", "-ltorch"]
    names = [path.stem for path in sorted(SOURCES.glob("*.cpp"))]
    edges = [f"build {name}.o: compile {_edge(SOURCES / name)}.cpp" for name in names]
    edges[names.index("marker")] += f"\n  flags = $flags -DZOO_MARKER={marker()}"
    return "\n".join(
        [
            f"cxx = {compiler()}",
            f"flags = {' '.join(flags)}",
            f"link = {' '.join(link)}",
            "rule compile",
            "  command = $cxx $flags -MMD -MF $out.d -c $in -o $out",
            "  depfile = $out.d",
            "  deps = gcc",
            "rule link",
            "  command = $cxx $in $link -o $out",
            *edges,
            f"build {_edge(folder / LIBRARY)}: link {' '.join(name + '.o' for name in names)}",
            "",
        ]
    )


def _shell(path: Path) -> str:
    """A path in a command of the ninja file."""
    return shlex.quote(str(path)).replace("$", "$$")


def _edge(path: Path) -> str:
    """A path in a `build` line of the ninja file."""
    return re.sub(r"([$ :])", r"$\1", str(path))


def wheel_platform(library: Path) -> str | None:
    """The platform tag of a wheel with this library: the oldest glibc that loads it (PEP 600).

    None if it also needs a libstdc++ that systems of that glibc lack, or another C library.
    """
    data = library.read_bytes()
    glibc = [int(minor) for minor in re.findall(rb"\bGLIBC_2\.(\d+)", data)]
    libstdcpp = [int(patch) for patch in re.findall(rb"\bGLIBCXX_3\.4\.(\d+)", data)]
    if not glibc or max(libstdcpp, default=0) > NEWEST_LIBSTDCPP:
        return None
    return f"manylinux_2_{max(17, *glibc)}_{platform.machine()}"


def build_extension(
    destination: Path | None = None, *, environment: Mapping[str, str] | None = None
) -> Path:
    """Compile into the folder `destination` (default: the user's cache) and return the library.

    The compiler sees the variables in `environment` (default: all of this process).

    A `destination` keeps its object files, so that the next build there is incremental. The
    library appears by one rename: a reader never sees half a file.
    """
    folder = Path(destination or cache_directory()).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        objects = folder / "objects" if destination else Path(fresh) / "objects"
        objects.mkdir(exist_ok=True)
        (objects / "build.ninja").write_text(ninja_file(Path(fresh)))
        _run_ninja(objects, environment)
        os.replace(Path(fresh) / LIBRARY, folder / LIBRARY)
    return folder / LIBRARY


def _run_ninja(objects: Path, environment: Mapping[str, str] | None) -> None:
    try:
        done = subprocess.run(
            [ninja(), "-C", str(objects)],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=SECONDS,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BuildError(f"compiling the kernels took more than {SECONDS} s") from None
    if done.returncode != 0:
        said = (done.stdout + done.stderr)[-4000:]
        raise BuildError(f"compiling the kernels failed:\n{said}")
