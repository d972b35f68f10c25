"""Probabilities that come out the same on every machine, from logits that do not.

Logits differ in their last bits with the batch size, the instruction set and the library, and an
entropy coder needs the very same probabilities at both ends. So the network runs in float64, where
they differ by about 1e-14, and each logit l_k is put on a grid of step 1/16 below the largest:

    cell_k = floor(16 (max_j l_j - l_k) + offset),   weight_k = round(2^22 exp(-cell_k / 16))

From there on all is integers. Rounding is unbiased and costs about 1e-4 nats a value. Two machines
disagree only about a value within their difference of a cell's boundary. The encoder sees those:
if any is nearer than `MARGIN`, it takes the next offset (`Grid.ambiguous`).

Shapes: N values, K levels.
"""

from decimal import Decimal, localcontext
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from zoo_core.errors import NoCapabilityError, NotFiniteError, PluginError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MARGIN", "OFFSETS", "STEPS", "Grid", "coders"]

STEPS = 16
"""Cells for each nat."""
MARGIN = 1e-11
"""Nats within which logits of two machines are taken to agree: a thousand times their measured
difference in float64."""
OFFSETS = 64
"""How many offsets there are: a block says by one byte which it uses."""

_ONE = 1 << 22
"""The largest weight; sums over 65536 levels stay below 2^38."""
_GOLDEN = 0.6180339887498949


class Grid:
    """A grid with one of the offsets near 1/2, and whether any value lay too near a boundary."""

    def __init__(self, index: int) -> None:
        self.index = index
        # irrational: half-precision weights give sums whose ties are exact binary fractions
        self.offset = 0.45 + 0.1 * ((index + 1) * _GOLDEN % 1)
        self.ambiguous = False

    def weights(self, logits: Tensor) -> "NDArray[np.float64]":
        """Integer weights (N, K) of the levels, as float64, from logits (N, K) in float64."""
        if logits.dtype != torch.float64:
            raise NoCapabilityError(
                f"the model computes logits in {logits.dtype} although its weights are float64; "
                "files of it could not be read on another machine.",
                hint="compute them in the dtype of the weights",
            )
        # in C order: constriction reads the rows of other layouts wrongly, at both ends alike
        l: NDArray[np.float64] = np.ascontiguousarray(logits.detach().cpu().numpy())
        if np.isnan(l).any() or np.isposinf(l).any():
            raise NotFiniteError("logits to code by are NaN or +inf.")
        depth = STEPS * (l.max(-1, keepdims=True) - l) + self.offset
        table = _table()
        cells = np.minimum(depth, len(table) - 1).astype(np.int64)
        if not self.ambiguous:
            near = np.abs(depth - np.rint(depth)) < STEPS * MARGIN
            self.ambiguous = bool((near & (depth < len(table))).any())
        weights: NDArray[np.float64] = table[cells]
        return weights


@cache
def _table() -> "NDArray[np.float64]":
    """round(2^22 exp(-j / 16)) down to 0; in decimals, since the libraries' exp differ."""
    weights: list[int] = []
    with localcontext() as context:
        context.prec = 40
        while not weights or weights[-1]:
            x = Decimal(_ONE) * (Decimal(-len(weights)) / STEPS).exp()
            weights.append(int(x.to_integral_value()))
    return np.array(weights, np.float64)


def coders() -> Any:
    """The module `constriction`; raises `PluginError` if it is not installed."""
    try:
        import constriction
    except ModuleNotFoundError as error:
        raise PluginError(
            f"compression needs constriction, which cannot be imported ({error}).",
            hint="pip install 'density-zoo[compress]'",
        ) from None
    return constriction
