"""`zoo info`: everything that is known of an architecture or a tag, without its weights."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import click

from zoo_core.catalog.measured_sampler import MeasuredSampler
from zoo_core.catalog.registry import Entry, ModelInfo, current
from zoo_core.catalog.specs import LikelihoodSpec, Pretrained, import_target
from zoo_core.cli.command import Command, Settings
from zoo_core.cli.completion import complete
from zoo_core.cli.describe import describe
from zoo_core.cli.list import likelihood_text, published_text
from zoo_core.cli.printing import (
    download_text,
    fields,
    heading,
    indented,
    metric_text,
    remark,
    show,
    table,
)
from zoo_core.doctor import no_torch
from zoo_core.errors import PluginError

__all__ = ["command"]


@click.command("info", cls=Command, example="zoo info gated_pixelcnn.digits")
@click.argument("name", shell_complete=complete("models"))
@click.pass_obj
def command(settings: Settings, name: str) -> None:
    """Show what is known of the model NAME: an architecture or a tag of one.

    Its density type, its options with defaults and ranges, the samplers, losses and likelihoods
    that fit it, and for weights their licence, source and recorded metrics.
    """
    found = current().model(name)
    value = _collect(found)
    if value["config"] is None:
        remark(settings, "options are not shown: they need torch; zoo doctor says what is missing")
    show(settings, value, _lines(found, value))


def _collect(found: ModelInfo) -> dict[str, Any]:
    spec = found.spec
    return {
        **found.row(),
        "summary": spec.summary,
        "paper": spec.paper,
        "plugin": found.plugin.name,
        "dist": found.plugin.dist,
        "version": found.plugin.version,
        "target": spec.target,
        "capabilities": list(spec.capabilities),
        "parts": dict(spec.submodels),
        "config": _options(spec.config),
        "samplers": _fitting("sampler", found),
        "losses": _fitting("loss", found),
        "likelihoods": _fitting("likelihood", found),
        "tags": _tags(found),
        **_weights(found),
    }


def _fitting(kind: str, found: ModelInfo) -> list[dict[str, Any]]:
    """The registered components whose required capabilities the spec names."""
    able = [e for e in current().by_kind[kind] if {*e.spec.requires} <= {*found.spec.capabilities}]
    return [_component(e) for e in able if _serves(e.spec, found)]


def _serves(spec: Any, found: ModelInfo) -> bool:
    """Whether a likelihood applies to the weights' events; always for an architecture alone."""
    event = ((found.tag and found.tag.metadata) or {}).get("event")
    if not isinstance(spec, LikelihoodSpec) or not isinstance(event, Mapping):
        return True
    return spec.serves(discrete=event.get("levels") is not None)


def _component(entry: Entry[Any]) -> dict[str, Any]:
    spec = entry.spec
    kind = getattr(spec, "kind", None)
    relation = {} if kind is None else {"relation": kind.relation, "sign": kind.sign}
    about = {"name": spec.name, "summary": spec.summary, **relation}
    return {**about, "options": _options(spec.target)}


def _options(target: str) -> list[dict[str, Any]] | None:
    """The options of a Config or a component; None if they need torch and it is missing."""
    try:
        return [dataclasses.asdict(field) for field in describe(import_target(target))]
    except PluginError:
        if no_torch():
            return None
        raise


def _tags(found: ModelInfo) -> list[dict[str, Any]]:
    rows = current().list_models(f"{found.spec.arch}.*")
    return [{"name": row.name, "status": row.row()["status"]} for row in rows]


def _weights(found: ModelInfo) -> dict[str, Any]:
    """Fields of a tag: its config, events, metrics, source and recipe."""
    tag = found.tag
    if tag is None:
        return {}
    metadata: Mapping[str, Any] = tag.metadata or {}
    kept = ("event", "condition", "files", "sampler")
    return {
        "source": tag.source,
        "folder": str(tag.folder) if tag.folder else None,
        "recipe": str(tag.recipe) if tag.recipe else None,
        **({"companion": tag.companion} if tag.companion else {}),
        **_card(tag.hub),
        "metrics": tag.metrics,
        "weights_config": metadata.get("config"),
        **{key: metadata[key] for key in kept if key in metadata},
    }


def _card(card: Pretrained | None) -> dict[str, Any]:
    """What is stated of published weights."""
    if card is None:
        return {"repo": None, "revision": None, "sha256": {}}
    return {
        "repo": card.repo,
        "revision": card.revision,
        "sha256": card.hashes,
        "card": {
            "files": [dataclasses.asdict(file) for file in card.files],
            "converter": card.converter,
            "config": dict(card.config),
            "submodels": dict(card.submodels),
            "citation": card.citation,
            "checked": card.checked,
        },
    }


def _lines(found: ModelInfo, value: Mapping[str, Any]) -> Iterator[str]:
    yield heading(found.name, f"  {value['summary']}" if value["summary"] else "")
    yield from fields(_overview(found, value))
    yield from _section(
        "options (zoo.create, [model] of a recipe)", _fields(value["config"] or [])
    )
    for kind in ("samplers", "likelihoods", "losses"):
        default = {getattr(found.spec, f"default_{_singular(kind)}"): "default"}
        marks = _sampler_marks(found, value) if kind == "samplers" else default
        yield from _section(kind, _components(value[kind], marks))
    tags = [[tag["name"], tag["status"]] for tag in value["tags"]]
    yield from _section("tags", table(("name", "status"), tags) if tags else [])
    yield from _section("measured", _metrics(value.get("metrics")))
    yield from _section("published by the source, not measured here", _published(value))


def _sampler_marks(found: ModelInfo, value: Mapping[str, Any]) -> dict[str, str]:
    """Which samplers are the default: what was measured of the weights, or the architecture's."""
    measured = MeasuredSampler.from_record(value.get("sampler"))
    if measured is not None:
        return {measured.name: f"default{str(measured).removeprefix(measured.name)}"}
    marks = {found.spec.default_sampler: "default"}
    if found.spec.sampler_of_few is not None:
        name, most = found.spec.sampler_of_few
        marks[name] = f"default up to -n {most}"
    return marks


def _overview(found: ModelInfo, value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    text = likelihood_text(current(), value["likelihood"]).strip()
    yield "family", value["family"]
    yield "density", value["density"]
    yield "likelihood", text
    yield "capabilities", value["capabilities"]
    yield "plugin", f"{value['plugin']} ({value['dist']} {value['version']})"
    yield "submodels", [f"{name} = {arch}" for name, arch in found.spec.submodels]
    yield "paper", value["paper"]
    yield "status", value["status"] + (", untested" if value["untested"] else "")
    yield "params", value["params"]
    yield "size", download_text(value["size"], value["params"])
    yield "licence", _licence(value)
    for key in ("source", "repo", "revision", "folder", "companion", "recipe"):
        yield key, value.get(key)
    yield "condition", _condition(value.get("condition"))
    measured = MeasuredSampler.from_record(value.get("sampler"))
    yield "sampler", measured and measured.told()
    card = value.get("card") or {}
    for key in ("converter", "citation", "checked"):
        yield key, card.get(key)
    yield "files", [file["path"] for file in card.get("files", ())]
    yield "urls", [url for file in card.get("files", ()) for url in file["urls"]]
    config = value.get("weights_config") or card.get("config") or {}
    yield "config", ", ".join(f"{k}={v!r}" for k, v in config.items())


def _licence(value: Mapping[str, Any]) -> str | None:
    if value["license"] is None:
        return None
    return f"{value['license']} ({value['license_class'] or 'class not stated'})"


def _condition(record: Mapping[str, Any] | None) -> str | None:
    """What the weights are conditioned on, with the names of classes."""
    from zoo_core.spaces import Condition

    if record is None or record.get("kind") == "none":
        return None
    return str(Condition.from_record(record))


def _section(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield ""
        yield heading(title)
        yield from map(indented, lines)


def _singular(kind: str) -> str:
    return {"losses": "loss"}.get(kind, kind.removesuffix("s"))


def _fields(config: list[dict[str, Any]]) -> list[str]:
    rows = [
        [f["name"], f["type"], _default(f), f["range"] or "", _sentence(f["about"])]
        for f in config
    ]
    return table(("name", "type", "default", "range", ""), rows) if rows else []


def _sentence(about: str | None) -> str:
    """The first sentence; --json has all."""
    first, dot, _ = (about or "").partition(". ")
    return first + dot.rstrip()


def _default(field: Mapping[str, Any]) -> str:
    return "required" if field["required"] else str(field["default"])


def _components(components: list[dict[str, Any]], marks: Mapping[Any, str]) -> list[str]:
    rows = [[*_marked(c, marks), _set(c), c["summary"]] for c in components]
    return table(("name", "", "options", ""), rows) if rows else []


def _marked(component: Mapping[str, Any], marks: Mapping[Any, str]) -> tuple[str, str]:
    sign = f"{component['sign']:>2} " if "sign" in component else ""
    return sign + component["name"], marks.get(component["name"], "")


def _set(component: Mapping[str, Any]) -> str:
    if component["options"] is None:
        return "?"
    return " ".join(f"{f['name']}={_default(f)}" for f in component["options"]) or "-"


def _published(value: Mapping[str, Any]) -> list[str]:
    """The source's numbers, each with what it was measured on."""
    return [
        ", ".join(filter(None, (published_text(n), n["data"], n["source"])))
        for n in value["published"]
    ]


def _metrics(metrics: Any) -> list[str]:
    """Recorded numbers, each with its kind and standard error."""
    return fields((str(m.get("split", "")), metric_text(m)) for m in metrics or [])
