"""Feature extractors: the features of events on which sample quality is scored.

A score is only as good as its features, so every score states their name. An extractor is a
frozen dataclass, called as `(x, event) -> (N, F)`; `accepts(event)` says which events it is for,
and `identity` names it with the hash of its weights, for the cache of reference features.

Shapes: N events, F features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from zoo_core import config as configs
from zoo_core.catalog.entries import Entry
from zoo_core.catalog.registry import current
from zoo_core.catalog.specs import MetricSpec, import_target
from zoo_core.config import Range
from zoo_core.errors import ConfigError, NoCapabilityError
from zoo_core.evaluation.classifier import bundled
from zoo_core.evaluation.scores import attempt
from zoo_core.spaces import Event

__all__ = [
    "MNIST",
    "DigitsFeatures",
    "EmojiFeatures",
    "Extractor",
    "Inception",
    "Pixels",
    "extractor",
    "fitting",
    "to_event",
    "to_unit",
]

_BATCH = 256


@runtime_checkable
class Extractor(Protocol):
    """A map from events to features."""

    @property
    def identity(self) -> str:
        """What the features depend on besides the events, e.g. the hash of the weights."""
        ...

    def accepts(self, event: Event) -> bool: ...

    def __call__(self, x: Tensor, event: Event) -> Tensor:
        """(N, *S) -> (N, F), float32."""
        ...


def to_unit(x: Tensor, event: Event) -> Tensor:
    """Events (N, *S) rescaled to [0, 1] if they are bounded, else unchanged; float32."""
    if event.levels is not None:
        return x.float() / (event.levels - 1)
    if event.low is not None and event.high is not None:
        return (x.float() - event.low) / (event.high - event.low)
    return x.float()


def to_event(x: Tensor, source: Event, target: Event) -> Tensor:
    """Samples of a model as events of a data set: bounded reals are quantized to its levels.

    Raises `NoCapabilityError` if the two cannot be compared.
    """
    if source.shape == target.shape and source.levels == target.levels:
        return x
    bounded = source.low is not None and source.high is not None
    if source.shape != target.shape or source.discrete or target.levels is None or not bounded:
        raise NoCapabilityError(f"samples of {source} cannot be compared with {target}.")
    unit = to_unit(x, source).clamp(0, 1)
    return (unit * (target.levels - 1)).round().long()


@dataclass(frozen=True)
class Pixels:
    """The values themselves, flattened, rescaled to [0, 1] if they are bounded."""

    identity = "pixels"

    def accepts(self, event: Event) -> bool:
        return True

    def __call__(self, x: Tensor, event: Event) -> Tensor:
        return to_unit(x, event).flatten(1)


@dataclass(frozen=True)
class DigitsFeatures:
    """The hidden layer (64) of a classifier of 8x8 digits that comes with the zoo."""

    name: ClassVar[str] = "digits"

    @property
    def identity(self) -> str:
        return _identity("digits")

    def accepts(self, event: Event) -> bool:
        bounded = event.levels is not None or (event.low is not None and event.high is not None)
        return event.shape == (1, 8, 8) and event.levels != 2 and bounded

    def __call__(self, x: Tensor, event: Event) -> Tensor:
        return _hidden("digits", to_unit(x, event))


@dataclass(frozen=True)
class MNIST:
    """The hidden layer (64) of a classifier of binary 28x28 digits that comes with the zoo."""

    @property
    def identity(self) -> str:
        return _identity("mnist")

    def accepts(self, event: Event) -> bool:
        return event.shape == (1, 28, 28) and event.levels == 2

    def __call__(self, x: Tensor, event: Event) -> Tensor:
        return _hidden("mnist", to_unit(x, event))


@dataclass(frozen=True)
class EmojiFeatures:
    """The hidden layer (64) of a classifier of 32x32 emoji by group and style, in the zoo.

    It accepts all colour images of this size, and tells little of other ones than emoji.
    """

    name: ClassVar[str] = "emoji"

    @property
    def identity(self) -> str:
        return _identity("emoji")

    def accepts(self, event: Event) -> bool:
        bounded = event.levels is not None or (event.low is not None and event.high is not None)
        return event.shape == (3, 32, 32) and bounded

    def __call__(self, x: Tensor, event: Event) -> Tensor:
        return _hidden("emoji", to_unit(x, event))


@dataclass(frozen=True)
class Inception:
    """The pool3 features (2048) of the Inception network of FID, through torch-fidelity.

    `weights` is a local file; without it torch-fidelity downloads its own. Images have 1 or 3
    channels and 256 levels; bounded reals are quantized to 256 levels first.
    """

    weights: str | None = None
    batch: Annotated[int, Range(1, 4096)] = 32

    @property
    def identity(self) -> str:
        return f"inception-2015 pool3 ({self.weights or 'torch-fidelity'})"

    def accepts(self, event: Event) -> bool:
        image = len(event.shape) == 3 and event.shape[0] in (1, 3)
        bounded = event.low is not None and event.high is not None
        return image and (event.levels == 256 or (event.levels is None and bounded))

    def __call__(self, x: Tensor, event: Event) -> Tensor:
        network = _inception(self.weights)
        bytes_ = (to_unit(x, event).clamp(0, 1) * 255).round().to(torch.uint8)
        images = bytes_.expand(-1, 3, -1, -1)
        with torch.no_grad():
            features = [network(x)[0].float().cpu() for x in torch.split(images, self.batch)]
        return torch.cat(features)


def extractor(name: "str | Extractor", options: Mapping[str, Any] | None = None) -> Extractor:
    """The extractor with a registered name; an object is returned as it is."""
    if not isinstance(name, str):
        return name
    spec = current().metrics.one(name).spec
    if spec.kind != "features":
        raise ConfigError(
            f"metric {name!r} is a {spec.kind}, no feature extractor.",
            hint=f"extractors: {', '.join(e.spec.name for e in _registered())}",
        )
    made: Extractor = configs.from_dict(import_target(spec.target), options or {}, where=name)
    return made


def fitting(event: Event) -> list[str]:
    """Names of the extractors for an event, the most special first, without optional ones."""
    specs = [e.spec for e in _registered() if not e.spec.optional]
    names = [s.name for s in specs if attempt(s.name, partial(_accepts, s, event), ())]
    return sorted(names, key=lambda name: name == "pixels")


def _accepts(spec: MetricSpec, event: Event) -> bool:
    return bool(import_target(spec.target)().accepts(event))


def _registered() -> list[Entry[MetricSpec]]:
    return [e for e in current().metrics if e.spec.kind == "features"]


def _identity(name: str) -> str:
    return f"{name} classifier {bundled(name)[1]['sha256']}"


@torch.no_grad()
def _hidden(name: str, x: Tensor) -> Tensor:
    model, _ = bundled(name)
    return torch.cat([model.features(batch) for batch in torch.split(x, _BATCH)])


@cache
def _inception(weights: str | None) -> Any:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        raise NoCapabilityError(
            "Inception features need torch-fidelity.", hint="pip install density-zoo[fid]"
        ) from None
    if weights is not None and not Path(weights).is_file():
        raise ConfigError(f"inception.weights = {weights!r} is no file.")
    return FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=weights
    ).eval()
