"""Density Zoo: generative models behind one interface that says what kind of density they have.

Public names resolve on first use, so importing this package imports neither torch nor numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from zoo_core import compat
from zoo_core.version import __version__ as __version__

compat.install()

_HOMES = {
    "create": "zoo_core.loading",
    "info": "zoo_core.loading",
    "list_models": "zoo_core.loading",
    "load_dataset": "zoo_core.data.loading",
    "load": "zoo_core.loading",
    "pull": "zoo_core.loading",
    "push": "zoo_core.publishing",
    "GenerativeModel": "zoo_core.model",
    "Loss": "zoo_core.contracts",
    "Player": "zoo_core.contracts",
    "Batch": "zoo_core.contracts",
    "Condition": "zoo_core.spaces",
    "Dataset": "zoo_core.data.dataset",
    "Event": "zoo_core.spaces",
    "Split": "zoo_core.data.dataset",
    "Range": "zoo_core.config",
    "Rng": "zoo_core.rng",
    "Fixed": "zoo_core.contracts",
    "TrainConfig": "zoo_core.training.config",
    "train": "zoo_core.training.loop",
    "LogLikelihood": "zoo_core.likelihood",
    "hookimpl": "zoo_core.catalog.hookspecs",
    "ZOO_API": "zoo_core.catalog.hookspecs",
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
        "zoo_core.catalog.specs",
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
    from zoo_core.catalog.hookspecs import ZOO_API, hookimpl
    from zoo_core.catalog.specs import (
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
    from zoo_core.config import Range
    from zoo_core.contracts import Batch, Fixed, Loss, Player
    from zoo_core.data.dataset import Dataset, Split
    from zoo_core.data.loading import load_dataset
    from zoo_core.errors import (
        ConfigError,
        DataError,
        NoLikelihoodError,
        NotFiniteError,
        UnknownNameError,
        ZooError,
    )
    from zoo_core.likelihood import LogLikelihood
    from zoo_core.loading import create, info, list_models, load, pull
    from zoo_core.model import GenerativeModel
    from zoo_core.publishing import push
    from zoo_core.rng import Rng
    from zoo_core.spaces import Condition, Event
    from zoo_core.training.config import TrainConfig
    from zoo_core.training.loop import train

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
