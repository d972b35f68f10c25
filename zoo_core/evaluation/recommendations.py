"""What serves which purpose: of a comparison, the best for likelihood, samples, latents, speed."""

import math
from collections.abc import Iterator, Sequence

from zoo_core.catalog.specs import LikelihoodKind
from zoo_core.evaluation.compare import ComparedModel, Comparison, headline_scores
from zoo_core.uncertainty import from_json

__all__ = ["baselines", "recommendations"]

_AHEAD = 2.0
"""Paired standard errors by which a baseline must be ahead to be recommended."""


def recommendations(c: Comparison) -> Iterator[tuple[str, str]]:
    """What serves which purpose: likelihood by kind, samples, latents, speed."""
    for kind, entries in _by_kind(c.entries).items():
        best = max(entries, key=lambda e: from_json((e.likelihood or {})["nats"], -math.inf))
        yield f"likelihood ({kind})", _or_baseline(best)
    scored = [(e, headline_scores(e).get("frechet")) for e in c.entries if e.evaluation.quality]
    drawn = [(s.value.value, e.name) for e, s in scored if s is not None]
    if drawn:
        yield "samples", f"{min(drawn)[1]}: Frechet distance {min(drawn)[0]:.4g}"
    latent = [e for e in c.entries if e.latents in ("exact", "inferred")]
    if latent:
        yield "latents", ", ".join(f"{e.name} ({e.latents})" for e in latent)
    timed = [
        (e.evaluation.speed.images_per_second, e.name) for e in c.entries if e.evaluation.speed
    ]
    if timed:
        yield "speed", f"{max(timed)[1]}: {max(timed)[0]:,.0f} samples a second"
    if c.coded is not None:
        sizes = [(m.bytes, m.name) for m in c.coded.models if m.bytes is not None]
        sizes += [(s.best, s.name) for s in c.coded.codecs if math.isfinite(s.best)]
        if sizes:
            yield "compression", f"{min(sizes)[1]}: {min(sizes)[0]:.2f} bytes an event"


def baselines(c: Comparison) -> Iterator[tuple[str, str]]:
    """Every baseline of the split with its likelihood, the highest first."""
    found = {b["name"]: b for e in c.entries if e.likelihood for b in e.likelihood["null"]}
    for name, b in sorted(found.items(), key=lambda item: -from_json(item[1]["nats"], -math.inf)):
        sign = LikelihoodKind(b["kind"], b["relation"]).sign
        yield name, f"log p {sign} {from_json(b['nats'], -math.inf):.2f} nats ({b['kind']})"


def _by_kind(entries: Sequence[ComparedModel]) -> dict[str, list[ComparedModel]]:
    found: dict[str, list[ComparedModel]] = {}
    for entry in entries:
        if entry.likelihood is not None and entry.likelihood["relation"] != "unrelated":
            found.setdefault(entry.likelihood["kind"], []).append(entry)
    return found


def _or_baseline(entry: ComparedModel) -> str:
    """The model, unless a baseline is ahead of it by two paired standard errors."""
    likelihood = entry.likelihood or {}
    own = f"{entry.name}: {from_json(likelihood['nats'], -math.inf):.2f} nats"
    ahead = [
        (b["gap"] / b["gap_std_err"], b)
        for b in likelihood["null"]
        if b["gap"] is not None and b["gap_std_err"] and b["gap"] < -_AHEAD * b["gap_std_err"]
    ]
    if not ahead:
        return own
    best = max((b for _, b in ahead), key=lambda b: from_json(b["nats"], -math.inf))
    return (
        f"the baseline {best['name']}: {best['nats']:.2f} nats, ahead of {own} by "
        f"{-best['gap']:.2f} +- {best['gap_std_err']:.2f}"
    )
