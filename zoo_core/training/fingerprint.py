"""The fingerprint of a training: a checkpoint is resumed only if all of it is equal."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from zoo_core import config as configs
from zoo_core.data.dataset import Dataset
from zoo_core.errors import UnknownNameError
from zoo_core.model import GenerativeModel
from zoo_core.training.config import TrainConfig
from zoo_core.training.data import digest

__all__ = ["fingerprint", "leaves"]


def fingerprint(
    model: GenerativeModel,
    data: Dataset,
    loss: Any,
    config: TrainConfig,
    players: Mapping[str, Mapping[str, Any]],
    parameters: Sequence[str],
) -> dict[str, Any]:
    """Configs, data hashes and code versions, as a JSON tree."""
    return {
        "train": configs.to_dict(config),
        "players": {name: dict(options) for name, options in players.items()},
        "parameters": list(parameters),
        "loss": _described(loss),
        "model": {"class": _path(type(model)), **configs.to_dict(model.config)},
        "data": digest(data),
        "code": _versions(model),
    }


def _described(loss: Any) -> dict[str, Any]:
    options = configs.to_dict(loss) if dataclasses.is_dataclass(loss) else {}
    kind = type(loss) if hasattr(type(loss), "__qualname__") else loss
    return {"class": _path(kind), **options}


def _path(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _versions(model: GenerativeModel) -> dict[str, str]:
    from zoo_core.catalog.registry import current
    from zoo_core.version import __version__

    versions = {"density-zoo": __version__, "torch": torch.__version__}
    try:
        plugin = current().models.one(model.spec.arch).plugin
    except UnknownNameError:
        return versions  # a user's own class, declared by no plugin
    return versions | {plugin.dist: plugin.version or "unknown"}


def leaves(tree: Any) -> dict[str, Any]:
    """The values of a JSON tree by dotted names."""
    return dict(_leaves(json.loads(json.dumps(tree)), ""))


def _leaves(tree: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree
