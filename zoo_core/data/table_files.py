"""Tables as columns of text, from .csv, .tsv and .parquet files that may be damaged.

Cells are stripped of blanks. A null of a parquet file is an empty cell.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoo_core.errors import DataError
from zoo_core.reading import regular

__all__ = ["SUFFIXES", "Cells", "as_cells", "read_table"]

SUFFIXES = (".csv", ".tsv", ".parquet")
_MAX_COLUMNS = 4096
_DELIMITERS = {"\t": "tab", ";": ";", "|": "|", ",": ","}

Cells = Mapping[str, np.ndarray]
"""The cells of each column, strings (N,)."""


def read_table(path: Path, *, delimiter: str | None, header: bool, max_bytes: int) -> Cells:
    """The cells of each column of a file, by the column's name.

    `delimiter` is by default a comma, and a tab in .tsv; without a `header` columns are called
    column_1, column_2, ... Raises `DataError` for what is no table.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(
            f"{path} has suffix {path.suffix!r}; a table is {', '.join(SUFFIXES)}.",
            hint="rename the file, or write it as .csv",
        )
    _check_size(path, max_bytes)
    if suffix == ".parquet":
        return _read_parquet(path)
    return _read_text(path, delimiter or ("\t" if suffix == ".tsv" else ","), header)


def _check_size(path: Path, max_bytes: int) -> None:
    try:
        size = regular(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}).") from None
    if size > max_bytes:
        raise DataError(
            f"{path} has {size:,} bytes; at most {max_bytes:,} are read.", hint="raise max_bytes"
        )


def _read_text(path: Path, delimiter: str, header: bool) -> Cells:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(_lines(csv.reader(file, delimiter=delimiter, strict=True)))
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}).",
            hint="write it as UTF-8",
        ) from None
    except (csv.Error, OSError, TypeError) as error:
        raise DataError(f"{path} cannot be read as a table ({error}).") from None
    if not lines:
        raise DataError(f"{path} is empty.", hint="a table has a header and rows")
    width = len(lines[0][1])
    names = lines[0][1] if header else [f"column_{i}" for i in range(1, width + 1)]
    rows = lines[1:] if header else lines
    _check_names(path, names, delimiter, header)
    _check_rows(path, rows, width)
    columns = zip(*(cells for _, cells in rows), strict=True)
    return {name: as_cells(cells) for name, cells in zip(names, columns, strict=True)}


def _lines(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """The number and the cells of every line that is not empty."""
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield reader.line_num, [cell.strip() for cell in cells]


def _check_names(path: Path, names: list[str], delimiter: str, header: bool) -> None:
    others = [d for d in _DELIMITERS if d != delimiter and d in names[0]]
    if len(names) == 1 and others:
        raise DataError(
            f"{path} has a single column, {names[0][:60]!r}.",
            hint=f"it may be separated by {_DELIMITERS[others[0]]}: give the option delimiter",
        )
    if len(names) > _MAX_COLUMNS:
        raise DataError(f"{path} has {len(names)} columns; at most {_MAX_COLUMNS} are read.")
    if header and all(map(_is_number, names)):
        raise DataError(
            f"{path}: the first line holds numbers ({', '.join(names[:4])}), no names of columns.",
            hint="give the option header=false",
        )
    if twice := [name for name in names if not name or names.count(name) > 1]:
        raise DataError(
            f"{path}: columns need different names; {twice[0]!r} is empty or there twice.",
            hint="name each column in the first line",
        )


def _check_rows(path: Path, rows: list[tuple[int, list[str]]], width: int) -> None:
    if not rows:
        raise DataError(f"{path} has a header and no rows.")
    for line, cells in rows:
        if len(cells) != width:
            raise DataError(
                f"{path}, line {line}: {len(cells)} cells; the first line has {width}.",
                hint="quote cells that hold the delimiter",
            )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_parquet(path: Path) -> Cells:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise DataError(
            f"{path}: parquet files are read by pyarrow, which is not installed.",
            hint="pip install pyarrow, or write the table as .csv",
        ) from None
    try:
        table = parquet.read_table(path)
    except (ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as parquet ({error}).") from None
    names = list(table.column_names)
    if not names or not table.num_rows:
        raise DataError(f"{path} has {len(names)} columns and {table.num_rows} rows.")
    _check_names(path, names, "", header=False)
    return {name: _text(path, name, table.column(name).to_pylist()) for name in names}


def _text(path: Path, name: str, values: list[Any]) -> np.ndarray:
    """Values as cells; a boolean is true or false."""
    if nested := [v for v in values if isinstance(v, list | dict | bytes)]:
        kind = type(nested[0]).__name__
        raise DataError(f"{path}: column {name!r} holds {kind}; a cell is a number or a text.")
    cells = [
        "" if v is None else str(v).lower() if isinstance(v, bool) else str(v) for v in values
    ]
    return as_cells([cell.strip() for cell in cells])


def as_cells(values: Sequence[str]) -> np.ndarray:
    """Cells (N,) as objects: an array of strings would give each the room of the longest."""
    cells = np.empty(len(values), dtype=object)
    cells[:] = values
    return cells
