"""Density Zoo: generative models behind one interface that says what kind of density they have.

Public names resolve on first use, so importing this package imports neither torch nor numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "create": "zoo_core.loading",
    "info": "zoo_core.loading",
    "list_models": "zoo_core.loading",
    "load_dataset": "zoo_core.data.loading",
    "load": "zoo_core.loading",
    "pull": "zoo_core.loading",
    "push": "zoo_core.weights.hub.upload",
    "GenerativeModel": "zoo_core.model",
    "Loss": "zoo_core.model",
    "Player": "zoo_core.model",
    "Batch": "zoo_core.model",
    "Condition": "zoo_core.data.event",
    "Dataset": "zoo_core.data.dataset",
    "Event": "zoo_core.data.event",
    "Split": "zoo_core.data.dataset",
    "Range": "zoo_core.config",
    "Rng": "zoo_core.rng",
    "Fixed": "zoo_core.sampling",
    "TrainConfig": "zoo_core.training.config",
    "train": "zoo_core.training.loop",
    "LogLikelihood": "zoo_core.likelihood",
    "hookimpl": "zoo_core.hookspecs",
    "ZOO_API": "zoo_core.hookspecs",
    **dict.fromkeys(
        (
            "Check",
            "ConverterSpec",
            "DatasetSpec",
            "DensityType",
            "HealthCheck",
            "LikelihoodKind",
            "LikelihoodSpec",
            "LossSpec",
            "MetricSpec",
            "ModelSpec",
            "Pretrained",
            "SamplerSpec",
        ),
        "zoo_core.specs",
    ),
    **dict.fromkeys(
        (
            "ConfigError",
            "DataError",
            "NoLikelihoodError",
            "NotFiniteError",
            "UnknownNameError",
            "ZooError",
        ),
        "zoo_core.errors",
    ),
}

if TYPE_CHECKING:
    from zoo_core.config import Range
    from zoo_core.data.dataset import Dataset, Split
    from zoo_core.data.event import Condition, Event
    from zoo_core.data.loading import load_dataset
    from zoo_core.errors import (
        ConfigError,
        DataError,
        NoLikelihoodError,
        NotFiniteError,
        UnknownNameError,
        ZooError,
    )
    from zoo_core.hookspecs import ZOO_API, hookimpl
    from zoo_core.likelihood import LogLikelihood
    from zoo_core.loading import create, info, list_models, load, pull
    from zoo_core.model import Batch, GenerativeModel, Loss, Player
    from zoo_core.rng import Rng
    from zoo_core.sampling import Fixed
    from zoo_core.specs import (
        Check,
        ConverterSpec,
        DatasetSpec,
        DensityType,
        HealthCheck,
        LikelihoodKind,
        LikelihoodSpec,
        LossSpec,
        MetricSpec,
        ModelSpec,
        Pretrained,
        SamplerSpec,
    )
    from zoo_core.training.config import TrainConfig
    from zoo_core.training.loop import train
    from zoo_core.weights.hub.upload import push

__all__ = [
    "ZOO_API",
    "Batch",
    "Check",
    "Condition",
    "ConfigError",
    "ConverterSpec",
    "DataError",
    "Dataset",
    "DatasetSpec",
    "DensityType",
    "Event",
    "Fixed",
    "GenerativeModel",
    "HealthCheck",
    "LikelihoodKind",
    "LikelihoodSpec",
    "LogLikelihood",
    "Loss",
    "LossSpec",
    "MetricSpec",
    "ModelSpec",
    "NoLikelihoodError",
    "NotFiniteError",
    "Player",
    "Pretrained",
    "Range",
    "Rng",
    "SamplerSpec",
    "Split",
    "TrainConfig",
    "UnknownNameError",
    "ZooError",
    "create",
    "hookimpl",
    "info",
    "list_models",
    "load",
    "load_dataset",
    "pull",
    "push",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
