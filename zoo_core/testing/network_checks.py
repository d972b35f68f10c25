"""A check of a plugin's networks: each is built at several sizes and called."""

from typing import Any

import torch

from zoo_core import config as configs
from zoo_core.catalog.specs import NetworkSpec, import_target
from zoo_core.errors import ConfigError
from zoo_core.nn.networks import build_network, check_call
from zoo_core.spaces import Classes, Condition
from zoo_core.testing.subjects import Inconclusive, PluginSubject

__all__ = ["NETWORK_CHECKS"]

_TOKENS = {"vocabulary": 4, "length": 6, "outputs": 3}
_SIZES: dict[str, list[dict[str, Any]]] = {
    "denoiser": [
        {"shape": (2,), "inputs": 2, "num_labels": 0},
        {"shape": (1, 16, 16), "inputs": 3, "num_labels": 3},
    ],
    "vector": [
        {"inputs": 3, "outputs": 2, "features": 0},
        {"inputs": 2, "outputs": 5, "features": 4},
    ],
    "image": [{"inputs": 1, "outputs": 3, "size": (16, 16)}],
    "sequence": [
        {**_TOKENS, "condition": Condition(), "places": None},
        {**_TOKENS, "condition": Classes(4), "places": torch.zeros(6, 2, dtype=torch.long)},
    ],
}
"""Sizes of the models that a network may be built for; one it is not for, it may refuse."""


def check_networks_fit_their_signature(subject: PluginSubject) -> None:
    """Networks with default options take and return the shapes of their signature."""
    for entry in subject.declared("network"):
        _check(entry.spec)


def _check(spec: NetworkSpec) -> None:
    if spec.signature not in _SIZES:
        raise Inconclusive(f"the signature {spec.signature!r} has no check")
    config = configs.from_dict(import_target(spec.config), {}, where=f"{spec.name}.")
    refused = []
    for sizes in _SIZES[spec.signature]:
        try:
            with torch.random.fork_rng(devices=[]):
                module = build_network(config, spec.signature, **sizes)
        except ConfigError as error:
            refused.append(str(error))
            continue
        try:
            check_call(module, spec.signature, sizes)
        except ConfigError as error:
            raise AssertionError(f"network {spec.name!r} ({spec.target}): {error}") from None
    assert len(refused) < len(_SIZES[spec.signature]), (
        f"network {spec.name!r} ({spec.target}) is for no size that was tried: {refused[0]}"
    )


NETWORK_CHECKS = [check_networks_fit_their_signature]
