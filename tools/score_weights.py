"""Measures what a bundled tag's recipe asks for in `scores` and its weights do not state yet.

    python tools/score_weights.py vae.binarized_mnist

`scores` say what is measured after a training, not what is trained, so a recipe may gain some
later. In all else it must be the one that the weights were made by. The numbers and the recipe's
text go into the tag's `zoo.json`.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tags import command, folder_of

import zoo_core as zoo
from zoo_core.catalog import components as resolve
from zoo_core.data import load_dataset
from zoo_core.errors import DataError
from zoo_core.files import write_json
from zoo_core.weights import checkpoint
from zoo_core.weights.card import metric_text
from zoo_core.workflows import load_recipe
from zoo_core.workflows.recipe import Recipe, parse_recipe
from zoo_core.workflows.run import metric


def score(name: str) -> Iterator[str]:
    """Measure and record what is missing of the tag `name`."""
    folder, recipe = folder_of(name), load_recipe(name)
    metadata = checkpoint.read_metadata(folder)
    if _trained(recipe) != _trained(parse_recipe(metadata["recipe"]["text"], name=name)):
        raise DataError(f"{name}: the recipe differs in more than scores.", hint="train it again")
    stated = {(m["split"], m.get("kind")) for m in metadata["metrics"]}  # quality has no kind
    found = _missing(zoo.load(name), recipe, stated)
    metadata["metrics"] += found
    metadata["recipe"] |= {"text": recipe.text, "sha256": recipe.sha256}
    write_json(folder / checkpoint.METADATA, metadata)
    for m in found:
        yield metric_text(m)


def _trained(recipe: Recipe) -> Recipe:
    """What of a recipe the weights depend on."""
    return replace(recipe, scores=(), text="")


def _missing(
    model: zoo.GenerativeModel, recipe: Recipe, stated: set[tuple[str, str]]
) -> list[dict[str, Any]]:
    split = load_dataset(recipe.data, **recipe.data_options).split(recipe.report)
    kinds = [str(resolve.likelihood(model, s.method, s.options).kind) for s in recipe.scores]
    return [
        metric(split, recipe.report, model, how)
        for kind, how in zip(kinds, recipe.scores, strict=True)
        if (recipe.report, kind) not in stated
    ]


if __name__ == "__main__":
    sys.exit(command(__doc__, "TAG", "not scored", score))
