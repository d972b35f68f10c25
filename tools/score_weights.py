"""Measures what a bundled tag's recipe asks for in `scores` and its weights do not state yet.

    python tools/score_weights.py vae.binarized_mnist

`scores` say what is measured after a training, not what is trained, so a recipe may gain some
later. In all else it must be the one that the weights were made by. The numbers and the recipe's
text go into the tag's `zoo.json`.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import zoo_core as zoo
from zoo_core import resolve
from zoo_core.data import load_dataset
from zoo_core.errors import DataError, ZooError
from zoo_core.files import write_atomically
from zoo_core.training import load_recipe
from zoo_core.training.recipe import Recipe, parse_recipe
from zoo_core.training.run import metric
from zoo_core.weights import checkpoint


def score(name: str) -> list[dict[str, Any]]:
    """Measure and record what is missing of the tag `name`; the new metrics."""
    tag = zoo.info(name).tag
    if tag is None or tag.folder is None:
        raise DataError(f"{name} has no weights here.")
    recipe, metadata = load_recipe(name), checkpoint.read_metadata(tag.folder)
    if _trained(recipe) != _trained(parse_recipe(metadata["recipe"]["text"], name=name)):
        raise DataError(f"{name}: the recipe differs in more than scores.", hint="train it again")
    stated = {(m["split"], m["kind"]) for m in metadata["metrics"]}
    found = _missing(zoo.load(name), recipe, stated)
    metadata["metrics"] += found
    metadata["recipe"] |= {"text": recipe.text, "sha256": recipe.sha256}
    _write(tag.folder, metadata)
    return found


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


def _write(folder: Path, metadata: dict[str, Any]) -> None:
    path = folder / checkpoint.METADATA
    write_atomically(path, (json.dumps(metadata, indent=2) + "\n").encode())


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tags", nargs="+", metavar="TAG")
    status = 0
    for name in parser.parse_args(arguments).tags:
        try:
            for found in score(name):
                print(f"{name}: {found['kind']} {found['nats']:.3f} +- {found['std_err']:.3f}")
        except ZooError as error:
            print(f"{name}: not scored: {error}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
