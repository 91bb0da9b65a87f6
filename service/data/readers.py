"""Tables in files, read by polars into rows, as the command line sends them."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from service.errors import UnreadableFile

SHOWN_FAULTS = 10


@dataclass(frozen=True)
class Table:
    """Columns of a file, split into features and the target."""

    feature_names: list[str]
    features: list[list[float]]  # (n_samples, n_features)
    target: str
    targets: list[Any]  # (n_samples,) of numbers, texts or booleans


def read_csv(path: Path, target: str, features: list[str] | None = None) -> Table:
    """Read a CSV file with a header.

    Args:
        path: the file.
        target: the column to predict.
        features: the columns to predict it from; all others when left out.

    Raises:
        UnreadableFile: when it is not there or no table, a column is missing or named twice, a feature is no number,
            or a cell is empty; names row and column.
    """
    if not path.is_file():
        raise UnreadableFile(f"there is no file {path}")
    try:
        header = pl.read_csv(path, has_header=False, n_rows=1, infer_schema=False, glob=False).row(0)
        frame = pl.read_csv(path, infer_schema_length=None, glob=False)
    except (pl.exceptions.PolarsError, OSError) as fault:
        reason = _ragged_line(path) or str(fault).partition("\n")[0]
        raise UnreadableFile(f"{path} cannot be read as CSV: {reason}") from None
    _refuse_repeated(header, f"{path} has the column {{!r}} more than once: names must differ")
    frame.columns = [str(name) for name in header]
    for name in [target, *(features or [])]:
        if name not in header:
            raise UnreadableFile(f"{path} has no column {name!r}: it has {', '.join(frame.columns)}")
    names = [name for name in frame.columns if name != target] if features is None else features
    _refuse_repeated([*names, target], "the column {!r} is chosen more than once: choose it once, and not the target")
    if not names:
        raise UnreadableFile(f"{path} has no columns beside {target!r} to predict it from")
    _check_cells(path, frame.select([*names, target]), names)
    answers = frame[target]
    if not (answers.dtype.is_numeric() or answers.dtype == pl.Boolean):
        answers = answers.cast(pl.String)  # dates, say, become labels as they read
    return Table(names, [list(row) for row in frame.select(names).iter_rows()], target, answers.to_list())


def _refuse_repeated(names: list[str] | tuple[Any, ...], sentence: str) -> None:
    repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if repeated:
        raise UnreadableFile(sentence.format(repeated[0]))


def _ragged_line(path: Path) -> str | None:
    """Find the first row that is longer than the header, which polars only says there is."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            width = len(next(rows, []))
            for row in rows:
                if len(row) > width:
                    return f"line {rows.line_num} has {len(row)} cells and the header {width}"
    except (UnicodeDecodeError, csv.Error):
        pass
    return None


def _check_cells(path: Path, frame: pl.DataFrame, numeric: list[str]) -> None:
    if frame.is_empty():
        raise UnreadableFile(f"{path} has a header and no rows")
    faults: list[str] = []
    n_faults = 0

    def note(name: str, wrong: pl.Series, sentence: str) -> None:
        nonlocal n_faults
        rows = wrong.arg_true()
        n_faults += len(rows)
        where = "line {}, column {!r}: " + sentence  # line 1 is the header
        faults.extend(where.format(row + 2, name, frame[name][row]) for row in rows[:SHOWN_FAULTS])

    for name in frame.columns:
        column = frame[name]
        note(name, column.is_null(), "the cell is empty")
        if name in numeric or column.dtype.is_float():
            numbers = column.cast(pl.Float64, strict=False)
            if column.dtype == pl.Boolean:
                numbers = pl.Series([None] * len(column), dtype=pl.Float64)
            note(name, column.is_not_null() & numbers.is_null(), "{!r} is no number")
            note(name, ~numbers.fill_null(0.0).is_finite(), "{} is not finite")
    if faults:
        more = f"\n… and {n_faults - SHOWN_FAULTS} more" if n_faults > SHOWN_FAULTS else ""
        raise UnreadableFile(f"{path} cannot be trained on:\n" + "\n".join(faults[:SHOWN_FAULTS]) + more)
