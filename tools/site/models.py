"""Pages of the models: one of each architecture and each tag, from what `zoo info` knows."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tools.site.markdown import address, option_rows, table
from tools.site.numbers import numbers
from tools.site.samples import PICTURE, SPEED, Info, about, sample_command
from zoo_core.catalog.registry import ModelInfo, current
from zoo_core.weights.card import headline, metric_short

STATUS = {
    "bundled": "The weights come with the package.",
    "pinned": "The weights are downloaded; their hashes are known.",
    "unpinned": "The weights are downloaded from their authors.",
    "recipe": "There are no weights yet: the recipe trains them.",
    "companion": "The weights are in a distribution that is not installed.",
    "conflict": "Two distributions hold different weights by this name.",
}


@cache
def rows() -> list[ModelInfo]:
    """All architectures and tags."""
    return current().list_models("*")


def architecture_page(row: ModelInfo, pictures: Mapping[str, Path]) -> str:
    """The page of an architecture."""
    info = about(row.name)
    lines = [f"# `{row.name}`", "", _sentence(info["summary"]), ""]
    lines += ['<div class="zoo-cards" markdown>', ""]
    for tag in info["tags"]:
        if (name := tag["name"]) in pictures:
            shown = f"![samples of {name}]({name}.png){{ loading=lazy }}"
            lines += [f"[{shown}<span>{name}</span>]({_tag(name)}.md)", ""]
    lines += ["</div>", "", *table(("", ""), _facts(info)), "", "## Weights and recipes", ""]
    lines += [*table(("tag", "status", "parameters", "measured", "licence"), _tags(row)), ""]
    lines += ["## Use", "", "```python", "import zoo_core as zoo", ""]
    lines += [f'model = zoo.create("{row.name}")  # fresh parameters; options below', "```", ""]
    for key in ("samplers", "likelihoods", "losses"):
        if info[key]:
            lines += [f"## {key.capitalize()}", ""]
            lines += [*table(("name", "", "options"), _components(info[key])), ""]
    head = ("name", "type", "default", "range")
    lines += ["## Options", "", *table(head, option_rows(info["config"]))]
    return "\n".join([*lines, ""])


def tag_page(row: ModelInfo, picture: Path | None) -> str:
    """The page of a tag: its samples, numbers, licence, recipe and commands."""
    assert row.tag is not None
    info, tag = about(row.name), row.tag
    lines = [f"# `{row.name}`", "", f"{_sentence(info['summary'])} {STATUS[tag.status]}", ""]
    if tag.proven is False:
        why = (tag.evaluation or {})["verdict"]["why"]
        lines += ["!!! warning", f"    Not counted as pretrained: {why}.", ""]
    if tag.untested:
        lines += ["!!! warning", "    Untested: nobody has loaded the real files yet.", ""]
    if picture is not None:
        lines += [*_sampled(row.name, picture), ""]
    lines += ["## Card", "", *table(("", ""), _card(row, info)), ""]
    lines += ["## Numbers", "", *numbers(row, info), "", "## Use", "", *_use(row), ""]
    if recipe := _recipe(row):
        name = ((tag.metadata or {}).get("recipe") or {}).get("name", row.name)
        lines += ["## Recipe", "", "```sh", f"zoo train --recipe {name}", "```", ""]
        lines += ['??? example "The recipe"', "", "    ```toml"]
        lines += [*(f"    {line}".rstrip() for line in recipe.splitlines()), "    ```", ""]
    return "\n".join(lines)


def index_page(pictures: Mapping[str, Path]) -> str:
    """The page of all bundled models, by family."""
    lines = [
        "# Models",
        "",
        "Bundled weights, drawn with seed 0. Each family's page says more.",
        "",
    ]
    for family in sorted({row.spec.family for row in rows()}):
        mine = [r for r in rows() if r.spec.family == family]
        lines += [f"## [{family}]({family}/index.md)", ""]
        archs = [r for r in mine if r.tag is None]
        lines += [" · ".join(f"[`{r.name}`]({page_path(r, '')})" for r in archs), ""]
        lines += ['<div class="zoo-cards" markdown>', ""]
        for r in (r for r in mine if r.name in pictures):
            picture = f"{family}/{r.spec.arch}/{r.name}.png"
            image = f"![samples of {r.name}]({picture}){{ loading=lazy }}"
            lines += [f"[{image}<span>{r.name}<br>{_headline(r)}</span>]({page_path(r, '')})", ""]
        lines += ["</div>", ""]
    return "\n".join(lines)


def page_path(row: ModelInfo, root: str = "models/") -> str:
    """The path of a model's page."""
    name = "index" if row.tag is None else row.tag.tag
    return f"{root}{row.spec.family}/{row.spec.arch}/{name}.md"


def _facts(info: Info) -> Iterator[tuple[str, str]]:
    yield "family", f"[{info['family']}](../index.md)"
    yield "density type", f"`{info['density']}`"
    yield "likelihood", _likelihood(info)
    yield "capabilities", ", ".join(f"`{c}`" for c in info["capabilities"])
    if info["paper"]:
        yield "paper", f"<{info['paper']}>"
    yield "plugin", f"{info['dist']} {info['version']}"


def _card(row: ModelInfo, info: Info) -> Iterator[tuple[str, str]]:
    metadata = (row.tag.metadata if row.tag else None) or {}
    data = metadata.get("data") or {}
    yield "architecture", f"[`{info['arch']}`](index.md)"
    yield from list(_facts({**info}))[1:3]
    if info["params"]:
        yield "parameters", f"{info['params']:,}"
    if info["size"]:
        yield "size", f"{info['size'] / 1e6:.1f} MB"
    yield "licence", f"{info['license']} ({info['license_class'] or 'class not stated'})"
    yield "source", address(info["source"])
    if data:
        yield "trained on", f"{data.get('name')} ({data.get('license')})"
    seconds = (metadata.get("training") or {}).get("seconds")
    if seconds:
        yield "training", f"{seconds / 60:.0f} minutes on a CPU"
    if info.get("event"):
        yield "events", _event(info["event"])
    if (info.get("condition") or {}).get("kind", "none") != "none":
        yield "condition", _condition(info["condition"])


def _use(row: ModelInfo) -> Iterator[str]:
    assert row.tag is not None
    if not row.tag.here:
        yield from ("```sh", f"zoo info {row.name}", "```")
        return
    yield from ("```python", "import zoo_core as zoo", "", f'model = zoo.load("{row.name}")')
    yield from ("x = model.sample(16, seed=0)" + _python_cond(row), "```", "")
    yield from ("```sh", f"zoo info {row.name}", f"zoo evaluate {row.name}", "```")


def _python_cond(row: ModelInfo) -> str:
    """Nothing, or a comment for models that need a condition."""
    kind = (about(row.name).get("condition") or {}).get("kind", "none")
    return "" if kind == "none" else "  # and cond=..., see the card"


def _sampled(name: str, folder: Path) -> Iterator[str]:
    """The picture of samples, its command, and how long it took."""
    command = sample_command(name)
    seconds = json.loads((folder / SPEED).read_text())["seconds"]
    yield f"![samples of {name}, seed 0]({name}.png)"
    yield from ("", "```sh", f"zoo {' '.join(command)} --out {PICTURE}", "```", "")
    n = int(command[command.index("-n") + 1])
    yield f"Loading the model and drawing these {n:,} took {seconds:.2f} s of processor time on"
    yield "one thread of the CPU that built this page."


def _recipe(row: ModelInfo) -> str | None:
    assert row.tag is not None
    text = ((row.tag.metadata or {}).get("recipe") or {}).get("text")
    return text or (row.tag.recipe.read_text() if row.tag.recipe else None)


def _tags(row: ModelInfo) -> Iterator[tuple[str, ...]]:
    for r in rows():
        if r.tag is not None and r.spec.arch == row.spec.arch:
            weak = ", weak" if r.tag.proven is False else ""
            status = f"{r.tag.status}{', untested' if r.tag.untested else weak}"
            params = f"{r.tag.params:,}" if r.tag.params else ""
            link = f"[`{r.name}`]({r.tag.tag}.md)"
            yield link, status, params, _headline(r), r.tag.license


def _headline(row: ModelInfo) -> str:
    metric = headline(row.tag.metrics) if row.tag else None
    return metric_short(metric) if metric else ""


def _likelihood(info: Info) -> str:
    name = info["likelihood"]
    found = [x for x in info["likelihoods"] if x["name"] == name]
    return f"`{name}`: log p {found[0]['sign']}" if found else f"`{name}`" if name else "none"


def _event(event: Info) -> str:
    from zoo_core.spaces import Event

    plain = {"shape", "levels", "low", "high"} == event.keys()
    return str(Event(**{**event, "shape": tuple(event["shape"])})) if plain else json.dumps(event)


def _condition(condition: Info) -> str:
    from zoo_core.spaces import Condition

    return str(Condition.from_record(dict(condition)))


def _components(components: list[Any]) -> Iterator[tuple[str, ...]]:
    for c in components:
        options = ", ".join(f"`{o['name']}={o['default']}`" for o in c["options"] or [])
        yield f"`{c['name']}`", c["summary"], options


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _tag(name: str) -> str:
    return name.partition(".")[2]
