import random
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import pytest

from service.data.binary import BinarySource
from service.data.reading import ReadingOptions
from service.errors import DatasetTooLarge, InvalidDataset
from tests.data.binary_files import FORMATS, BinaryFormat, refusal


@pytest.mark.parametrize(
    ("content", "file_format", "sentence"),
    [
        pytest.param(b"", "parquet", "this is not a Parquet file", id="empty"),
        pytest.param(b"a,b\n1,2\n" * 9, "parquet", "does not begin as one; name its format", id="CSV"),
        pytest.param(b"ARROW1" * 9, "parquet", "it begins as an Arrow IPC file does", id="Arrow"),
        pytest.param(b"PAR1" * 9, "arrow", "it begins as a Parquet file does", id="Parquet"),
        pytest.param(b"\xff\xff\xff\xff" * 9, "arrow", "it is an Arrow IPC stream; write a file", id="stream"),
        pytest.param(b"PAR1" + b"\0" * 99, "parquet", "cut off or damaged", id="cut off"),
        pytest.param(b"PAR1xxxx", "parquet", "cut off or damaged", id="the start alone"),
        pytest.param(b"ARROW1", "arrow", "cut off or damaged", id="the magic alone"),
        pytest.param(b"PAR1" * 9, "parquet", "its footer takes", id="a footer larger than can be"),
    ],
)
def test_what_is_no_such_file_is_refused_with_a_sentence(
    tmp_path: Path, content: bytes, file_format: BinaryFormat, sentence: str
) -> None:
    path = tmp_path / "upload"
    path.write_bytes(content)
    (fault,) = refusal(path, file_format).faults
    assert sentence in fault.detail


def mutated(content: bytes, seed: int) -> bytes:
    """Cut a file off, flip some bits, overwrite or remove some bytes; half of the time near its end, the footer."""
    source, changed = random.Random(seed), bytearray(content)
    first = max(0, len(content) - 2500) if source.random() < 0.5 else 0
    at, length = source.randrange(first, len(content)), source.randrange(1, 64)
    kind = source.randrange(4)
    if kind == 0:
        del changed[at:]
    elif kind == 1:
        changed[at] ^= 1 << source.randrange(8)
    elif kind == 2:
        changed[at : at + length] = source.randbytes(length)
    else:
        del changed[at : at + length]
    return bytes(changed)


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("compression", ["uncompressed", "zstd"])
def test_a_mutated_file_is_read_or_refused_but_nothing_else_happens(
    tmp_path: Path, file_format: BinaryFormat, compression: Literal["uncompressed", "zstd"]
) -> None:
    n_rows, draw = 900, np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "n": draw.integers(0, 99, n_rows),
            "x": draw.normal(size=n_rows),
            "word": [f"w{row % 7}" for row in range(n_rows)],
            "kind": pl.Series([f"k{row % 3}" for row in range(n_rows)], dtype=pl.Categorical),
            "is_new": [row % 3 == 0 for row in range(n_rows)],
            "at": [datetime(2020, 1, 1 + row % 20) for row in range(n_rows)],
            "gaps": [None if row % 5 == 0 else row for row in range(n_rows)],
        }
    )
    path = tmp_path / "upload"
    if file_format == "parquet":
        frame.write_parquet(path, row_group_size=300, compression=compression)
    else:
        frame.write_ipc(path, record_batch_size=300, compression=compression)
    content, n_read, n_refused = path.read_bytes(), 0, 0
    for seed in range(250):
        path.write_bytes(mutated(content, seed))
        try:
            source = BinarySource(path, file_format, ReadingOptions())
            assert sum(len(part) for part in source.frames()) == source.n_samples
            n_read += 1
        except (InvalidDataset, DatasetTooLarge):
            n_refused += 1
    assert n_read > 5
    assert n_refused > 50
