"""Tables in files, read by polars into rows, as the command line sends them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from service.errors import UnreadableFile

MAX_FAULTS = 10


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
    try:
        header = pl.read_csv(path, has_header=False, n_rows=1, infer_schema=False).row(0)
        frame = pl.read_csv(path, infer_schema_length=None)
    except FileNotFoundError:
        raise UnreadableFile(f"there is no file {path}") from None
    except (pl.exceptions.PolarsError, OSError) as fault:
        raise UnreadableFile(f"{path} cannot be read as CSV: {fault}") from None
    twice = [name for name in dict.fromkeys(header) if header.count(name) > 1]
    if twice:
        raise UnreadableFile(f"{path} has the column {twice[0]!r} more than once: names must differ")
    for name in [target, *(features or [])]:
        if name not in frame.columns:
            raise UnreadableFile(f"{path} has no column {name!r}: it has {', '.join(frame.columns)}")
    names = features or [name for name in frame.columns if name != target]
    _check_cells(path, frame.select([*names, target]), names)
    answers = frame[target]
    if not (answers.dtype.is_numeric() or answers.dtype == pl.Boolean):
        answers = answers.cast(pl.String)  # dates, say, become labels as they read
    return Table(names, [list(row) for row in frame.select(names).iter_rows()], target, answers.to_list())


def _check_cells(path: Path, frame: pl.DataFrame, numeric: list[str]) -> None:
    if frame.is_empty():
        raise UnreadableFile(f"{path} has a header and no rows")
    faults = []
    for name in frame.columns:
        column = frame[name]
        empty = column.is_null().arg_true()
        # Line 1 is the header.
        faults += [f"line {row + 2}, column {name!r}: the cell is empty" for row in empty[:MAX_FAULTS]]
        if column.dtype.is_float():
            wrong = (~column.fill_null(0.0).is_finite()).arg_true()
            faults += [f"line {row + 2}, column {name!r}: {column[row]} is not finite" for row in wrong[:MAX_FAULTS]]
        if name in numeric and not column.dtype.is_numeric():
            wrong = (column.is_not_null() & column.cast(pl.Float64, strict=False).is_null()).arg_true()
            faults += [
                f"line {row + 2}, column {name!r}: {column[row]!r} is no number" for row in wrong[:MAX_FAULTS]
            ] or [f"column {name!r} is {column.dtype}, not numbers"]
    if faults:
        more = f"\n… and {len(faults) - MAX_FAULTS} more" if len(faults) > MAX_FAULTS else ""
        raise UnreadableFile(f"{path} cannot be trained on:\n" + "\n".join(faults[:MAX_FAULTS]) + more)
