"""`zoo compress`: code a data set by a model, and say what the file costs beside -log p."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo_core.cli.command import Command, Settings
from zoo_core.cli.completion import complete
from zoo_core.cli.options import Count, OutFile, hub_options, settings_option
from zoo_core.cli.printing import fields, remark, show, size_text, table
from zoo_core.cli.scored_events import check_event, condition_of_data, first_of_permutation

if TYPE_CHECKING:
    from zoo_core.compression.codecs import CodecSize
    from zoo_core.compression.report import Report

__all__ = ["command"]


@click.command(
    "compress",
    cls=Command,
    example="zoo compress digits --model gated_pixelcnn.digits --limit 100 --out digits.zoo",
)
@click.argument("data", shell_complete=complete("data"))
@click.option(
    "--model",
    "name",
    required=True,
    metavar="NAME",
    help="Model: zoo list.",
    shell_complete=complete("tags"),
)
@click.option("--out", required=True, type=OutFile(), metavar="FILE", help="File to write.")
@settings_option("an option of the data set", "--data-option", "data_options")
@click.option("--split", default="test", show_default=True, metavar="NAME", help="Its split.")
@click.option("--limit", type=Count, metavar="N", help="Code N events drawn by the seed.")
@click.option(
    "--block",
    type=Count,
    metavar="N",
    help="Events that are coded together (default: at most 1000). Each block is read by itself.",
)
@click.option("--verify", is_flag=True, help="Decode the file again and compare every value.")
@click.option("--codecs", is_flag=True, help="Also code the events by PNG, WebP, zstd, ...")
@hub_options()
@click.pass_obj
def command(
    settings: Settings,
    data: str,
    name: str,
    out: Path,
    data_options: dict[str, Any],
    split: str,
    limit: int | None,
    block: int | None,
    verify: bool,
    codecs: bool,
) -> None:
    """Code a split of the data set DATA by a model, without loss.

    The payload takes about what the model's likelihood says: -log p by an autoregressive model,
    minus the ELBO by a VAE. The model is needed to decode, and its size is not counted; it is
    stated.
    """
    from zoo_core.cli.models import dataset, load, locate_offline

    location = locate_offline(settings, name)
    from zoo_core.compression import api
    from zoo_core.compression.codecs import sizes
    from zoo_core.compression.report import report, verified
    from zoo_core.data.batches import read
    from zoo_core.files import write_atomically

    source = dataset(settings, data, data_options)
    events = source.split(split)
    model = load(settings, name, location)
    api.codec_of(model)
    check_event(source, model)
    seed = settings.seed or 0
    indices = first_of_permutation(len(events), limit, seed, "zoo compress --limit")
    x, y = read(source.event, events, indices)
    cond = condition_of_data(model, y)
    if len(indices) < len(events):
        remark(settings, f"{limit} of {len(events)} events, a permutation by seed {seed}")
    code = api.compress(model, x, cond=cond, name=name, block=block, progress=settings.progress)
    if verify:
        verified(code, model, x)
    write_atomically(out, code)
    result = report(code, model, x, cond, seed=seed)
    others = sizes(x, source.event) if codecs else []
    value = {"model": name, "data": data, "split": split, "out": str(out), **result.record()}
    value |= {"decoded": len(x)} if verify else {}
    value |= {"codecs": [o.record() for o in others]} if codecs else {}
    lines = [*_lines(result, str(out), verify), *_of_model(model)]
    if codecs:
        lines += table(["bytes an event", "a file each", "one of all"], [*map(_row, others)])
    show(settings, value, lines)


def _lines(result: "Report", out: str, decoded: bool) -> list[str]:
    kind = result.mean.kind
    initial = f", of which {result.initial_bits:,} initial bits" if result.initial_bits else ""
    return [
        f"{result.bytes:,} bytes in {out} for {result.mean.n:,} events",
        *fields(
            [
                ("-log p", f"{kind.bits_sign} {result.ideal_bytes:,.0f} bytes ({kind})"),
                ("payload", f"{result.payload_bytes:,} bytes{initial}"),
                ("ratio", f"{result.ratio:.4f}"),
                ("header", f"{result.header_bytes:,} bytes"),
                ("an event", f"{result.payload_bytes / result.mean.n:.2f} bytes"),
                ("decoded", "all, bit for bit" if decoded else None),
            ]
        ),
    ]


def _row(size: "CodecSize") -> list[str]:
    if size.single is None or size.together is None:
        return [size.name, size.missing or "", ""]
    return [size.name, f"{size.single:.2f}", f"{size.together:.2f}"]


def _of_model(model: Any) -> list[str]:
    """What a decoder needs beside the file."""
    size = sum(p.numel() * p.element_size() for p in model.state_dict().values())
    return [f"not counted: the model, {size_text(size)} of weights, which a decoder needs too"]
