"""Times the ops (benchmarks/ops.py) and the models (benchmarks/models/<family>.py).

    python benchmarks/run.py [--only rng] [--case 64x3] [--rounds 5] [--out FOLDER] [--proof]

Prints JSON lines, or appends them to FOLDER/ops.jsonl and FOLDER/<family>.jsonl; report.py turns
them into docs/benchmarks.md. `--proof` draws whole images by the loop that is otherwise timed on
a few pixels.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
import models
import ops
from contest import Row


def emit(rows: Iterator[Row], subject: str, folder: Path | None) -> None:
    for row in rows:
        if folder is None:
            print(json.dumps(row), flush=True)
            continue
        print(f"{row['op']} {row['case']}", file=sys.stderr, flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{subject}.jsonl").open("a") as out:
            print(json.dumps(row), file=out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of an op's or a family's name")
    parser.add_argument("--case", default="", help="part of a case's name")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder of the .jsonl files; default: stdout")
    parser.add_argument("--proof", action="store_true", help="draw whole images by the slow loop")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    only, case, rounds = options.only, options.case, options.rounds
    emit(ops.rows(only, case, rounds, proof=options.proof), "ops", options.out)
    for family in models.families():
        if only in family:
            emit(models.rows(family, case, rounds), family, options.out)


if __name__ == "__main__":
    main()
