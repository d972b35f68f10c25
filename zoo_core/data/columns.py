"""The columns of a table: their names, and the change of units between a data set and its file.

    z = (x - mean) / std,   log p(x) = log p(z) - sum log std

A data set holds z; its likelihoods are those of x. Categories and cells have mean 0 and std 1.

Shapes: N rows, W columns.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

__all__ = ["Columns"]


@dataclass(frozen=True, eq=False)
class Columns:
    """The W columns of an event: names, and mean and standard deviation in the file's units.

    >>> c = Columns(("mm", "kg"), torch.tensor([5.0, 0.0]), torch.tensor([2.0, 0.5]))
    >>> c.to_file(torch.tensor([[1.0, -2.0]])).tolist(), c.log_det
    ([[7.0, -1.0]], 0.0)
    """

    names: tuple[str, ...]
    mean: Tensor  # (W,), float64
    std: Tensor  # (W,), float64
    omitted: tuple[str, ...] = ()
    """Columns of the file that the model never sees."""

    @property
    def log_det(self) -> float:
        """log |det dz/dx| in nats, which is added to log p(z)."""
        return 0.0 - float(self.std.log().sum())

    def standardize(self, x: Tensor) -> Tensor:
        """Rows (N, W) in the file's units as the data set holds them, float64."""
        return (x.double() - self.mean) / self.std

    def to_file(self, z: Tensor) -> Tensor:
        """Rows (N, W) of the data set in the file's units, float64; categories stay numbers."""
        return z.double().cpu() * self.std + self.mean

    def record(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "names": list(self.names),
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "omitted": list(self.omitted),
            "log_det": self.log_det,
        }
