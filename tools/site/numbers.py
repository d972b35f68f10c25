"""The numbers of a tag, as they are recorded: zoo.json, evaluation.json, and its source's own."""

from collections.abc import Iterator

from tools.site.markdown import address, table
from tools.site.samples import Info
from zoo_core.catalog.registry import ModelInfo
from zoo_core.catalog.specs import LikelihoodKind
from zoo_core.uncertainty import plus_minus


def numbers(row: ModelInfo, info: Info) -> Iterator[str]:
    """The recorded likelihoods, scores of samples, published numbers and speed of a tag."""
    record = (row.tag.evaluation if row.tag else None) or {}
    likelihoods = [m for m in info["metrics"] if "nats" in m]
    scores = [m for m in info["metrics"] if {"score", "value", "real", "null"} <= m.keys()]
    if record.get("quality"):  # the newer measurement, of all scores
        scores = list(map(_recorded_score, record["quality"]["scores"]))
    if likelihoods:
        head = ("split", "log p in nats", "bits/dim", "kind", "events")
        yield from (*table(head, map(_likelihood_row, likelihoods)), "", *_baselines(record))
        yield "`=` is exact, `>=` a lower bound of log p, `<=` the upper bound of bits/dim that "
        yield from ("follows, `~` an estimate.", "")
    if scores:
        head = ("split", "quality of samples", "value", "real data", "null baseline", "n")
        yield from (*table(head, map(_score_row, scores)), "")
    if info["published"]:
        yield from ("Published by the source, not measured here:", "")
        head = ("", "value", "on", "source")
        yield from (*table(head, map(_published_row, info["published"])), "")
    yield from _speed(record.get("speed"))
    if row.tag and row.tag.here and not record:
        yield from ("Baselines, quality and speed are not recorded. This measures them:", "")
        yield from ("```sh", f"zoo evaluate {row.name}", "```")
    elif not (likelihoods or scores or info["published"]):
        yield "Nothing is recorded."


def _baselines(record: Info) -> Iterator[str]:
    """What baselines that learned little reach on the same events."""
    if null := (record.get("likelihood") or {}).get("null"):
        told = (
            f"{b['name']} {LikelihoodKind(b['kind'], b['relation']).sign} {b['nats']:.1f} nats"
            for b in null
        )
        yield from (f"Baselines on the same events: {', '.join(told)}.", "")


def _recorded_score(score: Info) -> Info:
    """A score of an evaluation in the form that zoo.json has."""
    numbers = {key: score[key]["value"] for key in ("value", "real", "null")}
    error = score["value"]["std_err"]
    return {"split": "test", "score": score["label"], "std_err": error, "n": score["n"], **numbers}


def _speed(speed: Info | None) -> Iterator[str]:
    if speed:
        yield f"Speed: {speed['images_per_second']:.3g} events per second in batches, the first"
        yield f"after {speed['first_image_seconds']:.3g} s, {speed['network_evaluations']:,} calls"
        yield f"of the network ({speed['threads']} thread, {speed['device']})."


def _likelihood_row(m: Info) -> tuple[str, ...]:
    kind = LikelihoodKind(m["kind"], m["relation"])
    nats = f"{kind.sign} {m['nats']:.3f} {_error(m['std_err'])}"
    bits = m.get("bits_per_dim")
    rate = f"{kind.bits_sign} {bits:.3f} {_error(m['bits_per_dim_std_err'])}" if bits else ""
    return m["split"], nats, rate, m["kind"], f"{m['n']:,}"


def _score_row(m: Info) -> tuple[str, ...]:
    value = f"{m['value']:.4g} {_error(m['std_err'], '.2g')}"
    return m["split"], m["score"], value, f"{m['real']:.4g}", f"{m['null']:.4g}", f"{m['n']:,}"


def _published_row(m: Info) -> tuple[str, ...]:
    return m["name"], f"{m['value']:g}", m["data"], address(m["source"])


def _error(error: float | None, digits: str = ".3f") -> str:
    return plus_minus(error, digits).replace("+-", "±")
