"""Tiny reference models with inputs and outputs, beside the repository (ZOO_SHARED)."""

import json
import os
from pathlib import Path

import pytest
from safetensors import safe_open


def golden(name):
    """The constructor's arguments, the state dict, and the inputs and outputs of a reference."""
    if not (shared := os.environ.get("ZOO_SHARED")):
        pytest.skip(f"ZOO_SHARED is not set: {name} was not compared with its reference")
    with safe_open(Path(shared) / "anchors" / "golden" / f"{name}.safetensors", "pt") as file:
        config = json.loads(file.metadata()["config"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    state = {k[3:]: v for k, v in tensors.items() if k.startswith("sd.")}
    return config, state, {k: v for k, v in tensors.items() if not k.startswith("sd.")}
