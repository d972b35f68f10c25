"""`zoo sample --shards`: draw events into numbered files, in any number of processes."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_core.cli.command import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from zoo_core.model import GenerativeModel

__all__ = ["draw_pieces"]

_BATCHES = 4
"""Batches a file: rows are drawn in the same batches as by one process, so they are the same."""


def draw_pieces(
    settings: Settings,
    model: "GenerativeModel",
    folder: Path,
    n: int,
    metadata: dict[str, Any],
    request: dict[str, Any],
    fixed: "tuple[Tensor, Tensor] | None",
    part: tuple[int, int],
    batch_size: int | None,
) -> tuple[dict[str, Any], list[str]]:
    """Draw this shard's files that are not there yet; returns the result as JSON and as text.

    `part` is the number of the shard and of all. `request` has the arguments of `sample_batches`
    that files share, with the conditions of all n events.
    """
    from zoo_core.data.writers import writing
    from zoo_core.pieces import Pieces
    from zoo_core.sampling import default_batch

    batch = batch_size or default_batch(model.event)
    facts = {**metadata, "event": model.event.record(), "batch_size": batch}
    pieces = Pieces.begin(folder, n=n, size=_BATCHES * batch, facts=facts)
    made, cond = 0, request.pop("cond")
    for k, rows in pieces.missing(*part):
        own = slice(rows.start, rows.stop)
        with writing(
            pieces.path(k), model.event, len(rows), {**metadata, "first_row": rows.start}
        ) as put:
            for events in model.sample_batches(
                len(rows),
                first_row=rows.start,
                cond=None if cond is None else cond[own],
                fixed=_rows(fixed, n, own, model),
                batch_size=batch,
                progress=settings.progress,
                device="cpu",
                **request,
            ):
                put(events)
        made += len(rows)
    missing = sum(1 for _ in pieces.missing())
    shard = {"shard": part[0], "shards": part[1]}
    value = {"out": str(folder), "n": n, "drawn": made, "missing_files": missing, **shard}
    text = f"{made:,} events drawn into {folder}; {missing} of {len(pieces)} files are missing"
    return {**value, **metadata}, [text]


def _rows(
    fixed: "tuple[Tensor, Tensor] | None", n: int, own: slice, model: "GenerativeModel"
) -> "tuple[Tensor, Tensor] | None":
    """Values and mask of some rows; both broadcast to (n, *S)."""
    if fixed is None:
        return None
    whole = [v.ndim > len(model.event.shape) and len(v) == n for v in fixed]
    values, mask = (v[own] if w else v for v, w in zip(fixed, whole, strict=True))
    return values, mask
