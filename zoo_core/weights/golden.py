"""Golden tensors: events, their log-likelihoods and samples that weights must reproduce.

They travel beside the weights, so that anyone can see on their own machine that a model does
what it did where it was made.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from zoo_core.errors import IntegrityError
from zoo_core.reading import regular
from zoo_core.weights.checkpoint import GOLDEN, read_metadata, verify

if TYPE_CHECKING:
    from zoo_core.model import GenerativeModel

__all__ = ["check", "record"]

_ROWS = 4
_SEED = 0


def record(
    model: "GenerativeModel", x: Tensor | None = None, cond: Tensor | None = None
) -> dict[str, Tensor]:
    """Golden tensors of a model: samples by its defaults, and log-likelihoods of events.

    `x` (n, *shape) with `cond` are the events to score, by default the samples. The default
    likelihood scores them, where the architecture has one.
    """
    tensors = {} if cond is None else {"cond": cond[:_ROWS]}
    given = tensors.get("cond")
    tensors["samples"] = model.sample(_ROWS, seed=_SEED, cond=given)
    tensors["x"] = tensors["samples"].clone() if x is None else x[:_ROWS].clone()
    if model.spec.default_likelihood is not None:
        scored = model.log_likelihood(tensors["x"], seed=_SEED, cond=given)
        tensors["nats"] = scored.nats
    return tensors


def check(model: "GenerativeModel", folder: Path, *, tolerance: float = 1e-3) -> None:
    """Raise `IntegrityError` unless the model reproduces the golden tensors of its folder.

    The file must have the hash that `zoo.json` records. Integers must be equal; reals within
    `tolerance`, relative to the larger of 1 and their size.
    """
    try:
        regular(folder / GOLDEN)
        verify(folder / GOLDEN, read_metadata(folder))
        golden = load_file(folder / GOLDEN)
    except (OSError, SafetensorError) as error:
        raise IntegrityError(f"{folder / GOLDEN} cannot be read ({error}).") from error
    if "x" not in golden:
        raise IntegrityError(f"{folder / GOLDEN} holds no events `x` to score.")
    found = record(model, golden["x"], golden.get("cond"))
    for name, want in golden.items():
        have = found.get(name)
        if have is None or not _equal(have, want, tolerance):
            raise IntegrityError(
                f"{folder}: {name} differ from the golden ones ({_difference(have, want)}).",
                hint="zoo doctor shows which kernels run; try ZOO_KERNELS=reference",
            )


def _difference(have: Tensor | None, want: Tensor) -> str:
    if have is None or have.shape != want.shape:
        shape = None if have is None else tuple(have.shape)
        return f"shape {shape}, expected {tuple(want.shape)}"
    return f"largest difference {float((have.double() - want.double()).abs().max()):.3g}"


def _equal(have: Tensor, want: Tensor, tolerance: float) -> bool:
    if have.shape != want.shape:
        return False
    if not want.is_floating_point():
        return torch.equal(have, want)
    return torch.allclose(have.double(), want.double(), rtol=tolerance, atol=tolerance)
