"""Everything that needs a CUDA device, in resumable pieces.

    PYTHONPATH=kernels python benchmarks/gpu/run.py laws ceilings speed sampler loop ...
    TRITON_INTERPRET=1 PYTHONPATH=kernels python benchmarks/gpu/run.py --dry-run

Each piece writes <piece>.json into $OUT (default gpu-results/): one entry an item, with device,
driver, torch and Triton versions. An item that is there already is not run again, so a piece that
stops at `--limit` seconds (exit status 3) goes on in the next call with the same $OUT. `--dry-run`
runs every piece at tiny sizes through Triton's interpreter on the CPU; its times mean nothing.

laws      values and gradients against float64, batch independence, opcheck, bits of the noise
ceilings  a large copy and a large bf16 matrix product: what the other times are shares of
speed     every op and its peers, with its share of both ceilings
sampler   pixels against those stored from the CPU; one launch against the loops it replaces
loop      a captured denoising loop against the same loop launch by launch
compile   what every kernel takes of this card, by the Triton that is here
sanitize  the sampler under compute-sanitizer, where it is installed
steps     train steps by recipe: as shipped, by the reference path, in bf16
pipeline  50 DDIM steps of a U-Net against diffusers' pipeline with the same weights
tune      launch settings of the kernels: a table for this architecture
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
PIECES = (
    *("laws", "ceilings", "speed", "sampler", "loop"),
    *("compile", "sanitize", "steps", "pipeline", "tune"),
)
LIMIT_SECONDS = 540
UNFINISHED = 3


class OutOfTime(Exception):
    """The rest is for the next call."""


def environment(device: str) -> dict[str, str]:
    """What the numbers depend on."""
    import triton

    made = {"torch": torch.__version__, "triton": triton.__version__, "device": "cpu"}
    if device.startswith("cuda"):
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        done = subprocess.run(query, capture_output=True, text=True, check=False)
        made |= {"device": torch.cuda.get_device_name(), "driver": done.stdout.strip(),
                 "cuda": str(torch.version.cuda)}  # fmt: skip
    return made


@dataclass
class Results:
    """Entries of one piece, kept on disk after each."""

    path: Path
    device: str
    tiny: bool
    deadline: float
    entries: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path.exists():
            self.entries = json.loads(self.path.read_text())["entries"]

    def each(self, key: str, item: Callable[[], Any]) -> Any:
        """Run and keep `item` unless its entry is there; a failure is an entry as well."""
        if key in self.entries:
            return self.entries[key]
        if time.monotonic() > self.deadline:
            raise OutOfTime
        start = time.monotonic()
        try:
            entry = item()
        except OutOfTime:
            raise
        except Exception as error:
            entry = {"failed": f"{type(error).__name__}: {error}"[:600]}
        self.entries[key] = entry
        self._write()
        print(f"{key}: {json.dumps(entry)} ({time.monotonic() - start:.1f} s)", flush=True)
        return entry

    def failed(self) -> list[str]:
        return [k for k, e in self.entries.items() if isinstance(e, dict) and "failed" in e]

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        whole = {"environment": environment(self.device), "tiny": self.tiny,
                 "entries": self.entries}  # fmt: skip
        fresh = self.path.with_suffix(".tmp")
        fresh.write_text(json.dumps(whole, indent=1) + "\n")
        fresh.replace(self.path)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pieces", nargs="*", help=f"of {', '.join(PIECES)}; default all")
    parser.add_argument("--dry-run", action="store_true", help="tiny, interpreted, on the CPU")
    parser.add_argument("--limit", type=float, default=LIMIT_SECONDS, help="seconds of this call")
    options = parser.parse_args(arguments)
    unknown = set(options.pieces) - set(PIECES)
    if unknown:
        parser.error(f"no piece {', '.join(sorted(unknown))}; possible are {', '.join(PIECES)}")
    if options.dry_run and os.environ.get("TRITON_INTERPRET") != "1":
        parser.error("a dry run needs TRITON_INTERPRET=1, set before Python starts")
    if not options.dry_run and not torch.cuda.is_available():
        parser.error("no CUDA device; --dry-run with TRITON_INTERPRET=1 runs tiny sizes here")
    out, deadline = Path(os.environ.get("OUT", "gpu-results")), time.monotonic() + options.limit
    failed, status = [], 0
    for piece in options.pieces or PIECES:
        device = "cpu" if options.dry_run else "cuda"
        results = Results(out / f"{piece}.json", device, options.dry_run, deadline)
        try:
            import_module(f"gpu_{piece}").run(results)
        except OutOfTime:
            print(f"{piece}: stopped at the limit; call again to go on")
            status = UNFINISHED
        failed += [f"{piece}: {key}" for key in results.failed()]
    print(*failed, sep="\n", file=sys.stderr)
    return 1 if failed else status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
