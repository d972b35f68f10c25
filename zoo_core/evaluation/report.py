"""Reports of a comparison: a table, Markdown, and a self-contained HTML page.

The page has no scripts and no external resources: pictures are data URIs, charts are inline SVG,
and its content security policy forbids everything else.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from torch import Tensor

from zoo_core.catalog.significance import memorized
from zoo_core.catalog.specs import LikelihoodKind
from zoo_core.catalog.units import per_value
from zoo_core.data.batches import read
from zoo_core.data.pictures import grid, grid_layout, shade
from zoo_core.evaluation import charts
from zoo_core.evaluation.coded import lines as lines_of
from zoo_core.evaluation.compare import ComparedModel, Comparison, headline_scores
from zoo_core.evaluation.quality import MEMORIZATION, Quality
from zoo_core.spaces import Event
from zoo_core.uncertainty import from_json, plus_minus

__all__ = ["COLUMNS", "html", "markdown", "page", "rows"]

COLUMNS = (
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
    ("Frechet", "Frechet distance on the named features; real data's beside it"),
    ("precision", "fraction of the samples that look real; real data's beside it"),
    ("coverage", "fraction of the reference that samples reach; real data's beside it"),
    (
        "memorization",
        "fraction of the samples nearer to train than to held-out data; 0.5 by chance",
    ),
    ("images/s", "samples per second in batches"),
    ("first image", "seconds to one image"),
    ("NFE", "network evaluations per sample"),
    ("parameters", "number of parameters"),
    ("latents", "latents of events: exact, inferred, prior only, none"),
)

Sections = Mapping[str, Sequence[tuple[str, str]]]
"""Further parts of a report by title, each of names and what is told of them."""
NO_SECTIONS: Sections = {}

_SHOWN = 36
_PLANE_MARGIN = 0.1
_WIDTH = 200
"""About how wide a picture of vectors is, in pixels."""
_CSS = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;
color:#1a1a1a;background:#fff}h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin-top:2.2rem}
p.note{color:#555;max-width:48rem}table{border-collapse:collapse;font-size:13px}
div.wide{overflow-x:auto}th,td{padding:.35rem .7rem;border-bottom:1px solid #ddd;text-align:left;
white-space:nowrap}th{border-bottom:2px solid #888}tr:hover td{background:#f6f8fa}
.warn{background:#fff4e5;border-left:4px solid #e69f00;padding:.5rem 1rem;margin:.5rem 0}
.grids{display:flex;flex-wrap:wrap;gap:1.2rem}figure{margin:0}figcaption{font-size:13px;color:#333;
margin-top:.3rem}img{image-rendering:pixelated;max-width:100%}svg{max-width:44rem;width:100%;
background:#fff}svg text{font:12px system-ui,sans-serif;fill:#333}svg .middle{text-anchor:middle}
svg .end{text-anchor:end}svg .grid{stroke:#eee}svg .level{stroke:#999;stroke-dasharray:4 4}
dt{font-weight:600;float:left;clear:left;width:8rem}dd{margin-left:8.5rem;color:#444}
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """The rows of the table, one per model, in the order of `COLUMNS`."""
    return [_row(comparison, entry) for entry in comparison.entries]


def markdown(comparison: Comparison, sections: Sections = NO_SECTIONS) -> str:
    """The table, the warnings and the legend of the columns, in Markdown."""
    header = [name for name, _ in COLUMNS]
    lines = [f"# {_title(comparison)}", "", _caption(comparison), ""]
    lines += [f"> **Not equal:** {warning}" for warning in comparison.warnings] or []
    lines += ["", f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    lines += [f"| {' | '.join(c.replace('|', ' ') for c in row)} |" for row in rows(comparison)]
    lines += ["", *(f"- {e.name}: {note}" for e in comparison.entries for note in e.notes)]
    lines += ["", *(f"- {line.strip()}" for line in _coded(comparison))]
    for title, entries in sections.items():
        lines += ["", f"## {title}", "", *(f"- **{what}**: {told}" for what, told in entries)]
    lines += ["", "## What the columns are", ""]
    lines += [f"- **{name}**: {text}" for name, text in COLUMNS]
    return "\n".join(lines).strip() + "\n"


def html(comparison: Comparison, sections: Sections = NO_SECTIONS) -> str:
    """The whole report as one page."""
    return page(_title(comparison), list(_body(comparison, sections)))


def page(title: str, body: Sequence[str]) -> str:
    """A self-contained page."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_CSS}</style></head>"
        f"<body><h1>{escape(title)}</h1>{''.join(body)}</body></html>\n"
    )


def _body(c: Comparison, sections: Sections) -> Iterator[str]:
    yield f'<p class="note">{escape(_caption(c))}</p>'
    for warning in c.warnings:
        yield f'<p class="warn"><b>Not equal:</b> {escape(warning)}</p>'
    yield _table([name for name, _ in COLUMNS], rows(c))
    for entry in c.entries:
        for note in entry.notes:
            yield f'<p class="note">{escape(entry.name)}: {escape(note)}</p>'
    yield from (f'<p class="note">{escape(line)}</p>' for line in _coded(c))
    for title, entries in sections.items():
        yield f"<h2>{escape(title)}</h2>"
        yield from _definitions(entries)
    yield from _trade_off(c)
    yield from _histograms(c)
    yield from _samples(c)
    yield from _maps(c)
    yield "<h2>What the columns are</h2>"
    yield from _definitions(COLUMNS)


def _definitions(entries: Sequence[tuple[str, str]]) -> Iterator[str]:
    yield "<dl>"
    yield from (f"<dt>{escape(n)}</dt><dd>{escape(t)}</dd>" for n, t in entries)
    yield "</dl>"


def _coded(c: Comparison) -> list[str]:
    """What events take after compression, if it was measured."""
    return lines_of(c.coded) if c.coded else []


def _table(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(f'<td>{escape(c)}</td>' for c in row)}</tr>" for row in cells)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _trade_off(c: Comparison) -> Iterator[str]:
    """Quality against sampling time in one chart: the trade-off between the families."""
    points = []
    for entry in c.entries:
        speed, scores = entry.evaluation.speed, entry.evaluation.quality
        frechet = headline_scores(entry).get("frechet") if scores else None
        if speed is not None and frechet is not None:
            seconds = 1 / speed.images_per_second
            points.append(
                charts.Point(entry.name, seconds, frechet.value.value, frechet.value.std_err)
            )
    if not points:
        return
    measured = (headline_scores(e) for e in c.entries if e.evaluation.quality)
    first = next(scores["frechet"] for scores in measured if "frechet" in scores)
    lines = [("real data", first.real.value)]
    worst = max(p.y + p.bar for p in points)
    if first.baseline.value < 3 * worst:  # a more distant line would squeeze the models together
        lines.append(("baseline", first.baseline.value))
    yield "<h2>Quality against sampling time</h2>"
    yield charts.scatter(
        points, x_label="seconds an image, in batches", y_label=first.label, lines=lines
    )
    yield (
        '<p class="note">Down and to the left is better. The dashed line is what held-out real '
        f"data get from as many events; the baseline gets {first.baseline.value:.4g}.</p>"
    )


def _histograms(c: Comparison) -> Iterator[str]:
    likelihoods = [(e, e.evaluation.likelihood) for e in c.entries]
    samples = [
        (
            f"{e.name} ({s.mean.kind.bits_sign} {s.mean.kind.name})",
            (-s.nats[s.nats.isfinite()]).tolist(),
        )
        for e, s in likelihoods
        if s and s.mean.kind.comparable and bool(s.nats.isfinite().any())
    ]
    if samples:
        yield "<h2>Likelihood of each event</h2>"
        yield charts.histograms(samples, x_label="-log p, nats")
        yield (
            '<p class="note">Where the sign is &lt;=, the number is an upper bound of -log p, and '
            "the outline lies to the right of the true one.</p>"
        )


def _samples(c: Comparison) -> Iterator[str]:
    yield f"<h2>Samples from the same seeds ({c.seed})</h2><div class='grids'>"
    held = c.data.split(c.split)
    real, _ = read(c.data.event, held, _spread(len(held)))
    yield _figure(_picture(real, c), f"real, {c.data.name} {c.split}")
    for entry in c.entries:
        if entry.evaluation.samples is not None:
            yield _figure(_picture(entry.evaluation.samples, c), entry.name)
    yield "</div>"


def _maps(c: Comparison) -> Iterator[str]:
    named_maps = [(e.name, e.maps) for e in c.entries if e.maps is not None]
    if not named_maps or c.shown is None or len(c.data.event.shape) != 3:
        return
    top = max(float(m.sum(1).quantile(0.99)) for _, m in named_maps)
    yield "<h2>Where the bits are</h2><div class='grids'>"
    yield _figure(_strip(c.shown, c.data.event), "events")
    for name, maps in named_maps:
        pictures = [charts.heat(m.sum(0).numpy(), top) for m in maps]
        yield _figure(_side_by_side(pictures), f"{name}: bits of each pixel given the earlier")
    yield f'</div><p class="note">White is 0 bits, the darkest red {top:.1f} bits or more.</p>'


def _picture(x: Tensor, c: Comparison) -> np.ndarray:
    event = c.data.event
    if event.shape == (2,):
        held = read(c.data.event, c.data.split(c.split))[0].double().numpy()
        low, high = held.min(0), held.max(0)
        margin = _PLANE_MARGIN * (high - low)
        return charts.plane(x.double().numpy(), low - margin, high + margin)
    x = x[:_SHOWN]
    if len(event.shape) == 1:
        return _stacked(x, read(event, c.data.split(c.split))[0])
    rows_, columns, _, _ = grid_layout(event, len(x), columns=6)
    return grid(shade(x, event, *_range(x, event)), rows_, columns, _scale(event))


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


def _figure(picture: np.ndarray, caption: str) -> str:
    return (
        f'<figure><img alt="{escape(caption)}" src="{charts.data_uri(picture)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _row(c: Comparison, e: ComparedModel) -> tuple[str, ...]:
    likelihood, speed = e.likelihood, e.evaluation.speed
    scores = headline_scores(e) if e.evaluation.quality else {}
    verdict = e.record["verdict"]
    sigmas = verdict["sigmas"]
    return (
        e.name,
        e.record["model"]["density"],
        "none" if not likelihood else _nats(likelihood),
        "-" if not likelihood else _bits(likelihood),
        _bytes(c, e.name),
        c.rank(e),
        "-" if sigmas is None else f"{sigmas:+.0f} ({verdict['by']})",
        *(_score(scores, name) for name in ("frechet", "precision", "coverage")),
        _memorization(e),
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
    return f"{len(c.entries)} models on {c.data.name}"


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
