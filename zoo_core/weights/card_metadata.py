"""The metadata of a model card, as the Hub reads it: licence, library, task, measured numbers.

`model-index` lists recorded metrics by data set and split. A likelihood says in its name and in
`args` how it stands to log p, so that a bound is not taken for a value. YAML is written as JSON,
which it contains.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from zoo_core.catalog.specs import LikelihoodKind, ModelSpec
from zoo_core.catalog.units import UNITS
from zoo_core.text import printable
from zoo_core.uncertainty import from_json

__all__ = ["header", "pipeline_tag"]

_HUB_LICENCES = {"apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0"}
_HUB_LICENCES |= {"cc-by-nc-sa-4.0", "bsd-3-clause", "openrail", "gpl-3.0"}
_IMAGES = "unconditional-image-generation"
_KEPT = ("kind", "relation", "std_err", "n", "real", "null")
"""What is said of a number beside its value."""


def header(repo: str, spec: ModelSpec, metadata: Mapping[str, Any]) -> Iterator[str]:
    """The lines of a card before its text, from `---` to `---`."""
    licence = str(metadata.get("license", "unstated"))
    known = licence.lower() in _HUB_LICENCES
    tags = ["density-zoo", spec.density.replace("/", "-"), spec.family, spec.arch]
    yield "---"
    yield f"license: {licence.lower() if known else 'other'}"
    if not known:
        yield f"license_name: {json.dumps(licence)}"
    yield "library_name: density-zoo"
    if task := pipeline_tag(metadata):
        yield f"pipeline_tag: {task}"
    yield f"tags: {json.dumps(tags)}"
    if results := list(_results(metadata)):
        name = repo.partition("/")[2]
        yield f"model-index: {json.dumps([{'name': name, 'results': results}])}"
    yield "---"


def pipeline_tag(metadata: Mapping[str, Any]) -> str | None:
    """The Hub's name of the task: images have one, other events do not."""
    event = metadata.get("event")
    shape = event.get("shape") if isinstance(event, Mapping) else None
    return _IMAGES if isinstance(shape, list | tuple) and len(shape) in (2, 3) else None


def _results(metadata: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Recorded metrics, an entry for each split of the data."""
    data = metadata.get("data")
    name = str(data.get("name", "unstated")) if isinstance(data, Mapping) else "unstated"
    rows = [m for m in metadata.get("metrics") or [] if isinstance(m, Mapping)]
    for split in dict.fromkeys(str(m.get("split", "")) for m in rows):
        own = (m for m in rows if str(m.get("split", "")) == split)
        metrics = [entry for metric in own for entry in _entries(metric)]
        if metrics:
            yield {
                "task": {"type": pipeline_tag(metadata) or "other", "name": "density estimation"},
                "dataset": {"type": name, "name": name, **({"split": split} if split else {})},
                "metrics": metrics,
            }


def _entries(metric: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The numbers of one recorded metric; those that are not finite are left out."""
    args = {key: metric[key] for key in _KEPT if metric.get(key) is not None}
    if {"nats", "kind", "relation"} <= metric.keys():
        kind = LikelihoodKind(str(metric["kind"]), metric["relation"])
        yield from _entry("nats", f"log p {kind.sign} nats ({kind.name})", metric["nats"], args)
        for unit in UNITS.values():
            name = f"{unit.name} {kind.bits_sign} ({kind.name})"
            error = {"std_err": metric.get(f"{unit.key}_std_err")}
            own = {k: v for k, v in {**args, **error}.items() if v is not None}
            yield from _entry(unit.key, name, metric.get(unit.key), own)
    elif {"score", "value"} <= metric.keys():
        yield from _entry(str(metric["score"]), str(metric["score"]), metric["value"], args)


def _entry(kind: str, name: str, value: Any, args: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    number = from_json(value)
    if value is not None and math.isfinite(number):
        yield {"type": kind, "name": printable(name), "value": number, "args": dict(args)}
