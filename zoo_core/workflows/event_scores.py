"""The log-likelihood of every event of a split in a file, computed in pieces that are resumed.

    parts = begin(Path("scores.parquet"), len(rows), batch=256, facts=facts)
    score_pieces(parts, model, split, rows, method, seed=0)
    write(Path("scores.parquet"), collected(parts, model, method), rows, facts)

Events are read and scored piece by piece, so memory is bounded by a piece and a few numbers an
event. Pieces are in the folder `scores.parquet.parts`, which processes share.
"""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo_core.catalog.units import UNITS
from zoo_core.contracts import Likelihood
from zoo_core.data.arrays import read_array
from zoo_core.data.batches import read
from zoo_core.data.dataset import Source, log_det
from zoo_core.errors import DataError, OutputError
from zoo_core.files import atomic_path
from zoo_core.likelihood import LogLikelihood, event_of
from zoo_core.model import GenerativeModel
from zoo_core.pieces import Pieces

__all__ = ["SUFFIXES", "begin", "check_path", "collected", "score_pieces", "write"]

SUFFIXES = (".csv", ".npz", ".parquet")


def check_path(out: Path) -> None:
    """Raise `OutputError` unless the file is of a kind that can be written here."""
    suffix = out.suffix.lower()
    if suffix not in SUFFIXES:
        raise OutputError(
            f"{out} has suffix {out.suffix!r}; scores are written as {', '.join(SUFFIXES)}."
        )
    if suffix == ".parquet":
        _parquet()


def begin(out: Path, n: int, *, batch: int, facts: Mapping[str, Any]) -> Pieces:
    """The pieces beside the file `out`; they go on where a run with the same facts was."""
    return Pieces.begin(Path(f"{out}.parts"), n=n, size=batch, facts=facts)


def score_pieces(
    pieces: Pieces,
    model: GenerativeModel,
    split: Source,
    rows: Tensor,
    method: Likelihood,
    *,
    labelled: bool,
    seed: int = 0,
    part: tuple[int, int] = (0, 1),
) -> int:
    """Score the events of the pieces of a shard that are not there; returns how many.

    Event i of `rows` draws with (seed, i), as in `model.log_likelihood` of all of them.
    """
    scored = 0
    for k, own in pieces.missing(*part):
        x, y = read(model.event, split, rows[own.start : own.stop])
        ll = model.log_likelihood(
            x,
            cond=y if labelled else None,
            method=method,
            seed=seed,
            first_row=own.start,
            batch_size=pieces.size,
        ).in_units(log_det(split))
        with atomic_path(pieces.path(k)) as temporary, temporary.open("wb") as file:
            np.savez(file, nats=ll.nats.cpu().numpy(), std_err=ll.std_err.cpu().numpy())
        scored += len(own)
    return scored


def collected(pieces: Pieces, model: GenerativeModel, method: Likelihood) -> LogLikelihood | None:
    """The scores of all events in order; None if pieces are missing."""
    if next(pieces.missing(), None) is not None:
        return None
    columns = [
        torch.cat([_column(pieces, k, name) for k in range(len(pieces))])
        for name in ("nats", "std_err")
    ]
    return LogLikelihood(columns[0], method.kind, columns[1], event_of(method, model))


def _column(pieces: Pieces, k: int, name: str) -> Tensor:
    values = read_array(pieces.path(k), name)
    if values.shape != (len(pieces.rows(k)),) or values.dtype != np.float64:
        raise DataError(
            f"{pieces.path(k)} holds {name} {values.dtype} {values.shape}; expected "
            f"{len(pieces.rows(k))} float64.",
            hint="delete the file; it is then made anew",
        )
    return torch.from_numpy(values)


def write(out: Path, ll: LogLikelihood, rows: Tensor, facts: Mapping[str, Any]) -> None:
    """Write a row an event: its row in the split, its nats, their error, and nats by value."""
    columns: dict[str, Any] = {
        "row": rows.numpy(),
        "nats": ll.nats.numpy(),
        "std_err": ll.std_err.numpy(),
    }
    if ll.event.unit is not None:
        unit = UNITS[ll.event.unit]
        columns[unit.key] = (-ll.nats / (ll.event.dims * unit.nats)).numpy()
    about = {"kind": str(ll.kind), "relation": ll.kind.relation, "events": str(ll.event), **facts}
    with atomic_path(out) as temporary:
        if out.suffix.lower() == ".csv":
            with temporary.open("w", newline="") as file:
                lines = csv.writer(file)
                lines.writerow(columns)
                lines.writerows(zip(*(c.tolist() for c in columns.values()), strict=True))
        elif out.suffix.lower() == ".npz":
            with temporary.open("wb") as file:
                np.savez(file, metadata=np.array(json.dumps(about)), **columns)
        else:
            pyarrow, parquet = _parquet()
            table = pyarrow.table(columns).replace_schema_metadata({"zoo": json.dumps(about)})
            parquet.write_table(table, temporary)


def _parquet() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise OutputError(
            "parquet files are written by pyarrow, which is not installed.",
            hint="pip install pyarrow, or write .csv or .npz",
        ) from None
    return pyarrow, parquet
