"""Takes results through a gate that only a few files of a certain size pass.

    python benchmarks/gpu/pack.py gpu-results back          # back/results.0, back/results.1, ...
    python benchmarks/gpu/pack.py --unpack back gpu-results

Numbers go first, then finished models, then the checkpoints of trainings that are to go on, the
smallest first. What does not fit is left behind and named, and the exit status is 1.
"""

import argparse
import io
import sys
import tarfile
from pathlib import Path

MIB = 1 << 20
BLOCK = 512
"""Bytes to which a tar file pads, and of an entry's header."""
LEAD = 3 * BLOCK
"""An entry's header and those that hold a long name."""


def ordered(results: Path) -> list[Path]:
    """Every file worth taking, the most valuable first."""
    files = [p for p in results.rglob("*") if p.is_file() and p.suffix != ".tmp"]
    return sorted((p for p in files if not superseded(p)), key=lambda p: (rank(p), p))


def rank(path: Path) -> tuple[int, int]:
    """Numbers and logs, models, checkpoints; of each the smallest first."""
    kind = 2 if path.name.startswith("checkpoint") else int(path.suffix == ".safetensors")
    return kind, path.stat().st_size


def superseded(path: Path) -> bool:
    """Whether it is the checkpoint of a training that has given its model."""
    finished = any((p / "model" / "zoo.json").exists() for p in list(path.parents)[:2])
    return path.name.startswith("checkpoint") and finished


def pack(results: Path, into: Path, *, parts: int, part_bytes: int) -> list[Path]:
    """Write the parts; what was left behind."""
    room, left = parts * part_bytes - 20 * BLOCK, []  # tar ends with up to twenty empty blocks
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in ordered(results):
            size = -(-path.stat().st_size // BLOCK) * BLOCK + LEAD
            if size > room:
                left.append(path)
                continue
            tar.add(path, str(path.relative_to(results)))
            room -= size
    into.mkdir(parents=True, exist_ok=True)
    for old in into.glob("results.*"):
        old.unlink()
    whole = buffer.getvalue()
    for i in range(0, len(whole), part_bytes):
        (into / f"results.{i // part_bytes}").write_bytes(whole[i : i + part_bytes])
    return left


def unpack(packed: Path, results: Path) -> None:
    """Put the parts together; files that are there already are replaced."""
    found = sorted(packed.glob("results.*"), key=lambda p: int(p.suffix[1:]))
    whole = io.BytesIO(b"".join(part.read_bytes() for part in found))
    with tarfile.open(fileobj=whole) as tar:
        tar.extractall(results, filter="data")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--unpack", action="store_true")
    parser.add_argument("--parts", type=int, default=4, help="files at most (default: 4)")
    parser.add_argument("--mib", type=int, default=16, help="of each at most (default: 16)")
    given = parser.parse_args(arguments)
    if given.unpack:
        unpack(given.source, given.target)
        return 0
    size = given.mib * MIB
    left = pack(given.source, given.target, parts=given.parts, part_bytes=size)
    for path in left:
        print(f"left behind: {path} ({path.stat().st_size:,} bytes)", file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
