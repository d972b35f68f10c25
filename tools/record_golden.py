"""Records the golden tensors of bundled tags anew, where what a model does by default has changed.

    python tools/record_golden.py ddpm.digits

Weights, events and conditions stay; samples and log-likelihoods are those of now. Before, it must
be clear why they differ: golden tensors are there to tell.
"""

import argparse
import json
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

import zoo_core as zoo
from zoo_core.errors import DataError, ZooError
from zoo_core.files import write_atomically
from zoo_core.weights import checkpoint, golden


def record(name: str) -> Path:
    """Write the golden tensors of the tag `name` and their hash in its `zoo.json`."""
    tag = zoo.info(name).tag
    if tag is None or tag.folder is None:
        raise DataError(f"{name} has no weights here.")
    path = tag.folder / checkpoint.GOLDEN
    before = load_file(path)
    tensors = golden.record(zoo.load(name), before["x"], before.get("cond"))
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, path)
    metadata = checkpoint.read_metadata(tag.folder)
    kept = {"sha256": checkpoint.sha256(path), "size": path.stat().st_size}
    metadata["files"][checkpoint.GOLDEN] = kept
    text = json.dumps(metadata, indent=2) + "\n"
    write_atomically(tag.folder / checkpoint.METADATA, text.encode())
    return path


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tags", nargs="+", metavar="TAG")
    status = 0
    for name in parser.parse_args(arguments).tags:
        try:
            print(record(name))
        except ZooError as error:
            print(f"{name}: not recorded: {error}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
