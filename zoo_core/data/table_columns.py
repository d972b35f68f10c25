"""Columns of a table as numbers: which are categories, how they are coded, what is missing.

Shapes: N rows, K categories.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from zoo_core.config import Range
from zoo_core.data.generated import Seed
from zoo_core.errors import DataError, did_you_mean
from zoo_core.spaces import Classes, Condition, Event

__all__ = ["MISSING", "Column", "ColumnOptions", "check_names", "column", "recoded"]

MISSING = "(missing)"
"""What the category of missing cells is called."""

_FEW, _OFTEN = 10, 10
_MAX_CATEGORIES = 1000
_EXCLUSIVE = (
    ("numeric", "categorical"),
    ("numeric", "target"),
    ("ignore", "target"),
    ("ignore", "columns"),
    ("target", "columns"),
)
"""Options that cannot name the same column."""


@dataclass(frozen=True, kw_only=True)
class ColumnOptions:
    """Which columns a model gets, as what, and how the rows are split.

    A column is categorical if it holds text, or at most 10 different whole numbers that occur 10
    times on average; `numeric` and `categorical` name columns for which that is wrong. `columns`
    are those of the event: all, those of one kind, or a list.
    """

    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    """Columns that are not read."""
    target: str | None = None
    """The column whose categories are the condition; it is no part of the event."""
    columns: Literal["all", "numeric", "categorical"] | tuple[str, ...] = "all"
    bins: Annotated[int, Range(2, 256)] | None = None
    """Cells of each column, if the event is to be of integers."""
    standardize: bool = True
    missing: Literal["drop", "category"] = "drop"
    """Whether a row without a category is dropped, or gets the category `(missing)`.

    A row without a number is dropped.
    """
    missing_values: tuple[str, ...] = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "?")
    valid: Annotated[float, Range(0, 1)] = 0.15
    test: Annotated[float, Range(0, 1)] = 0.15
    seed: Seed = 0


@dataclass(frozen=True, eq=False)
class Column:
    """The values of a column: numbers, or categories 0..K-1; NaN where one is missing."""

    name: str
    values: np.ndarray  # (N,), float64
    categories: tuple[str, ...] | None = None
    """The names of the categories; None of numbers."""

    @property
    def kind(self) -> Literal["numeric", "categorical"]:
        return "numeric" if self.categories is None else "categorical"

    @property
    def missing(self) -> np.ndarray:
        """Which rows have no value, (N,) bool."""
        gone: np.ndarray = np.isnan(self.values)
        return gone

    def space(self) -> Event | Condition:
        """The part of an event that the column is; raises `DataError` for too many categories."""
        if self.categories is None:
            return Event(())
        if len(self.categories) > _MAX_CATEGORIES:
            raise DataError(
                f"column {self.name!r} has {len(self.categories):,} categories, such as "
                f"{self.categories[0][:40]!r}; at most {_MAX_CATEGORIES:,} are coded.",
                hint="ignore it, or declare it numeric if its texts are missing values",
            )
        return Classes(len(self.categories), names=self.categories)


def column(name: str, cells: np.ndarray, options: ColumnOptions) -> Column:
    """A column from its cells (N,) of text."""
    gone = _missing(cells, options)
    if gone.all():
        raise DataError(f"column {name!r} has no values.", hint=_ignore(name))
    numbers = _numbers(cells, gone)
    if name in options.numeric:
        return Column(name, _checked(name, numbers, cells, gone))
    if name in options.categorical or numbers is None or _coded(numbers):
        return _categories(name, cells, gone, numbers, options)
    return Column(name, _checked(name, numbers, cells, gone))


def recoded(like: Column, table: Mapping[str, np.ndarray], options: ColumnOptions) -> Column:
    """The column of that name in another table, with the same kind and categories."""
    if like.name not in table:
        raise DataError(f"column {like.name!r} is not there; columns: {', '.join(table)}.")
    cells = table[like.name]
    gone = _missing(cells, options)
    if like.categories is None:
        return Column(like.name, _checked(like.name, _numbers(cells, gone), cells, gone))
    number = {text: float(i) for i, text in enumerate(like.categories)}
    absent = number.get(MISSING, np.nan)
    if unknown := [c for c in cells[~gone].tolist() if c not in number]:
        raise DataError(
            f"column {like.name!r} holds {unknown[0][:40]!r}, which is none of its "
            f"{len(number)} categories: {', '.join(like.categories[:12])}.",
            hint="leave these rows out, or name what is missing by missing_values",
        )
    values = [absent if g else number[c] for c, g in zip(cells.tolist(), gone, strict=True)]
    return Column(like.name, np.array(values, np.float64), like.categories)


def _missing(cells: np.ndarray, options: ColumnOptions) -> np.ndarray:
    """Which cells (N,) are missing values."""
    absent = set(options.missing_values)
    return np.array([cell in absent for cell in cells.tolist()])


def _numbers(cells: np.ndarray, gone: np.ndarray) -> np.ndarray | None:
    """Cells as numbers, NaN where they are missing; None if a cell is no number."""
    if any("_" in cell for cell in cells.tolist()):  # to Python 1_2 is the number 12
        return None
    try:
        return np.where(gone, "nan", cells).astype(np.float64)
    except ValueError:
        return None


def _coded(numbers: np.ndarray) -> bool:
    """Whether numbers look like codes: a few different whole numbers, each many times."""
    known = numbers[np.isfinite(numbers)]
    different = len(np.unique(known))
    whole = bool((known == np.round(known)).all())
    return whole and different <= _FEW and len(known) >= _OFTEN * different


def _checked(
    name: str, numbers: np.ndarray | None, cells: np.ndarray, gone: np.ndarray
) -> np.ndarray:
    if numbers is None:
        known = cells[~gone].tolist()
        text = next(c for c in known if _numbers(np.array([c]), np.array([False])) is None)
        raise DataError(
            f"column {name!r} is numeric and holds {text[:40]!r}.",
            hint="if that means a missing value, add it to missing_values",
        )
    if not np.isfinite(numbers[~gone]).all():
        raise DataError(
            f"column {name!r} holds infinite or NaN numbers.",
            hint="add their spelling to missing_values, or ignore the column",
        )
    return numbers


def _categories(
    name: str,
    cells: np.ndarray,
    gone: np.ndarray,
    numbers: np.ndarray | None,
    options: ColumnOptions,
) -> Column:
    """Categories in the order of their names, or of the numbers that they are."""
    names, first = np.unique(cells[~gone], return_index=True)
    if numbers is not None:
        names = names[np.argsort(numbers[~gone][first], kind="stable")]
    number = {text: float(i) for i, text in enumerate(names.tolist())}
    own = options.missing == "category" and bool(gone.any())
    absent = float(len(number)) if own else np.nan
    values = [absent if g else number[c] for c, g in zip(cells.tolist(), gone, strict=True)]
    return Column(name, np.array(values), (*number, *([MISSING] if own else [])))


def check_names(columns: Sequence[str], options: ColumnOptions) -> None:
    """Raise `DataError` for options that name no column, or the same one as two things."""
    o = options
    named: Mapping[str, Sequence[str]] = {
        "numeric": o.numeric,
        "categorical": o.categorical,
        "ignore": o.ignore,
        "target": (o.target,) if o.target is not None else (),
        "columns": o.columns if isinstance(o.columns, tuple) else (),
    }
    for option, names in named.items():
        for name in names:
            if name not in columns:
                raise DataError(
                    f"{option} names the column {name!r}, which is not there; columns: "
                    f"{', '.join(columns[:40])}{', ...' if len(columns) > 40 else ''}.",
                    hint=did_you_mean(name, columns) or None,
                )
    for a, b in _EXCLUSIVE:
        if both := set(named[a]) & set(named[b]):
            raise DataError(
                f"column {min(both)!r} is named by {a} and by {b}.", hint="name it in one of them"
            )
    chosen = list(named["columns"])
    if twice := [name for name in chosen if chosen.count(name) > 1]:
        raise DataError(f"columns names {twice[0]!r} twice.", hint="name it once")


def _ignore(name: str) -> str:
    return f"leave it out: ignore=[{name!r}]"
