"""Everything that needs a CUDA device, in pieces that go on where they stopped.

    PYTHONPATH=kernels python benchmarks/gpu/run.py                  the next nine minutes of all
    PYTHONPATH=kernels python benchmarks/gpu/run.py laws sampler     of these pieces
    PYTHONPATH=kernels python benchmarks/gpu/run.py --status         what is done and reached
    TRITON_INTERPRET=1 PYTHONPATH=kernels python benchmarks/gpu/run.py --dry-run

Each piece is a process of its own and writes <piece>.json into $OUT (default gpu-results/): one
entry an item, with device, driver, torch and Triton versions. An item that is there already is not
run again, so a call that ends at `--limit` seconds (exit status 3), or is killed, goes on in the
next one with the same $OUT. A piece has its share of a call, so that none keeps the others out;
what is then left of the call goes to those that are not finished. `--dry-run` runs every piece at
tiny sizes through Triton's interpreter on the CPU; its times mean nothing.

laws      values and gradients against float64, batch independence, opcheck, bits of the noise
sampler   pixels against those stored from the CPU; one launch against the loops it replaces
compile   what every kernel takes of this card, by the Triton that is here
sanitize  the sampler under compute-sanitizer, where it is installed
ceilings  a large copy and a large bf16 matrix product: what the other times are shares of
speed     every op and its peers, with its share of both ceilings
loop      launches and host synchronization of a denoising step; a captured loop against launches
pipeline  50 DDIM steps of a U-Net against diffusers' pipeline with the same weights
models    benchmarks/models on the card: train steps, scoring and sampling beside their peers
steps     train steps by recipe: as shipped, by the reference path, in bf16
train     the recipes for a GPU, their steps fitted to what `steps` has measured
tune      launch settings of the kernels: a table for this architecture
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
from card_goals import verdicts
from resumable import LIMIT_SECONDS, LOST, UNFINISHED, DeviceLost, OutOfTime, Results

PIECES = {  # in order of value: seconds of a call that are its own; three calls without `train`
    "laws": 180, "sampler": 120, "compile": 120, "sanitize": 150, "ceilings": 30, "speed": 240,
    "loop": 40, "pipeline": 120, "models": 180, "steps": 140, "train": 540, "tune": 300,
}  # fmt: skip
SLOWER = 3
"""Shares that a piece of a dry run has: one image takes the interpreter up to minutes."""
LEAST = 15
"""Seconds for which a process is worth starting."""
START = 60
"""Seconds that a process may take to import torch on a machine that has never done so."""
WIND_UP = 20
"""Seconds from a piece's deadline to its end by force."""


@dataclass(frozen=True)
class Call:
    """One call of this script: where, until when."""

    out: Path
    dry: bool
    deadline: float

    @property
    def left(self) -> float:
        return self.deadline - time.monotonic()

    def stored(self, piece: str) -> Results:
        device = "cpu" if self.dry else "cuda"
        return Results(self.out / f"{piece}.json", device, self.dry, self.deadline)

    def pieces(self, names: Sequence[str]) -> int:
        """Those that are not finished, again and again until the call is over."""
        crashed, before = set[str](), -1
        while open_ := [n for n in names if n not in crashed and not self.stored(n).finished]:
            if (found := self.found(names)) == before:
                return UNFINISHED
            before = found
            for piece in open_:
                status = LOST
                while status == LOST:
                    if self.left < LEAST + WIND_UP:
                        return UNFINISHED
                    status = self.process(piece)
                if status not in (0, UNFINISHED):
                    print(f"{piece}: ended with status {status}", file=sys.stderr)
                    crashed.add(piece)
        return 1 if crashed else 0

    def found(self, names: Sequence[str]) -> int:
        """Entries so far: a round that adds none is the call's last."""
        return sum(len(self.stored(n).entries) for n in names)

    def process(self, piece: str) -> int:
        """The exit status of a process that is in this piece for at most its share."""
        share, left = PIECES[piece] * (SLOWER if self.dry else 1), self.left
        command = [sys.executable, sys.argv[0], piece, "--inside", str(share),
                   "--limit", str(left - WIND_UP)]  # fmt: skip
        child = subprocess.Popen([*command, "--dry-run"] if self.dry else command, process_group=0)
        try:
            return child.wait(min(START + share + WIND_UP, left))
        except subprocess.TimeoutExpired:
            print(f"{piece}: cut off", file=sys.stderr)
            return UNFINISHED
        finally:
            with suppress(ProcessLookupError):  # nothing that it started goes on
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()

    def inside(self, piece: str, share: float) -> int:
        """A piece in this process; its share begins when torch has been imported."""
        module, results = import_module(f"gpu_{piece}"), self.stored(piece)
        results.deadline = min(time.monotonic() + share, self.deadline)
        try:
            module.run(results)
        except OutOfTime:
            print(f"{piece}: stopped at the limit; call again to go on")
            return UNFINISHED
        except DeviceLost as error:
            print(f"{piece}: {error}", file=sys.stderr)
            return LOST
        results.finish()
        return 0

    def summary(self, names: Sequence[str]) -> list[str]:
        """A line a piece, and one for each item that failed."""
        lines, failures = [], []
        for piece in names:
            found = self.stored(piece)
            state = "finished" if found.finished else "begun" if found.entries else "to do"
            lines.append(
                f"{piece:9} {state:9} {len(found.entries):4} items {found.seconds:7.1f} s"
            )
            failures += [
                f"{piece}: {key}: {found.entries[key]['failed']}" for key in found.failed()
            ]
        return [*lines, *failures]


def has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pieces", nargs="*", help=f"of {', '.join(PIECES)}; default all")
    parser.add_argument("--dry-run", action="store_true", help="tiny, interpreted, on the CPU")
    parser.add_argument("--limit", type=float, default=LIMIT_SECONDS, help="seconds of this call")
    parser.add_argument("--status", action="store_true", help="only say what is done and reached")
    parser.add_argument("--again", action="store_true", help="try once more what has failed")
    parser.add_argument("--inside", type=float, metavar="SHARE", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    unknown = set(options.pieces) - set(PIECES)
    if unknown:
        parser.error(f"no piece {', '.join(sorted(unknown))}; possible are {', '.join(PIECES)}")
    names = options.pieces or list(PIECES)
    out, deadline = Path(os.environ.get("OUT", "gpu-results")), time.monotonic() + options.limit
    call = Call(out, options.dry_run, deadline)
    if options.status:
        print(*call.summary(names), *verdicts(out), sep="\n")
        return 0
    if options.dry_run and os.environ.get("TRITON_INTERPRET") != "1":
        parser.error("a dry run needs TRITON_INTERPRET=1, set before Python starts")
    if not options.dry_run and not has_cuda():
        parser.error("no CUDA device; --dry-run with TRITON_INTERPRET=1 runs tiny sizes here")
    if options.inside is not None:
        return call.inside(names[0], options.inside)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(UNFINISHED))  # with its piece
    if options.again:
        for piece in names:
            call.stored(piece).forget_failures()
    code = call.pieces(names)
    print(*call.summary(names), sep="\n")
    failed = any(call.stored(piece).failed() for piece in names)
    return code or int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
