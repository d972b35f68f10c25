"""A small convolutional classifier of images, whose last hidden layer gives features.

Bundled as `weights/<name>/` in this package: `classifier.json` (shape, levels, recipe, accuracy)
and `classifier.safetensors`. `zoo_core.evaluation.training` makes them from `recipes/<name>.toml`.

Shapes: B batch, F features, K classes; images (B, C, H, W) in [0, 1].
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_core import config as configs
from zoo_core.config import Range
from zoo_core.errors import IntegrityError
from zoo_core.reading import read_json

__all__ = ["Classifier", "ClassifierConfig", "bundled", "folder_of"]

_Width = Annotated[int, Range(1, 4096)]


@dataclass(frozen=True)
class ClassifierConfig:
    """The size of images and layers; each layer after the first halves the resolution."""

    side: Annotated[int, Range(4, 256)] = 8
    widths: Annotated[tuple[int, ...], Range(1, 4096)] = (32, 64)
    features: _Width = 64
    classes: _Width = 10
    dropout: Annotated[float, Range(0, 0.99)] = 0.2
    channels: Annotated[int, Range(1, 4)] = 1
    """Of the images."""


class Classifier(nn.Module):
    """Convolutions with batch norms, a hidden layer of F features, K logits."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        width, side = config.channels, config.side
        for i, out in enumerate(config.widths):
            stride = 1 if i == 0 else 2
            conv = nn.Conv2d(width, out, 3, padding=1, stride=stride, bias=False)
            layers += [conv, nn.BatchNorm2d(out), nn.ReLU()]
            width, side = out, -(-side // stride)
        self.body = nn.Sequential(*layers)
        self.hidden = nn.Linear(width * side * side, config.features)
        self.head = nn.Linear(config.features, config.classes)

    def features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, F), nonnegative."""
        return F.relu(self.hidden(self.body(x).flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K)."""
        hidden = F.dropout(self.features(x), self.config.dropout, self.training)
        logits: Tensor = self.head(hidden)
        return logits


def folder_of(name: str) -> Path:
    """The folder of a bundled classifier's weights."""
    return Path(str(files("zoo_core.evaluation").joinpath("weights", name)))


@cache
def bundled(name: str) -> tuple[Classifier, dict[str, Any]]:
    """A bundled classifier in evaluation mode, and its JSON description."""
    folder = folder_of(name)
    card: dict[str, Any] = read_json(folder / "classifier.json")
    weights = folder / "classifier.safetensors"
    if hashlib.sha256(weights.read_bytes()).hexdigest() != card["sha256"]:
        raise IntegrityError(f"{weights} is not the file that classifier.json describes.")
    model = Classifier(configs.from_dict(ClassifierConfig, card["config"], where="classifier."))
    model.load_state_dict(load_file(weights))
    return model.eval(), card
