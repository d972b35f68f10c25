"""Golden tensors: samples and log-likelihoods that a model must reproduce.

They are saved beside the weights, so anyone can check on their own machine that the model computes
what it computed where it was trained.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from zoo_core.catalog.components import architecture_sampler
from zoo_core.errors import IntegrityError
from zoo_core.reading import regular
from zoo_core.weights.checkpoint import GOLDEN, read_metadata, verify

if TYPE_CHECKING:
    from zoo_core.model import GenerativeModel

__all__ = ["ROWS", "check", "record"]

ROWS = 4
"""The number of golden samples."""
_SEED = 0


def record(
    model: "GenerativeModel", x: Tensor | None = None, cond: Tensor | None = None
) -> dict[str, Tensor]:
    """Golden tensors of a model: samples by its architecture's sampler, and log-likelihoods.

    `x` (n, *shape) with `cond` are the events to score by the default likelihood, if there is one;
    without them the samples are scored.
    """
    tensors = {} if cond is None else {"cond": cond[:ROWS]}
    cond = tensors.get("cond")
    draw = architecture_sampler(model, {}, ROWS)  # a later measurement must not change them
    tensors["samples"] = model.sample(ROWS, seed=_SEED, sampler=draw, cond=cond, device="cpu")
    tensors["x"] = tensors["samples"].clone() if x is None else x[:ROWS].clone()
    if model.spec.default_likelihood is not None:
        scored = model.log_likelihood(tensors["x"], seed=_SEED, cond=cond)
        tensors["nats"] = scored.nats.cpu()
    return tensors


def check(model: "GenerativeModel", folder: Path, *, tolerance: float = 1e-3) -> None:
    """Raise `IntegrityError` unless the model reproduces the golden tensors of its folder.

    The file must have the hash that `zoo.json` records. Integers must be equal; floating-point
    values must agree within `tolerance`, relative to the larger of 1 and their size.
    """
    try:
        regular(folder / GOLDEN)
        verify(folder / GOLDEN, read_metadata(folder))
        golden = load_file(folder / GOLDEN)
    except (OSError, SafetensorError) as error:
        raise IntegrityError(f"{folder / GOLDEN} cannot be read ({error}).") from error
    if "x" not in golden:
        raise IntegrityError(f"{folder / GOLDEN} holds no events `x` to score.")
    tensors = record(model, golden["x"], golden.get("cond"))
    for name, expected in golden.items():
        actual = tensors.get(name)
        if actual is None or not _equal(actual, expected, tolerance):
            raise IntegrityError(
                f"{folder}: {name} differ from the golden ones ({_difference(actual, expected)}).",
                hint="zoo doctor shows which kernels run; try ZOO_KERNELS=reference",
            )


def _difference(actual: Tensor | None, expected: Tensor) -> str:
    if actual is None or actual.shape != expected.shape:
        shape = None if actual is None else tuple(actual.shape)
        return f"shape {shape}, expected {tuple(expected.shape)}"
    return f"largest difference {float((actual.double() - expected.double()).abs().max()):.3g}"


def _equal(actual: Tensor, expected: Tensor, tolerance: float) -> bool:
    if actual.shape != expected.shape:
        return False
    if not expected.is_floating_point():
        return torch.equal(actual, expected)
    return torch.allclose(actual.double(), expected.double(), rtol=tolerance, atol=tolerance)
