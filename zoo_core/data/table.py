"""Tables as data sets: rows of numbers and categories from .csv, .tsv and .parquet files.

    numbers      reals, standardized by mean and standard deviation of `train`; likelihoods are
                 those of the file's units (`zoo_core.data.columns`)
    categories   integers 0..K-1, in the order of their names
    cells        with `bins` = K every column is integers 0..K-1: a number's cell between the
                 quantiles of `train`, a category's own number

An event is a vector if all columns are numbers or cells, else a group with a part for each column.

Shapes: N rows, W columns.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from zoo_core.config import Range
from zoo_core.data.arrays import MAX_BYTES
from zoo_core.data.columns import Columns
from zoo_core.data.dataset import Dataset, Split, storage_dtype
from zoo_core.data.shuffle import cut
from zoo_core.data.table_columns import Column, ColumnOptions, check_names, column, recoded
from zoo_core.data.table_files import Cells, read_table
from zoo_core.errors import DataError, UsageError
from zoo_core.spaces import Condition, Event, Group
from zoo_core.text import printable

__all__ = ["Table", "table_dataset"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Table(ColumnOptions):
    """Rows of a file with a column for each variable: `table:FILE.csv`.

    `delimiter` is by default a comma, and a tab in .tsv. Without a `header`, columns are called
    column_1, column_2, ...
    """

    path: str
    like: str | None = None
    """Another table, whose kinds of columns, categories, units and cells are used, with the same
    options: the rows of this file are then the split `test`. So a model is scored on new rows."""
    delimiter: str | None = None
    header: bool = True
    max_bytes: Annotated[int, Range(1)] = MAX_BYTES

    def __call__(self) -> Dataset:
        if self.delimiter is not None and len(self.delimiter) != 1:
            raise UsageError(f"delimiter = {self.delimiter!r}; it is a single character.")
        path, cells = self._read(self.path)
        name, source = f"table:{path.name}", f"{path}, {path.stat().st_size} bytes"
        if self.like is None:
            return table_dataset(name, cells, self, source=source)
        other, known = self._read(self.like)
        return table_dataset(
            name, known, self, source=f"{source}; columns of {other}", others=cells
        )

    def _read(self, path: str) -> tuple[Path, Cells]:
        found = Path(path).expanduser()
        return found, read_table(
            found, delimiter=self.delimiter, header=self.header, max_bytes=self.max_bytes
        )


def table_dataset(
    name: str,
    cells: Cells,
    options: ColumnOptions,
    *,
    source: str,
    license: str = "unstated",
    others: Cells | None = None,
) -> Dataset:
    """The data set of a table's cells; raises `DataError` for columns that do not fit.

    With `others`, the cells of other rows, these are its only split, `test`.
    """
    check_names(list(cells), options)
    read = {k: column(k, v, options) for k, v in cells.items() if k not in options.ignore}
    chosen, target = _chosen(read, options), _target(read, options)
    rows = _Rows.of(chosen, target)
    cuts = dict(cut(len(rows), valid=options.valid, test=options.test, seed=options.seed))
    train = rows.values[cuts["train"]]
    given = {c.name for c in [*chosen, *([target] if target else [])]}
    omitted = tuple(k for k in cells if k not in given)
    columns, event = _columns(chosen, train, omitted, options), _event(chosen, options.bins)
    if others is not None:
        rows = _Rows.of([recoded(c, others, options) for c in chosen],
                        None if target is None else recoded(target, others, options))  # fmt: skip
        cuts = {"test": torch.arange(len(rows))}
    x = _stored(rows.values, chosen, columns, train, event)
    y = rows.classes
    if omitted:
        _logger.info("%s: without %s", printable(name), printable(", ".join(omitted)))
    return Dataset(
        name=name,
        event=event,
        condition=Condition() if target is None else _classes(target),
        splits={k: Split(x[r], None if y is None else y[r]) for k, r in cuts.items()},
        license=license,
        provenance=f"{source}; {_account(chosen, target, rows, omitted, options)}",
        columns=columns,
    )


@dataclass(frozen=True, eq=False)
class _Rows:
    """The rows in which no value is missing: of the event, (N, W), and classes, (N,)."""

    values: Tensor
    classes: Tensor | None
    dropped: int
    missing: str
    """How many values are missing, by column."""

    @classmethod
    def of(cls, chosen: list[Column], target: Column | None) -> "_Rows":
        """Raises `DataError` if no row has all values."""
        named = [*chosen, *([target] if target else [])]
        kept: np.ndarray = ~np.any([c.missing for c in named], 0)
        missing = ", ".join(f"{c.name} {int(c.missing.sum())}" for c in named if c.missing.any())
        if not kept.any():
            raise DataError(
                f"every row lacks a value ({missing}).",
                hint="ignore those columns, or give missing='category' for categories",
            )
        values = torch.from_numpy(np.stack([c.values[kept] for c in chosen], 1))
        classes = None if target is None else torch.from_numpy(target.values[kept]).long()
        return cls(values, classes, int((~kept).sum()), missing)

    def __len__(self) -> int:
        return len(self.values)


def _chosen(read: Mapping[str, Column], options: ColumnOptions) -> list[Column]:
    """The columns of the event."""
    wanted = options.columns
    if isinstance(wanted, tuple):
        chosen = [read[name] for name in wanted]
    else:
        others = [c for c in read.values() if c.name != options.target]
        chosen = [c for c in others if wanted in ("all", c.kind)]
    if not chosen:
        kinds = ", ".join(f"{c.name} ({c.kind})" for c in list(read.values())[:20]) or "none"
        raise DataError(
            f"no columns are left for columns = {wanted!r}; columns: {kinds}.",
            hint="numeric=[...] and categorical=[...] set the kind of a column",
        )
    return chosen


def _target(read: Mapping[str, Column], options: ColumnOptions) -> Column | None:
    target = None if options.target is None else read[options.target]
    if target is not None and target.categories is None:
        raise DataError(
            f"the target {target.name!r} is numeric; a condition is one of several classes.",
            hint=f"categorical=[{target.name!r}] takes each of its numbers for a class",
        )
    return target


def _classes(column: Column) -> Condition:
    space = column.space()
    assert isinstance(space, Condition)
    return space


def _columns(
    chosen: list[Column], train: Tensor, omitted: tuple[str, ...], options: ColumnOptions
) -> Columns:
    """The units of the columns: those of `train` for numbers that are standardized."""
    std = train.std(0, correction=0)
    numeric = torch.tensor([c.kind == "numeric" for c in chosen]) & (options.bins is None)
    for c, flat in zip(chosen, (numeric & ~(std > 0)).tolist(), strict=True):
        if flat:
            raise DataError(
                f"column {c.name!r} has a single value in train, so that it has no density.",
                hint=f"leave it out: ignore=[{c.name!r}]; or categorical=[{c.name!r}]",
            )
    scaled = numeric & options.standardize
    mean = torch.where(scaled, train.mean(0), 0.0)
    return Columns(tuple(c.name for c in chosen), mean, torch.where(scaled, std, 1.0), omitted)


def _event(chosen: list[Column], bins: int | None) -> Event:
    spaces = {c.name: c.space() for c in chosen}
    if bins is None:
        if all(c.kind == "numeric" for c in chosen):
            return Event((len(chosen),))
        return Group(**spaces)
    for c in chosen:
        if len(c.categories or ()) > bins:
            raise DataError(
                f"column {c.name!r} has {len(c.categories or ())} categories; bins = {bins}.",
                hint="give more bins, or ignore it",
            )
    return Event((len(chosen),), levels=bins)


def _stored(
    values: Tensor, chosen: list[Column], columns: Columns, train: Tensor, event: Event
) -> Tensor:
    """Rows (N, W) as the data set holds them."""
    if event.levels is not None:
        cells = [
            v if c.categories else _cells(v, known, event.levels)
            for c, v, known in zip(chosen, values.unbind(1), train.unbind(1), strict=True)
        ]
        return torch.stack(cells, 1).to(storage_dtype(event))
    x = columns.standardize(values)
    return x.to(torch.int64 if event.discrete else torch.float32)


def _cells(values: Tensor, train: Tensor, bins: int) -> Tensor:
    """The cells (N,) of numbers between the quantiles of `train`."""
    edges = torch.quantile(train, torch.arange(1, bins, dtype=values.dtype) / bins)
    return torch.searchsorted(edges, values.contiguous(), right=True).to(values.dtype)


def _account(
    chosen: list[Column],
    target: Column | None,
    rows: _Rows,
    omitted: tuple[str, ...],
    options: ColumnOptions,
) -> str:
    """What became of the rows and columns, for the provenance."""
    parts = [f"{len(rows)} rows"]
    if rows.dropped:
        parts.append(f"{rows.dropped} rows dropped, in which a value is missing ({rows.missing})")
    numbers = [c.name for c in chosen if c.kind == "numeric"]
    if numbers:
        how = f"in {options.bins} cells, " if options.bins else ""
        how += "" if options.bins or not options.standardize else "standardized by train, "
        parts.append(f"numeric, {how}{len(numbers)}: {', '.join(numbers)}")
    if coded := [c for c in chosen if c.kind == "categorical"]:
        counts = ", ".join(f"{c.name} ({len(c.categories or ())})" for c in coded)
        parts.append(f"categorical: {counts}")
    if target:
        parts.append(f"target: {target.name}")
    if omitted:
        parts.append(f"omitted: {', '.join(omitted)}")
    return "; ".join([*parts, f"splits by seed {options.seed}"])
