"""Names and shapes of published checkpoints: what a card's architecture has at its config.

The tables in `layouts/` are those of the reference code; `checked` of a card says whose.
"""

import json
import sys
from functools import cache
from pathlib import Path
from types import MappingProxyType

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "layouts"))

import tables  # noqa: E402

import zoo_core as zoo  # noqa: E402
from zoo_core import config as configs  # noqa: E402
from zoo_core.building import _disagreements, build  # noqa: E402
from zoo_core.catalog.registry import current  # noqa: E402
from zoo_core.catalog.specs import import_target  # noqa: E402
from zoo_core.plugin import Foreign  # noqa: E402
from zoo_core.weights.assign import undrawn  # noqa: E402

DDPM_256 = ("celebahq256", "bedroom256", "church256", "cat256")
NCSN_256 = ("celebahq256", "ffhq256", "church256", "bedroom256")
LAYOUTS = {
    "ddpm.cifar10": "ddpm-cifar10",
    **{f"ddpm.{tag}{ema}": "ddpm-256" for tag in DDPM_256 for ema in ("", "_ema")},
    **dict.fromkeys((f"ve_sde.{tag}" for tag in NCSN_256), "ncsnpp-256"),
    "ve_sde.ffhq1024": "ncsnpp-1024",
    **{
        f"consistency.{tag}": "consistency-imagenet64"
        for tag in ("cd_imagenet64_l2", "cd_imagenet64_lpips", "ct_imagenet64")
    },
    **{
        f"consistency.cd_{data}256_{distance}": "consistency-lsun256"
        for data in ("bedroom", "cat")
        for distance in ("l2", "lpips")
    },
}
"""The table of each card."""
UNSEEN = {"ddpm.mnist": "the repository's config was not seen"}
"""Cards without a table, and why."""
THERE = ("edm", "flow_matching", "imagegpt", "r3gan")
"""Architectures whose names here are others: tests of their plugins compare them."""
OURS = {"consistency": "network.", "ddpm": "network.", "ve_sde": "network."}
"""What our names have before those of the table."""


def cards():
    rows = current().list_models()
    official = (row for row in rows if row.plugin.dist.startswith("density-zoo-"))
    carded = (row for row in official if row.tag and row.tag.hub and row.spec.arch not in THERE)
    return {row.name: row.tag.hub for row in carded}


@cache
def model_of(layout):
    """The architecture of a layout's cards, at the config that the reference publishes."""
    name, card = next((n, c) for n, c in cards().items() if LAYOUTS.get(n) == layout)
    theirs = tables.FOLDER / f"{layout}.json"
    options = dict(card.config)
    if theirs.exists():
        options = dict(converted(card, json.loads(theirs.read_text())).options)
    with torch.device("meta"), undrawn():
        return build(zoo.info(name).spec, options)


def converted(card, config, tensors=MappingProxyType({})):
    spec = current().converters.one(card.converter).spec
    convert = configs.from_dict(import_target(spec.target), dict(card.options))
    return convert(Foreign({"config.json": config}, {"": tensors}))


def named(model):
    """The shapes of a model's state under the table's names."""
    prefix = OURS[model.spec.arch]
    state = model.state_dict()
    assert all(key.startswith(prefix) for key in state)
    return {key.removeprefix(prefix): tuple(value.shape) for key, value in state.items()}


def test_every_card_has_a_table_of_names_and_shapes_or_a_reason_why_not():
    assert cards().keys() == LAYOUTS.keys() | UNSEEN.keys()
    assert {path.stem for path in tables.FOLDER.glob("*.json")} == set(LAYOUTS.values())


@pytest.mark.parametrize("layout", sorted(set(LAYOUTS.values())))
def test_an_architecture_at_a_published_config_has_the_names_and_shapes_of_the_reference(layout):
    model = model_of(layout)
    assert tables.differences(layout, named(model)) == []
    assert all(value.is_meta for value in model.state_dict().values())


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_a_card_states_the_config_and_the_size_of_the_reference(name):
    card, model = cards()[name], model_of(LAYOUTS[name])
    assert list(_disagreements(configs.to_dict(model.config), dict(card.config))) == []
    assert sum(value.numel() for value in model.state_dict().values()) == card.params


@pytest.mark.parametrize("layout", sorted(p.stem for p in tables.FOLDER.glob("*.json")))
def test_the_converter_gives_every_tensor_of_the_reference_its_name_here(layout):
    card = next(c for n, c in cards().items() if LAYOUTS.get(n) == layout)
    model = model_of(layout)
    theirs = {key: torch.empty(shape, device="meta") for key, shape in named(model).items()}
    config = json.loads((tables.FOLDER / f"{layout}.json").read_text())
    assert converted(card, config, theirs).tensors.keys() == model.state_dict().keys()


def test_a_table_tells_what_differs():
    shapes = {"a.0.w": (2, 3), "a.1.w": (4, 3), "b": ()}
    assert tables.text(shapes) == "a.#.w 0..1 (2): 2x3 | 4x3\nb: scalar\n"
    model = named(model_of("ddpm-cifar10"))
    name, shape = "conv_in.weight", (128, 3, 3, 3)
    assert model.pop(name) == shape
    assert tables.differences("ddpm-cifar10", model) == ["missing: conv_in.weight: 128x3x3x3"]
    wrong = tables.differences("ddpm-cifar10", {**model, name: (1,), "extra": (2,)})
    assert len(wrong) == 2 and "unexpected: extra" in wrong
