"""Parquet and Arrow files for tests, and what becomes of them."""

from pathlib import Path
from typing import Literal

import polars as pl
import pytest

from service.data.binary import BinarySource
from service.data.reading import ReadingOptions
from service.errors import InvalidDataset

BinaryFormat = Literal["parquet", "arrow"]
FORMATS: tuple[BinaryFormat, ...] = ("parquet", "arrow")


def written(frame: pl.DataFrame, folder: Path, file_format: BinaryFormat, rows: int = 1000) -> Path:
    path = folder / f"upload.{file_format}"
    if file_format == "parquet":
        frame.write_parquet(path, row_group_size=rows)
    else:
        frame.write_ipc(path, record_batch_size=rows)
    return path


def read(path: Path, file_format: BinaryFormat, options: ReadingOptions | None = None) -> pl.DataFrame:
    return pl.concat(BinarySource(path, file_format, options or ReadingOptions()).frames())


def refusal(path: Path, file_format: BinaryFormat, options: ReadingOptions | None = None) -> InvalidDataset:
    with pytest.raises(InvalidDataset) as refused:
        read(path, file_format, options)
    return refused.value
