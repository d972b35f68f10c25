"""Records the golden tensors of bundled tags anew, where what a model does by default has changed.

    python tools/record_golden.py ddpm.digits

Weights, events and conditions stay; samples and log-likelihoods are those of now. Before, it must
be clear why they differ: golden tensors are there to tell.
"""

import shutil
import sys
from collections.abc import Iterator

from safetensors.torch import load_file
from tags import command, folder_of

import zoo_core as zoo
from zoo_core.files import atomic_folder, write_json
from zoo_core.weights import checkpoint, golden


def record(name: str) -> Iterator[str]:
    """Write the golden tensors of the tag `name`, and their hash in its `zoo.json`."""
    folder = folder_of(name)
    before = load_file(folder / checkpoint.GOLDEN)
    tensors = golden.record(zoo.load(name), before["x"], before.get("cond"))
    metadata = checkpoint.read_metadata(folder)
    with atomic_folder(folder) as changed:
        shutil.copytree(folder, changed, dirs_exist_ok=True)
        checkpoint.write_tensors(tensors, changed / checkpoint.GOLDEN)
        metadata["files"][checkpoint.GOLDEN] = checkpoint.file_entry(changed / checkpoint.GOLDEN)
        write_json(changed / checkpoint.METADATA, metadata)
    yield str(folder / checkpoint.GOLDEN)


if __name__ == "__main__":
    sys.exit(command(__doc__, "TAG", "not recorded", record))
