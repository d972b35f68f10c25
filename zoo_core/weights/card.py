"""The model card of a published model, and recorded metrics as text."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from zoo_core.catalog.measured_sampler import MeasuredSampler
from zoo_core.catalog.registry import current
from zoo_core.catalog.significance import beyond_chance
from zoo_core.catalog.specs import LikelihoodKind, ModelSpec
from zoo_core.catalog.units import per_value
from zoo_core.text import printable, printable_lines
from zoo_core.uncertainty import from_json, plus_minus
from zoo_core.weights.card_metadata import header

__all__ = ["card", "headline", "metric_short", "metric_text"]

_MARKUP = re.compile(r"[\\`|<\[\]]")


def card(
    repo: str, spec: ModelSpec, metadata: Mapping[str, Any], picture: str | None = None
) -> str:
    """The model card (README.md) of a repository, from the spec and metadata of its model.

    `picture` is the path of a picture of samples in the repository.
    """
    lines = [*header(repo, spec, metadata), *_body(repo, spec, metadata, picture), ""]
    return "\n".join(lines)


def metric_text(metric: Mapping[str, Any]) -> str:
    """A recorded metric as text; a likelihood is preceded by its relation to log p."""
    if {"score", "value", "std_err", "real", "null"} <= metric.keys():
        return (
            f"{metric['score']} {metric['value']:.4g} {plus_minus(metric['std_err'], '.2g')} "
            f"(real {metric['real']:.4g}, null {metric['null']:.4g})"
            + (", FLAGGED" if _memorized(metric) else "")
        )
    if not {"nats", "std_err", "kind", "relation"} <= metric.keys():
        return ", ".join(f"{name} {_number(value)}" for name, value in metric.items())
    kind = LikelihoodKind(metric["kind"], metric["relation"])
    n = f", n={metric['n']}" if "n" in metric else ""
    return (
        f"log p {kind.sign} {from_json(metric['nats'], -math.inf):.3f} "
        f"{plus_minus(metric['std_err'])} nats"
        f"{_each(metric, kind)} ({metric['kind']}{n})"
    )


def _each(metric: Mapping[str, Any], kind: LikelihoodKind) -> str:
    rate = per_value(metric)
    return f", {rate[0]} {kind.bits_sign} {rate[1]:.4f}" if rate else ""


def headline(metrics: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The metric that represents a model: the first one of the last split, or a tighter bound.

    A recipe measures `valid`, then the split it reports, each by the default likelihood first. A
    tighter lower bound of the same events replaces that one.
    """
    last = metrics[-1].get("split") if metrics else None
    reported = [m for m in metrics if m.get("split") == last]
    first = reported[0] if reported else {}
    bounds = [m for m in reported if m.get("relation") == "lower" and _same_events(m, first)]
    return max(bounds, key=lambda m: float(m["nats"])) if bounds else next(iter(reported), None)


def _same_events(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two metrics have the same relation, split and number of events."""
    same = all(a.get(key) == b.get(key) for key in ("relation", "n", "split"))
    return same and all(isinstance(m.get("nats"), int | float) for m in (a, b))


def metric_short(metric: Mapping[str, Any]) -> str:
    """A metric for a table's cell: `= -90.17 nats exact`, or `fid 3.17`."""
    if {"nats", "kind", "relation"} <= metric.keys():
        sign = LikelihoodKind(metric["kind"], metric["relation"]).sign
        nats = from_json(metric["nats"], -math.inf)
        return f"{sign} {nats:.2f} nats {metric['kind'].partition('(')[0]}"
    if {"score", "value"} <= metric.keys():
        return f"{metric['score']} {metric['value']:.4g}"
    named = ((k, v) for k, v in metric.items() if isinstance(v, int | float) and k != "n")
    return next((f"{name} {value:.4g}" for name, value in named), "")


def _body(
    repo: str, spec: ModelSpec, metadata: Mapping[str, Any], picture: str | None
) -> Iterator[str]:
    yield f"# {repo.partition('/')[2]}"
    yield ""
    yield f"{spec.arch}: {spec.summary or 'a generative model'}."
    yield ""
    if picture is not None:
        yield from (f"![samples of this model, seed 0]({picture})", "")
    yield "| | |"
    yield "|---|---|"
    for name, value in _facts(spec, metadata):
        if value:
            yield f"| {name} | {_cell(value)} |"
    yield from _section("Measured", [f"- {_cell(t)}" for t in _metrics(metadata)])
    yield from _section("Limits", list(_limits(spec, metadata)))
    yield from _section(
        "Load it",
        [
            "```python",
            "import zoo_core as zoo",
            "",
            f'model = zoo.load("hf://{repo}")',
            "x = model.sample(16, seed=0)",
            "```",
        ],
    )
    recipe = metadata.get("recipe")
    if isinstance(recipe, Mapping) and isinstance(recipe.get("text"), str):
        yield from _section(
            "Recipe", ["```toml", printable_lines(recipe["text"]).replace("```", ""), "```"]
        )


def _facts(spec: ModelSpec, metadata: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    data = metadata.get("data")
    yield "density type", spec.density
    yield "likelihood", _likelihood(spec, metadata)
    yield "sampler", _sampler(spec, metadata)
    yield "events", json.dumps(metadata.get("event"))
    yield "condition", json.dumps(metadata.get("condition"))
    yield "parameters", metadata.get("params")
    yield "trained on", data.get("name") if isinstance(data, Mapping) else None
    yield "data's licence", data.get("license") if isinstance(data, Mapping) else None
    yield "licence", metadata.get("license")
    yield "source", metadata.get("origin") or metadata.get("source")
    yield "paper", spec.paper
    yield "plugin", f"{metadata.get('plugin')} {metadata.get('plugin_version')}"


def _sampler(spec: ModelSpec, metadata: Mapping[str, Any]) -> str:
    """The default sampler: what was measured to serve the weights, or the architecture's."""
    measured = MeasuredSampler.from_record(metadata.get("sampler"))
    return spec.default_sampler if measured is None else measured.told() or str(measured)


def _likelihood(spec: ModelSpec, metadata: Mapping[str, Any]) -> str:
    """The kind of the default likelihood behind the sign of its relation to log p."""
    event, registry = metadata.get("event"), current()
    discrete = isinstance(event, Mapping) and event.get("levels") is not None
    name = registry.default_likelihood(spec, discrete=discrete)
    if name is None:
        return "none: samples only"
    kinds = [e.spec.kind for e in registry.likelihoods if e.spec.name == name]
    return f"log p {kinds[0].sign} {kinds[0].name}" if kinds else name


def _metrics(metadata: Mapping[str, Any]) -> list[str]:
    metrics = [m for m in metadata.get("metrics") or [] if isinstance(m, Mapping)]
    return [f"{m.get('split', '')}: {metric_text(m)}".lstrip(": ") for m in metrics]


def _limits(spec: ModelSpec, metadata: Mapping[str, Any]) -> Iterator[str]:
    if spec.default_likelihood is None:
        yield "- It has no likelihood: p(x) is not written down, and samples are all there is."
    else:
        yield "- Its likelihood has a kind; a bound or an estimate is no value of log p."
    yield "- It models the events above and nothing else; what it was trained on it may repeat."
    metrics = metadata.get("metrics") or []
    if flagged := [m for m in metrics if isinstance(m, Mapping) and _memorized(m)]:
        yield f"- It repeats events of training ({_cell(flagged[-1]['score'])}, 0.5 by chance)."
    if not metrics:
        yield "- Nothing was measured."


def _memorized(metric: Mapping[str, Any]) -> bool:
    """Whether a recorded score flags samples as copies of training events."""
    score, value, error = (metric.get(key) for key in ("score", "value", "std_err"))
    if not (isinstance(score, str) and score.startswith("memorization_")):
        return False
    if not (isinstance(value, int | float) and isinstance(error, int | float)):
        return False
    return beyond_chance(value, error)


def _section(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield from ("", f"## {title}", "", *lines)


def _cell(value: Any) -> str:
    """Text of a zoo.json as one line of Markdown, with markup and HTML escaped."""
    text = printable(" ".join(str(value).split()))
    return _MARKUP.sub(r"\\\g<0>", text)


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
