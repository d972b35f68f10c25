"""What a build of the site made, kept by its content: nothing is computed twice.

A result is a folder `<root>/<name>-<hash>`. The hash is of the text that the result depends on and
of all code and weights of the zoo, so that a change of either makes it anew.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("zoo_core/**/*", "kernels/zoo_kernels/**/*", "plugins/*/src/*/**/*")
KEPT = (".py", ".toml", ".npz", ".cpp", ".h", ".json")  # zoo.json has the hashes of the weights


def cached(root: Path, name: str, text: str, make: Callable[[Path], None]) -> Path:
    """The folder that `make(folder)` filled, now or in an earlier build."""
    folder = root / f"{name}-{_hash([text.encode(), code_hash()])[:16]}"
    if not folder.is_dir():
        for old in root.glob(f"{name}-" + "?" * 16):
            shutil.rmtree(old)
        unfinished = root / f"{name}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        make(unfinished)
        unfinished.rename(folder)
    return folder


@cache
def code_hash() -> bytes:
    """The hash of the code and weights of the zoo."""
    paths = sorted(
        p
        for s in SOURCES
        for p in ROOT.glob(s)
        if p.suffix in KEPT and "__pycache__" not in p.parts
    )
    return _hash(part for p in paths for part in (str(p).encode(), p.read_bytes())).encode()


def _hash(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8) + part)
    return digest.hexdigest()
