"""Parquet and Arrow files for tests, and what becomes of them."""

from pathlib import Path
from typing import Literal

import polars as pl
import pytest
from polars.testing import assert_frame_equal

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
    """Read a file, as well where it lies as in memory, which comes to the same."""
    whole, in_memory = (
        pl.concat(BinarySource(content, file_format, options or ReadingOptions()).frames())
        for content in (path, path.read_bytes())
    )
    assert_frame_equal(in_memory, whole)
    return whole


def refusal(path: Path, file_format: BinaryFormat, options: ReadingOptions | None = None) -> InvalidDataset:
    """Give why a file is refused, where it lies and in memory."""
    refusals = []
    for content in (path, path.read_bytes()):
        with pytest.raises(InvalidDataset) as refused:
            list(BinarySource(content, file_format, options or ReadingOptions()).frames())
        refusals.append(refused.value)
    whole, in_memory = refusals
    assert in_memory.faults == whole.faults
    return whole
