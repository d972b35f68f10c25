"""`zoo likelihood --out`: the score of every event in a file, by any number of processes."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_core.cli.command import Settings
from zoo_core.cli.scored_events import condition_of_data, mean_text

if TYPE_CHECKING:
    from torch import Tensor

    from zoo_core.contracts import Likelihood
    from zoo_core.data.dataset import Source
    from zoo_core.model import GenerativeModel

__all__ = ["score_into"]


def score_into(
    settings: Settings,
    out: Path,
    model: "GenerativeModel",
    split: "Source",
    rows: "Tensor",
    method: "Likelihood",
    request: dict[str, Any],
    part: tuple[int, int],
    batch_size: int | None,
) -> tuple[dict[str, Any], list[str]]:
    """Score this shard's pieces, and write `out` if all are there; the result as JSON and text.

    `request` is what the user asked for, `part` the number of the shard and of all.
    """
    from zoo_core.cli.models import weights_hash
    from zoo_core.data.batches import read
    from zoo_core.data.sources import sample_digest
    from zoo_core.sampling import default_batch
    from zoo_core.workflows import event_scores

    event_scores.check_path(out)
    seed = settings.seed or 0
    facts = {
        **request,
        "weights": weights_hash(settings, request["model"]),
        "events": sample_digest(split),
        "seed": seed,
    }
    pieces = event_scores.begin(
        out, len(rows), batch=batch_size or default_batch(model.event), facts=facts
    )
    _, y = read(model.event, split, rows[:1])
    labelled = request["cond"] == "auto" and condition_of_data(model, y) is not None
    scored = event_scores.score_pieces(
        pieces, model, split, rows, method, labelled=labelled, seed=seed, part=part
    )
    value = {"out": str(out), **request, "scored": scored, "shard": part[0], "shards": part[1]}
    ll = event_scores.collected(pieces, model, method)
    if ll is None:
        missing = sum(1 for _ in pieces.missing())
        text = f"{scored:,} events scored; {missing} of {len(pieces)} pieces are missing"
        return {**value, "missing": missing}, [text]
    event_scores.write(out, ll, rows, facts)
    if part[1] == 1:  # another shard may be reading them
        shutil.rmtree(pieces.folder)
    line = mean_text(ll.mean(), f"{request['data']} {request['split']}")
    return {**value, "missing": 0, **ll.mean().record()}, [line, f"{len(rows):,} scores in {out}"]
