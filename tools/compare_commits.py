"""Two commits side by side: what the command says, and how long things take.

    python tools/compare_commits.py OLD [NEW]           NEW is by default HEAD
    python tools/compare_commits.py OLD --rounds 5      for less noise

Each commit is checked out into a temporary folder and runs with this environment's packages; its
kernels are compiled there unless their sources are those of this checkout. The recorders
(`figures.py`, `times.py`) and the models are this checkout's, so that both are asked the same.
Rounds alternate between the commits. A time is marked `slower` or `faster` if it changed by more
than 10 % and by more than twice the noise, which is how far a commit's own rounds lie apart.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests" / "compat")]
LEAST = 0.10

Times = dict[str, list[float]]


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """A work tree of a commit with its kernels, which is removed at the end."""
    with TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        git("worktree", "add", "--quiet", "--detach", str(tree), commit)
        try:
            kernels(tree)
            install(tree, Path(scratch) / "site")
            yield tree
        finally:
            git("worktree", "remove", "--force", str(tree))


def git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=ROOT, check=True)


def kernels(tree: Path) -> None:
    """Copy the compiled kernels of this checkout, if their sources are the same, or compile."""
    sources = ("kernels/zoo_kernels/csrc", "kernels/zoo_kernels/build.py")
    built = list((ROOT / "kernels" / "zoo_kernels").glob("_C.*.so"))
    same = all(identical(ROOT / source, tree / source) for source in sources)
    if same and built:
        for path in built:
            shutil.copy(path, tree / "kernels" / "zoo_kernels")
        return
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    subprocess.run(command, cwd=tree, check=True)


def identical(a: Path, b: Path) -> bool:
    """Whether two files or folders hold the same."""
    return subprocess.run(["diff", "-rq", a, b], stdout=subprocess.DEVNULL).returncode == 0


def install(tree: Path, site: Path) -> None:
    """Entry points of the commit's own plugins, before those of this environment."""
    from frozen_plugins import installed_in

    site.mkdir()
    for path in tree.glob("plugins/*/pyproject.toml"):
        installed_in(site, tomllib.loads(path.read_text())["project"])


def recorded(tree: Path, recorder: str, *arguments: str) -> Any:
    """What a recorder of this checkout measures of the code of a commit."""
    out = tree.parent / f"{recorder}.json"
    paths = [tree.parent / "site", tree, tree / "kernels", *tree.glob("plugins/*/src")]
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, ROOT / "tools" / recorder, *(a.format(out=out) for a in arguments)]
    subprocess.run(command, check=True, env=variables, stdout=subprocess.DEVNULL)
    return json.loads(out.read_text())


def rounds(old: Path, new: Path, n: int) -> tuple[Times, Times]:
    """The times of both commits, n rounds of each, in turn."""
    found: tuple[Times, Times] = ({}, {})
    for i in range(n):
        for times, tree in zip(found, (old, new), strict=True):
            print(f"times: round {i + 1} of {n}, {tree.parent.name}", file=sys.stderr)
            for what, value in recorded(tree, "times.py", "{out}").items():
                times.setdefault(what, []).append(value)
    return found


def table(old: Times, new: Times) -> Iterator[str]:
    """A line a time: least of both, their ratio, the noise, and a mark beyond it."""
    width = max(map(len, old.keys() | new.keys()))
    yield f"{'in units of the workload':{width}}  {'old':>8}  {'new':>8}  {'new/old':>7}  noise"
    for what in sorted(old.keys() | new.keys()):
        if what not in old or what not in new:
            yield f"{what:{width}}  {'only new' if what in new else 'only old'}"
            continue
        a, b = min(old[what]), min(new[what])
        noise = max(max(v) / min(v) - 1 for v in (old[what], new[what]))
        yield f"{what:{width}}  {a:8.3f}  {b:8.3f}  {b / a:7.2f}  {noise:5.0%}{mark(b / a, noise)}"


def mark(ratio: float, noise: float) -> str:
    if max(ratio, 1 / ratio) - 1 <= max(LEAST, 2 * noise):
        return ""
    return "  slower" if ratio > 1 else "  faster"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("old")
    parser.add_argument("new", nargs="?", default="HEAD")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with checkout(arguments.old) as old, checkout(arguments.new) as new:
        from figures import differences

        figures = [recorded(tree, "figures.py", "--out", "{out}") for tree in (old, new)]
        changed = list(differences(*figures))
        print("\n".join([f"{len(changed)} figures differ", *changed, ""]))
        print("\n".join(table(*rounds(old, new, arguments.rounds))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
