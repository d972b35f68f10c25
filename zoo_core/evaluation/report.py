"""The report of a comparison: what its tables, notes and pictures are (`page` writes them)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from zoo_core.catalog.significance import memorized
from zoo_core.catalog.specs import LikelihoodKind
from zoo_core.catalog.units import per_value
from zoo_core.data.batches import read
from zoo_core.data.pictures import grid, grid_layout, shade
from zoo_core.evaluation import calls, charts
from zoo_core.evaluation.coded import lines as coded_lines
from zoo_core.evaluation.compare import ComparedModel, Comparison, headline_scores
from zoo_core.evaluation.page import Page, Picture, Section, Table
from zoo_core.evaluation.quality import MEMORIZATION, Quality
from zoo_core.spaces import Event
from zoo_core.uncertainty import from_json, plus_minus

__all__ = ["COST", "LIKELIHOOD", "SAMPLES", "report", "tables"]

LIKELIHOOD = (
    ("model", "the name, and how it treats p(x)"),
    ("density", "the density type"),
    ("likelihood", "mean log p of the split in nats, with its relation to log p and its kind"),
    (
        "bits/dim",
        "minus log p per value, so that a lower bound becomes an upper one; lower is better",
    ),
    ("bytes", "bytes an event of a file, decoded bit for bit; weights are not counted"),
    ("rank", "among numbers of the same kind and events; estimates (~) have none"),
    ("beyond null", "paired gap to the strongest baseline, in standard errors"),
)
SAMPLES = (
    ("model", "the name"),
    ("Frechet", "Frechet distance on the named features; real data's beside it"),
    ("precision", "fraction of the samples that look real; real data's beside it"),
    ("coverage", "fraction of the reference that samples reach; real data's beside it"),
    (
        "memorization",
        "fraction of the samples nearer to train than to held-out data; 0.5 by chance",
    ),
)
COST = (
    ("model", "the name"),
    ("images/s", "samples per second in batches"),
    ("first image", "seconds to one image"),
    ("NFE", "network evaluations per sample"),
    ("parameters", "number of parameters"),
    ("latents", "latents of events: exact, inferred, prior only, none"),
)
"""Columns with what they are."""

_SHOWN = 36
_PLANE_MARGIN = 0.1
_WIDTH = 200
"""About how wide a picture of vectors is, in pixels."""


def report(c: Comparison, *, first: Sequence[Section] = ()) -> Page:
    """The whole report; `first` are sections above the tables."""
    notes = [f"{entry.name}: {note}" for entry in c.entries for note in entry.notes]
    return Page(
        _title(c),
        [_caption(c), *notes],
        [f"Not equal: {warning}" for warning in c.warnings],
        [*first, *tables(c), *_coded(c), *_trade_off(c), *_histograms(c), *_samples(c), *_maps(c)],
    )


def tables(c: Comparison) -> Iterator[Section]:
    """A table of each question, one row a model; what was not measured has none."""
    yield _section("Likelihood", LIKELIHOOD, [_likelihood(c, e) for e in c.entries])
    if any(e.evaluation.quality for e in c.entries):
        yield _section("Quality of samples", SAMPLES, [_quality(e) for e in c.entries])
    yield _section("Cost", COST, [_cost(e) for e in c.entries])
    if c.curves:
        yield _by_calls(c)


def _section(
    title: str, columns: Sequence[tuple[str, str]], rows: Sequence[tuple[str, ...]]
) -> Section:
    return Section(title, Table([name for name, _ in columns], rows), terms=columns)


def _by_calls(c: Comparison) -> Section:
    """Quality against the calls of the network, a curve for each model."""

    def pictures() -> Iterator[Picture]:
        for score in ("frechet", "coverage"):
            named = [(name, calls.points_of(points, score)) for name, points in c.curves]
            if series := [(name, found) for name, found in named if found]:
                yield _curve(series)

    note = (
        "Calls of the network for one event, which were counted; all models drew the same numbers "
        "of steps by their own samplers. The dashed line is what held-out real data get."
    )
    table = Table(calls.HEADER, calls.rows(c.curves))
    title = "Quality against calls of the network"
    return Section(title, table, pictures=lambda: [*pictures()], notes=[note])


def _curve(series: Sequence[tuple[str, Sequence[tuple[int, Quality]]]]) -> Picture:
    """A score of models against their calls, with what real data get."""
    first = series[0][1][0][1]
    curves = [
        [charts.Point(name, n, q.value.value, q.value.std_err) for n, q in found]
        for name, found in series
    ]
    told = "; ".join(
        f"{points[0].name} {', '.join(f'{p.y:.4g} at {p.x:g}' for p in points)}"
        for points in curves
    )
    lines = [("real data", first.real.value)]
    chart = charts.curves(curves, x_label="calls", y_label=first.label, lines=lines)
    return Picture(chart, f"{first.label} against calls: {told}", is_chart=True)


def _coded(c: Comparison) -> Iterator[Section]:
    """What events take after compression, if it was measured."""
    if c.coded is not None:
        title, *lines = coded_lines(c.coded)
        pairs = [tuple(line.strip().split(": ", 1)) for line in lines]
        told = title[0].upper() + title[1:].replace(":", ".")
        table = Table(["code", "bytes an event"], pairs)
        yield Section("Compression", table, notes=[told])


def _trade_off(c: Comparison) -> Iterator[Section]:
    """Quality against sampling time in one chart: the trade-off between the families."""
    points, scores = [], []
    for entry in c.entries:
        speed = entry.evaluation.speed
        frechet = headline_scores(entry).get("frechet") if entry.evaluation.quality else None
        if speed is not None and frechet is not None:
            value, seconds = frechet.value, 1 / speed.images_per_second
            points.append(charts.Point(entry.name, seconds, value.value, value.std_err))
            scores.append(frechet)
    if not points:
        return
    real, baseline = scores[0].real.value, scores[0].baseline.value
    lines = [("real data", real)]
    if baseline < 3 * max(p.y + p.bar for p in points):  # else it squeezes the models together
        lines.append(("baseline", baseline))
    x_label, y_label = "seconds an image, in batches", scores[0].label
    told = "; ".join(f"{p.name} {p.y:.4g} at {p.x:.3g} s" for p in points)

    def pictures() -> list[Picture]:
        chart = charts.scatter(points, x_label=x_label, y_label=y_label, lines=lines)
        return [Picture(chart, f"{y_label} against {x_label}: {told}", is_chart=True)]

    note = (
        "Down and to the left is better. The dashed line is what held-out real data get from as "
        f"many events; the baseline gets {baseline:.4g}."
    )
    yield Section("Quality against sampling time", pictures=pictures, notes=[note])


def _histograms(c: Comparison) -> Iterator[Section]:
    samples = [
        (
            f"{e.name} ({s.mean.kind.bits_sign} {s.mean.kind.name})",
            (-s.nats[s.nats.isfinite()]).tolist(),
        )
        for e in c.entries
        if (s := e.evaluation.likelihood)
        and s.mean.kind.comparable
        and bool(s.nats.isfinite().any())
    ]
    if not samples:
        return

    def pictures() -> list[Picture]:
        told = "; ".join(f"{name}: median {np.median(values):.4g}" for name, values in samples)
        chart = charts.histograms(samples, x_label="-log p, nats")
        return [Picture(chart, f"histograms of -log p in nats; {told}", is_chart=True)]

    note = (
        "Where the sign is <=, the number is an upper bound of -log p, and the outline lies to "
        "the right of the true one."
    )
    yield Section("Likelihood of each event", pictures=pictures, notes=[note])


def _samples(c: Comparison) -> Iterator[Section]:
    def pictures() -> Iterator[Picture]:
        held = c.data.split(c.split)
        real, _ = read(c.data.event, held, _spread(len(held)))
        what = f"{c.data.name} {c.split}"
        yield _picture(real, c, f"real events of {what}", f"real, {what}")
        for entry in c.entries:
            if entry.evaluation.samples is not None:
                yield _picture(entry.evaluation.samples, c, f"samples of {entry.name}", entry.name)

    yield Section(f"Samples from the same seeds ({c.seed})", pictures=lambda: [*pictures()])


def _maps(c: Comparison) -> Iterator[Section]:
    named_maps = [(e.name, e.maps) for e in c.entries if e.maps is not None]
    if not named_maps or c.shown is None or len(c.data.event.shape) != 3:
        return
    shown = c.shown
    top = max(float(m.sum(1).quantile(0.99)) for _, m in named_maps)

    def pictures() -> Iterator[Picture]:
        yield _captioned(_strip(shown, c.data.event), f"{len(shown)} events", "events")
        for name, maps in named_maps:
            strip = _side_by_side([charts.heat(m.sum(0).numpy(), top) for m in maps])
            caption = f"{name}: bits of each pixel given the earlier"
            yield _captioned(strip, f"{caption}, for the same events", caption)

    note = f"White is 0 bits, the darkest red {top:.1f} bits or more."
    yield Section("Where the bits are", pictures=lambda: [*pictures()], notes=[note])


def _picture(x: Tensor, c: Comparison, what: str, caption: str) -> Picture:
    event = c.data.event
    if event.shape == (2,):
        held = read(c.data.event, c.data.split(c.split))[0].double().numpy()
        low, high = held.min(0), held.max(0)
        margin = _PLANE_MARGIN * (high - low)
        picture = charts.plane(x.double().numpy(), low - margin, high + margin)
        return _captioned(picture, f"density of {len(x)} {what}, dark where dense", caption)
    x = x[:_SHOWN]
    if len(event.shape) == 1:
        stacked = _stacked(x, read(event, c.data.split(c.split))[0])
        return _captioned(stacked, f"{len(x)} {what}, a row each, black to white", caption)
    rows_, columns, _, _ = grid_layout(event, len(x), columns=6)
    picture = grid(shade(x, event, *_range(x, event)), rows_, columns, _scale(event))
    return _captioned(picture, f"{len(x)} {what} in a grid", caption)


def _captioned(picture: np.ndarray, alt: str, caption: str) -> Picture:
    return Picture(charts.data_uri(picture), alt, caption)


def _stacked(x: Tensor, held: Tensor) -> np.ndarray:
    """Vectors (N, D) as the rows of a picture, each value between its least and greatest in the
    held-out ones: black to white."""
    low, high = held.double().min(0).values, held.double().max(0).values
    brightness = ((x.double() - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    pixels = (255 * brightness).round().byte().numpy()
    scale = max(1, _WIDTH // pixels.shape[1])
    return pixels.repeat(6, 0).repeat(scale, 1)[..., None].repeat(3, 2)


def _strip(x: Tensor, event: Event) -> np.ndarray:
    images = shade(x, event, *_range(x, event)).expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
    return _side_by_side(list(images))


def _side_by_side(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures in a row; small ones are magnified."""
    scale = max(1, 64 // pictures[0].shape[0])
    large = [p.repeat(scale, 0).repeat(scale, 1) for p in pictures]
    gap = np.full((large[0].shape[0], 4, 3), 255, np.uint8)
    return np.concatenate([image for p in large for image in (p, gap)][:-1], axis=1)


def _range(x: Tensor, event: Event) -> tuple[float, float]:
    low = event.low if event.low is not None else float(x.min())
    high = event.high if event.high is not None else float(x.max())
    return low, high


def _scale(event: Event) -> int:
    return max(1, 32 // max(event.shape[-2:]))


def _spread(n: int) -> slice:
    """Indices spread over a split, which may be sorted by class."""
    return slice(None, None, max(1, n // _SHOWN))


def _likelihood(c: Comparison, e: ComparedModel) -> tuple[str, ...]:
    likelihood, verdict = e.likelihood, e.record["verdict"]
    sigmas = verdict["sigmas"]
    return (
        e.name,
        e.record["model"]["density"],
        "none" if not likelihood else _nats(likelihood),
        "-" if not likelihood else _bits(likelihood),
        _bytes(c, e.name),
        c.rank(e),
        "-" if sigmas is None else f"{sigmas:+.0f} ({verdict['by']})",
    )


def _quality(e: ComparedModel) -> tuple[str, ...]:
    scores = headline_scores(e) if e.evaluation.quality else {}
    named = (_score(scores, name) for name in ("frechet", "precision", "coverage"))
    return e.name, *named, _memorization(e)


def _cost(e: ComparedModel) -> tuple[str, ...]:
    speed = e.evaluation.speed
    return (
        e.name,
        "-" if not speed else f"{speed.images_per_second:.4g}",
        "-" if not speed else f"{speed.first_image_seconds:.3g} s",
        "-" if not speed or speed.network_evaluations is None else f"{speed.network_evaluations}",
        f"{e.record['model']['parameters']:,}",
        e.latents,
    )


def _score(scores: Mapping[str, Quality], name: str) -> str:
    q = scores.get(name)
    return "-" if q is None else f"{q.value.value:.3g} (real {q.real.value:.3g})"


def _memorization(e: ComparedModel) -> str:
    """The largest memorization on any features, which decides the significance."""
    measured = [q for q in e.evaluation.quality if q.score == MEMORIZATION]
    if not measured:
        return "-"
    worst = max(measured, key=lambda q: q.value.value)
    flag = ", FLAGGED" if memorized(e.record) else ""
    return f"{worst.value.value:.3f} ({worst.features}{flag})"


def _nats(record: Mapping[str, Any]) -> str:
    nats, error = from_json(record["nats"], -math.inf), plus_minus(record["std_err"], ".2f")
    return f"log p {_kind(record).sign} {nats:.2f} {error} ({record['kind']})"


def _bits(record: Mapping[str, Any]) -> str:
    """Bits/dim, as the column says; a rate in another unit with its name."""
    rate = per_value(record)
    if rate is None:
        return "-"
    unit = "" if rate[0] == "bits/dim" else f" {rate[0]}"
    return f"{_kind(record).bits_sign} {rate[1]:.3f}{unit}"


def _bytes(c: Comparison, name: str) -> str:
    """Bytes an event of a model's file, if events were coded and it can code them."""
    models = c.coded.models if c.coded else []
    found = (m.bytes for m in models if m.name == name and m.bytes is not None)
    return next((f"{size:.2f}" for size in found), "-")


def _kind(record: Mapping[str, Any]) -> LikelihoodKind:
    return LikelihoodKind(record["kind"], record["relation"])


def _title(c: Comparison) -> str:
    names = [entry.name for entry in c.entries]
    return f"{names[0] if len(names) == 1 else f'{len(names)} models'} on {c.data.name}"


def _caption(c: Comparison) -> str:
    quality = next((e.evaluation.quality for e in c.entries if e.evaluation.quality), None)
    text = f"Split {c.split}, {len(c.data.split(c.split))} events, seed {c.seed}."
    if quality:
        q = quality[0]
        text += (
            f" Sample scores on the features {q.features}: {q.n} samples of each model, as many "
            f"real events beside them, {q.n_reference} of train as reference."
        )
    if c.data.binarization:
        text += f" Binarization: {c.data.binarization}."
    return text
