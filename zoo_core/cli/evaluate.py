"""`zoo evaluate`: measure a model beside real data and a null baseline."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo_core.catalog.units import per_value
from zoo_core.cli.command import Command, Settings
from zoo_core.cli.completion import complete
from zoo_core.cli.options import (
    Count,
    OutFile,
    batch_size,
    data_option,
    features_option,
    hub_options,
    method_option,
    metrics_option,
    refuse_unused,
    sampler_option,
    settings_option,
)
from zoo_core.cli.printing import fields, remark, show, size_text, table
from zoo_core.cli.reports import check_reports, is_page, write_reports
from zoo_core.errors import DataError, IntegrityError, UsageError
from zoo_core.uncertainty import from_json, plus_minus

if TYPE_CHECKING:
    from zoo_core.data.dataset import Dataset, Source
    from zoo_core.model import GenerativeModel
    from zoo_core.workflows.verification import Reproduction

__all__ = ["command", "lines"]

_MEASURING = (
    *("split", "only", "method", "options", "limit", "sampler", "sampler_options"),
    *("n", "drawn", "features", "scores", "inception_weights", "out", "record"),
)


@click.command("evaluate", cls=Command, example="zoo evaluate made.digits --only likelihood")
@click.argument("name", shell_complete=complete("tags"))
@data_option("Data set (default: the one the model's recipe names).")
@settings_option("an option of the data set", "--data-option", "data_options")
@click.option("--split", default="test", show_default=True, metavar="NAME", help="Its split.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(["likelihood", "quality", "speed"]),
    help="Measure only this (repeatable; default: all three).",
)
@method_option
@settings_option("an option of the likelihood")
@click.option("--limit", type=Count, metavar="N", help="Score N events drawn by the seed.")
@sampler_option
@settings_option("an option of the sampler", "--sampler-set", "sampler_options")
@click.option("--samples", "n", type=Count, metavar="N", help="Samples, and real events beside.")
@click.option(
    "--drawn",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Measure these samples, which zoo sample --shards drew from the model.",
)
@features_option
@metrics_option
@click.option("--inception-weights", metavar="FILE", help="Local weights of --features inception.")
@batch_size
@click.option(
    "--out", type=OutFile(), metavar="FILE", help="Write a report: .html or .md, or else JSON."
)
@click.option("--record", is_flag=True, help="Keep the result beside the weights.")
@click.option("--verify", is_flag=True, help="Check what is recorded with the weights again.")
@hub_options()
@click.pass_context
def command(
    ctx: click.Context,
    name: str,
    data: str | None,
    data_options: dict[str, Any],
    split: str,
    only: tuple[str, ...],
    method: str | None,
    options: dict[str, Any],
    limit: int | None,
    sampler: str | None,
    sampler_options: dict[str, Any],
    n: int | None,
    drawn: Path | None,
    features: tuple[str, ...],
    scores: tuple[str, ...],
    inception_weights: str | None,
    batch_size: int | None,
    out: Path | None,
    record: bool,
    verify: bool,
) -> None:
    """Measure the model NAME: its likelihood with its kind, sample quality, and speed.

    Every number stands beside the same number of held-out real data and of a null baseline that
    has learned nothing, and has a standard error. Events are never a prefix.
    """
    settings: Settings = ctx.obj
    if out is not None and is_page(out):
        check_reports([out])
    if verify:
        refuse_unused(ctx, "is not for --verify, which measures as the record says", *_MEASURING)
    if drawn is not None:
        why = "is not for --drawn, whose samples are there"
        refuse_unused(ctx, why, "sampler", "sampler_options", "record")
    from zoo_core.weights.locate import find

    location = find(name, settings.access)  # a wrong name is answered before torch is imported
    from zoo_core.cli.models import load
    from zoo_core.evaluation.evaluate import MEASUREMENTS, evaluate
    from zoo_core.evaluation.features import Inception
    from zoo_core.weights.checkpoint import weights_hash
    from zoo_core.workflows.verification import read_record, write_record

    folder, cached = location.folder, location.snapshot is not None
    if record and cached:
        raise UsageError(
            f"{name} is in the Hub's cache, which holds the files of its commit alone.",
            hint="--out FILE keeps the evaluation elsewhere",
        )
    model = load(settings, name, location)
    events = _dataset(settings, folder, data, data_options)
    if verify:
        recorded = None if cached else read_record(folder)
        return _verify(settings, folder, model, events, recorded, batch_size)
    extractors = [
        Inception(weights=inception_weights) if f == "inception" else f for f in features
    ]
    about = {"name": name, "weights": weights_hash(folder)}
    samples = None if drawn is None else _drawn(drawn, about["weights"])
    if samples is not None:
        about["drawn"] = str(drawn)
    result = evaluate(
        model,
        events,
        split=split,
        measurements=[m for m in MEASUREMENTS if m in (only or MEASUREMENTS)],
        method=method,
        options=options,
        limit=limit,
        sampler=sampler,
        sampler_options=sampler_options,
        n=n,
        drawn_before=samples,
        features=extractors or None,
        scores=scores or None,
        seed=settings.seed or 0,
        batch_size=batch_size,
        progress=settings.progress,
        about=about,
    )
    if out is not None and is_page(out):
        from zoo_core.evaluation.compare import alone
        from zoo_core.evaluation.report import report

        page = report(alone(name, model, result, events, split, settings.seed or 0))
        write_reports([out], page, result.record)
    elif out is not None:
        from zoo_core.files import write_json

        write_json(out, result.record)
    if record:
        remark(settings, f"recorded in {write_record(folder, result.record)}")
    show(settings, result.record, lines(result.record))


def lines(record: Mapping[str, Any]) -> Iterator[str]:
    """The record of an evaluation as text."""
    data = record["data"]
    yield from fields(
        [
            ("model", f"{record['model'].get('name')} ({record['model']['density']})"),
            ("data", f"{data['name']} {data['split']}, {data['size']} events"),
            ("binarization", data["binarization"]),
            ("likelihood", _likelihood(record["likelihood"])),
        ]
    )
    if record["likelihood"]:
        from zoo_core.evaluation.codecs import codec_lines

        yield from _baselines(record["likelihood"])
        yield from codec_lines(record["likelihood"])
    if record["quality"]:
        yield ""
        yield from _quality(record["quality"])
        yield from _flagged(record)
    if record["speed"]:
        yield ""
        yield from fields(_speed(record["speed"]))
    verdict = record["verdict"]
    yield ""
    counts = "counts" if verdict["pretrained"] else "does NOT count"
    yield f"{counts} as pretrained: {verdict['why']}"


def _likelihood(record: Mapping[str, Any] | None) -> str:
    if not record:
        return "none"
    from zoo_core.catalog.specs import LikelihoodKind

    kind = LikelihoodKind(record["kind"], record["relation"])
    rate, each = per_value(record), ""
    if rate is not None:
        name, value, error = rate
        each = f", {name} {kind.bits_sign} {value:.4f} {plus_minus(error, '.4f')}"
    whole = "every event once" if record["every_event"] else "drawn by the seed"
    return (
        f"log p {kind.sign} {from_json(record['nats'], -math.inf):.3f} "
        f"{plus_minus(record['std_err'])} nats{each} "
        f"({record['kind']}, n={record['n']}, {whole}, dequantization {record['dequantization']})"
    )


def _baselines(record: Mapping[str, Any]) -> Iterator[str]:
    truth = record["truth"]
    rows = [
        (n["name"], n["kind"], f"{n['nats']:.3f}", _gap(from_json(n["gap"], -math.inf), n))
        for n in record["null"]
    ]
    if record["bdmc_gap"]:
        gap = record["bdmc_gap"]
        yield (
            f"on events simulated from the model AIS is at most {gap['value']:.3f} "
            f"{plus_minus(gap['std_err'])} nats below log p (BDMC)"
        )
    if truth:
        rows.append(("truth", "exact", "", _gap(-from_json(truth["gap"], math.inf), truth)))
    if rows:
        yield from table(("beside", "kind", "nats", "model minus it"), rows, right="nats")


def _gap(value: float, record: Mapping[str, Any]) -> str:
    return f"{value:+.3f} {plus_minus(record['gap_std_err'])}"


def _quality(record: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        (
            s["label"],
            *(
                f"{s[k]['value']:.4g} {plus_minus(s[k]['std_err'], '.2g')}"
                for k in ("value", "real", "null")
            ),
            s["better"],
        )
        for s in record["scores"]
    ]
    yield from table(("score", "model", "real", f"null ({record['null']})", "better"), rows)
    yield (
        f"{record['n']} samples, as many of {record['split']} as real; reference "
        f"{record['reference']['n']} of {record['reference']['split']}"
    )
    both = [n for n, over in record.get("errors_over", {}).items() if "reference" in over]
    if both:
        yield (
            f"errors are over other draws of the samples, those of {' and '.join(both)} over "
            "other draws of the reference as well"
        )
    for label, why in record.get("left_out", {}).items():
        yield f"{label} is left out: {why}"


def _flagged(record: Mapping[str, Any]) -> Iterator[str]:
    from zoo_core.catalog.significance import memorized

    if flagged := memorized(record):
        yield f"FLAGGED: {flagged}"


def _speed(record: Mapping[str, Any]) -> list[tuple[str, Any]]:
    evaluations = record["network_evaluations"]
    return [
        ("images a second", f"{record['images_per_second']:.1f}"),
        ("first image", f"{record['first_image_seconds']:.4f} s"),
        ("network evaluations", evaluations if evaluations is not None else "one fused call"),
        ("parameters", record["parameters"]),
        ("peak memory", f"{size_text(record['peak_bytes'])} ({record['peak_of']})"),
        ("on", f"{record['device']}, {record['threads']} thread(s), n={record['n']}"),
    ]


def _dataset(
    settings: Settings, folder: Path, name: str | None, options: dict[str, Any]
) -> "Dataset":
    from zoo_core.cli.models import dataset
    from zoo_core.workflows.verification import data_of

    return dataset(settings, name, options) if name is not None else data_of(folder, **options)


def _drawn(folder: Path, weights: str | None) -> "Source":
    """The samples in a folder, if they are of these weights."""
    from zoo_core.data import load_dataset
    from zoo_core.pieces import Pieces

    data = load_dataset(f"samples:{folder}")
    facts = Pieces.read(folder).facts
    if weights is None or facts.get("weights") != weights:
        raise DataError(
            f"{folder} holds samples of {facts.get('model')}, weights {facts.get('weights')}; "
            f"the model's are {weights}.",
            hint="draw them from this model: zoo sample --shards",
        )
    return data.split("test")


def _verify(
    settings: Settings,
    folder: Path,
    model: "GenerativeModel",
    data: "Dataset",
    record: Mapping[str, Any] | None,
    batch_size: int | None,
) -> None:
    """Measure everything that is recorded with the weights again, and compare."""
    from zoo_core.weights.checkpoint import read_metadata
    from zoo_core.workflows import verification as records

    metrics = read_metadata(folder).get("metrics") or []
    reproductions = records.verify_metrics(model, data, metrics)
    if record is not None:
        again = records.verify(
            model, data, record, batch_size=batch_size, progress=settings.progress
        )
        reproductions += again[1]
    if not reproductions:
        raise DataError(
            f"nothing that can be checked is recorded in {folder}.",
            hint=f"zoo evaluate {folder} --record",
        )
    show(settings, [_row(r) for r in reproductions], map(str, reproductions))
    wrong = [r for r in reproductions if not r.agrees]
    if wrong:
        raise IntegrityError(
            f"{len(wrong)} of {len(reproductions)} recorded numbers differ: {wrong[0]}."
        )


def _row(reproduction: "Reproduction") -> dict[str, Any]:
    return {
        "what": reproduction.what,
        "recorded": reproduction.recorded,
        "now": reproduction.now,
        "tolerance": reproduction.tolerance,
        "agrees": reproduction.agrees,
    }
