"""Tables that come with scikit-learn, read from the installed package."""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from zoo_core.data.dataset import Dataset
from zoo_core.data.table import table_dataset
from zoo_core.data.table_columns import ColumnOptions
from zoo_core.data.table_files import Cells, as_cells
from zoo_core.errors import DataError

__all__ = ["SklearnTable"]

LICENSE = "CC-BY-4.0 (UCI); BSD-3-Clause (scikit-learn's copy)"
_LICENSES = {"diabetes": "BSD-3-Clause (scikit-learn's copy; Efron et al., 2004)"}


@dataclass(frozen=True, kw_only=True)
class SklearnTable(ColumnOptions):
    """One of four small tables; its last column, `target`, is a class, or a number of diabetes."""

    table: Literal["iris", "wine", "breast_cancer", "diabetes"] = "wine"

    def __call__(self) -> Dataset:
        cells, digest = _load(self.table)
        return table_dataset(
            f"sklearn_table:{self.table}",
            cells,
            self,
            source=f"sklearn.datasets.load_{self.table}; sha256 of values {digest}",
            license=_LICENSES.get(self.table, LICENSE),
        )


def _load(name: str) -> tuple[Cells, str]:
    """The cells of each column, and the hash of the values."""
    try:
        from sklearn import datasets
    except ImportError:
        raise DataError(
            "sklearn_table is read from scikit-learn, which is not installed.",
            hint="pip install density-zoo[data]",
        ) from None
    options: dict[str, Any] = {"scaled": False} if name == "diabetes" else {}
    loaded = getattr(datasets, f"load_{name}")(**options)
    values, target = np.asarray(loaded.data, np.float64), np.asarray(loaded.target)
    digest = hashlib.sha256(values.tobytes() + target.astype(np.float64).tobytes()).hexdigest()
    called = getattr(loaded, "target_names", None)
    classes = target.astype(str) if called is None else np.asarray(called)[target]
    names = [str(n).replace(" ", "_") for n in loaded.feature_names]
    columns = zip([*names, "target"], [*values.T, classes], strict=True)
    return {name: as_cells([str(v) for v in column]) for name, column in columns}, digest
