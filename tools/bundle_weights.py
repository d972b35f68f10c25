"""Puts finished trainings where they belong: a plugin's package, as `weights/<arch>.<tag>/`.

    python tools/bundle_weights.py gpu-results/train/hvae.mnist runs/made.digits

A folder is that of a `zoo train`. Its model is taken only if it was made by the recipe of that
name as the package has it now, without overrides, if it reproduces its golden tensors on this
machine, and if no file is larger than 8 MB. `half = true` in a recipe halves what weights take.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from tags import command

import zoo_core as zoo
from zoo_core.catalog.registry import current
from zoo_core.catalog.tags import package_folder
from zoo_core.errors import DataError
from zoo_core.files import atomic_folder
from zoo_core.weights import checkpoint, golden
from zoo_core.workflows import load_recipe

MOST_BYTES = 8_000_000


def bundle(folder: str) -> Iterator[str]:
    """Copy a training's model into the package of its architecture."""
    model = Path(folder) / "model"
    metadata = checkpoint.read_metadata(model)
    name = _recipe(model, metadata.get("recipe") or {})
    files = sorted(p for p in model.rglob("*") if p.is_file())
    if large := [p.name for p in files if p.stat().st_size > MOST_BYTES]:
        raise DataError(f"{model}: {', '.join(large)} is larger than {MOST_BYTES:,} bytes.")
    spec = current().model(metadata["arch"]).spec
    if spec.default_likelihood and not metadata.get("metrics"):
        raise DataError(f"{model}: nothing was measured.", hint="report = 'test' in the recipe")
    golden.check(zoo.load(str(model.absolute())), model)
    package = package_folder(spec)
    assert package is not None
    target = package.resolve() / "weights" / name
    with atomic_folder(target) as temporary:
        for path in files:
            place = temporary / path.relative_to(model)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
    yield str(target)


def _recipe(model: Path, recorded: dict[str, object]) -> str:
    """The name of the recipe, which must be the registered one word for word."""
    name = str(recorded.get("name"))
    recipe = load_recipe(name)
    if recorded.get("sha256") != recipe.sha256:
        raise DataError(f"{model}: the recipe {name} has changed since.", hint="train it again")
    if recorded.get("overrides"):
        raise DataError(f"{model}: {name} was trained with {recorded['overrides']} set by hand.")
    return name


if __name__ == "__main__":
    sys.exit(command(__doc__, "FOLDER", "not bundled", bundle))
