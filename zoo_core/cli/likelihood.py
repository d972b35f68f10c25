"""`zoo likelihood`: score a data set, and say what kind of number that is."""

from pathlib import Path
from typing import Any

import click

from zoo_core.cli.command import Command, Settings
from zoo_core.cli.completion import complete
from zoo_core.cli.options import (
    Count,
    OutFile,
    batch_size,
    check_shards,
    data_option,
    hub_options,
    method_option,
    settings_option,
    shard_options,
)
from zoo_core.cli.printing import remark, show
from zoo_core.cli.scored_events import (
    check_event,
    condition_of_data,
    first_of_permutation,
    mean_text,
)
from zoo_core.errors import UsageError

__all__ = ["command"]


@click.command("likelihood", cls=Command, example="zoo likelihood made.digits --data digits")
@click.argument("name", shell_complete=complete("tags"))
@data_option("Data set: zoo data lists them.", required=True)
@settings_option("an option of the data set", "--data-option", "data_options")
@click.option("--split", default="test", show_default=True, metavar="NAME", help="Its split.")
@method_option
@settings_option("an option of the method")
@click.option(
    "--cond",
    type=click.Choice(["auto", "none"]),
    default="auto",
    show_default=True,
    help="auto: a model that takes a condition is given the data's labels.",
)
@click.option("--limit", type=Count, metavar="N", help="Score N events drawn by the seed.")
@click.option(
    "--map",
    "heat_map",
    type=OutFile(),
    metavar="FILE",
    help="Also write -log p of each value: a .png heat map or an .npz file.",
)
@click.option(
    "--out",
    type=OutFile(),
    metavar="FILE",
    help="Write the score of every event: .csv, .npz or .parquet. A killed run goes on.",
)
@shard_options
@batch_size
@hub_options()
@click.pass_obj
def command(
    settings: Settings,
    name: str,
    data: str,
    data_options: dict[str, Any],
    split: str,
    method: str | None,
    options: dict[str, Any],
    cond: str,
    limit: int | None,
    heat_map: Path | None,
    out: Path | None,
    shards: int | None,
    shard: int | None,
    batch_size: int | None,
) -> None:
    """Score a split of a data set by the model NAME.

    Prints the mean log p in nats with its standard error, and bits per dimension, or nats per
    token of sequences. The sign before the number says whether it is log p itself (=), a bound
    (>=, <=), an estimate (~), or a score that is unrelated to log p (!). A lower bound of log p is
    an upper bound of bits.
    """
    part = check_shards(shards, shard)
    if shards is not None and out is None:
        raise UsageError("--shards makes a file with the score of every event.", hint="--out FILE")
    if out is not None and heat_map is not None:
        raise UsageError("--map is of all events at once, --out in pieces.", hint="drop one")
    from zoo_core.cli.models import dataset, load, locate_offline

    location = locate_offline(settings, name)
    from zoo_core.catalog import components as resolve
    from zoo_core.catalog.registry import current
    from zoo_core.cli.heat_map import check_map, write_map
    from zoo_core.data.batches import read
    from zoo_core.data.dataset import log_det

    source = dataset(settings, data, data_options)
    events = source.split(split)
    model = load(settings, name, location)
    check_event(source, model)
    score = resolve.likelihood(model, method, options)
    if heat_map is not None:
        check_map(heat_map, model)
    seed = settings.seed or 0
    indices = first_of_permutation(len(events), limit, seed, "zoo likelihood --limit")
    if out is not None:
        from zoo_core.cli.score_pieces import score_into

        request: dict[str, Any] = {"model": name, "data": data, "split": split, "method": method}
        request |= {"options": options, "data_options": data_options, "cond": cond}
        request |= {"limit": limit}
        result = score_into(
            settings, out, model, events, indices, score, request, part, batch_size
        )
        show(settings, *result)
        return
    x, y = read(source.event, events, indices)
    labels = condition_of_data(model, y) if cond == "auto" else None
    scored = model.log_likelihood(
        x,
        cond=labels,
        method=score,
        seed=seed,
        batch_size=batch_size,
        progress=settings.progress,
    ).in_units(log_det(events))
    mean = scored.mean()
    method = method or current().default_likelihood(model.spec, discrete=model.event.discrete)
    value = {"model": name, "data": data, "split": split, "method": method, **mean.record()}
    if limit is not None and limit < len(events):
        remark(settings, f"{limit} of {len(events)} events, a permutation by seed {seed}")
    lines = [mean_text(mean, f"{data} {split}")]
    if heat_map is not None:
        names = {"model": name, "data": data, "split": split}
        largest = write_map(heat_map, model, x, labels, names, batch_size=batch_size)
        value["map"] = str(heat_map)
        lines.append(f"{heat_map}: -log p of each value, at most {largest:.3f} nats")
    show(settings, value, lines)
