import struct
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest

from service.data.arrow_files import arrow_footer, arrow_metadata
from service.data.binary import BinarySource
from service.data.footers import parquet_parts
from service.data.reading import ReadingOptions
from service.errors import DatasetTooLarge, InvalidDataset
from tests.data.binary_files import FORMATS, BinaryFormat, refusal


def test_a_part_too_large_to_be_read_at_once_is_refused_before_it_is_read(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": np.zeros(100_000)})
    for file_format in FORMATS:
        for compression in ("uncompressed", "zstd"):
            path = tmp_path / "upload"
            if file_format == "parquet":
                frame.write_parquet(path, compression=compression, row_group_size=100_000)
            else:
                frame.write_ipc(path, compression=compression, record_batch_size=100_000)
            assert BinarySource(path, file_format, ReadingOptions(), part_bytes=810_000).n_samples == 100_000
            with pytest.raises(InvalidDataset, match=r"part 0 of the file takes 8.*write it with smaller"):
                BinarySource(path, file_format, ReadingOptions(), part_bytes=790_000)


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("compression", ["uncompressed", "zstd"])
def test_a_table_too_large_in_all_its_parts_is_refused_before_it_is_read(
    tmp_path: Path, file_format: BinaryFormat, compression: Any
) -> None:
    n_rows, path = 10_000, tmp_path / "upload"
    frame = pl.DataFrame({"a": np.zeros(n_rows), "b": np.zeros(n_rows, np.float32), "c": np.zeros(n_rows, np.int32)})
    if file_format == "parquet":
        frame.write_parquet(path, compression=compression, row_group_size=1000)
    else:
        frame.write_ipc(path, compression=compression, record_batch_size=1000)
    n_bytes = 16 * n_rows
    assert BinarySource(path, file_format, ReadingOptions(), max_bytes=n_bytes + 10_000).n_samples == n_rows
    with pytest.raises(DatasetTooLarge, match=rf"or more when it is read, and {n_bytes - 1:,} are accepted here"):
        BinarySource(path, file_format, ReadingOptions(), max_bytes=n_bytes - 1)


def test_values_repeated_in_few_bytes_count_as_what_they_take_when_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    pyarrow.parquet.write_table(pa.table({"a": np.zeros(1_000_000)}), path, row_group_size=1_000_000)
    assert path.stat().st_size < 10_000
    with pytest.raises(InvalidDataset, match=r"takes 8,000,000 bytes"):
        BinarySource(path, "parquet", ReadingOptions(), part_bytes=7_000_000)


def test_pages_that_decompress_into_more_than_the_footer_says_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    table = pa.table({"a": np.zeros(1000)})
    pyarrow.parquet.write_table(table, path, use_dictionary=False, compression="zstd", write_statistics=False)
    n_bytes = pyarrow.parquet.read_metadata(path).row_group(0).column(0).total_uncompressed_size
    assert n_bytes > 8000

    def written_by_thrift(number: int) -> bytes:
        return bytes([2 * number & 127 | 128, 2 * number >> 7])

    content = path.read_bytes()
    assert written_by_thrift(n_bytes) in content
    path.write_bytes(content.replace(written_by_thrift(n_bytes), written_by_thrift(4096)))
    (fault,) = refusal(path, "parquet").faults
    assert "pages decompress into more than its footer says" in fault.detail


def varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def field(kind: int, content: bytes, step: int = 1) -> bytes:
    """Write a field of a struct in Thrift's compact protocol, its number by the step from the one before."""
    return bytes([step << 4 | kind]) + content


def listed(kind: int, parts: list[bytes]) -> bytes:
    return bytes([0xF0 | kind]) + varint(len(parts)) + b"".join(parts)


def parquet_of(pages: bytes, footer: bytes) -> bytes:
    return b"PAR1" + pages + footer + len(footer).to_bytes(4, "little") + b"PAR1"


@pytest.mark.parametrize(
    "footer",
    [
        pytest.param(field(9, b"\xf7" + varint(2**50), 4) + b"\0", id="doubles"),
        pytest.param(field(9, b"\xf3" + varint(2**50), 4) + b"\0", id="bytes"),
        pytest.param(field(9, b"\xfc" + varint(2**50), 2) + b"\0", id="structs before"),
        pytest.param(field(9, b"\xf8" + varint(2**50), 4) + b"\0", id="texts"),
        pytest.param(field(8, varint(2**50)) + b"\0", id="a text"),
        pytest.param(field(7, b"") + b"\0", id="a double"),
        pytest.param(field(13, b"") + b"\0", id="a type that is none"),
        pytest.param(b"\x19" * 15, id="no end"),
        pytest.param(b"\x09\x04" * 5000, id="lists in lists"),
        pytest.param(b"\0", id="nothing"),
    ],
)
def test_a_footer_that_promises_more_than_it_has_is_refused_at_once(tmp_path: Path, footer: bytes) -> None:
    path = tmp_path / "upload"
    path.write_bytes(parquet_of(b"", footer))
    assert "the file is damaged" in refusal(path, "parquet").detail


def test_columns_that_share_their_pages_are_refused_before_they_are_looked_at_again_and_again(tmp_path: Path) -> None:
    page = field(5, b"\0") + field(5, b"\0") + field(5, b"\0") + b"\0"
    pages = page * 10_000
    chunk = field(5, b"\2", 4) + field(6, b"\2", 2) + field(6, varint(2 * len(pages))) + field(6, varint(8), 2) + b"\0"
    group = field(9, listed(12, [field(12, chunk, 3) + b"\0"] * 9_000)) + field(6, b"\2", 2) + b"\0"
    path = tmp_path / "upload"
    path.write_bytes(parquet_of(pages, field(9, listed(12, [group]), 4) + b"\0"))
    assert "its columns overlap" in refusal(path, "parquet").detail
    one = field(9, listed(12, [field(12, chunk, 3) + b"\0"])) + field(6, b"\2", 2) + b"\0"
    assert list(parquet_parts(parquet_of(pages, field(9, listed(12, [one]), 4) + b"\0"))) == [(1, 8)]


def test_batches_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    table = pa.table({"a": np.arange(3000.0)})
    with pa.ipc.new_file(path, table.schema) as file:
        for first, rows in ((0, 2000), (2000, 500), (2500, 500)):
            file.write_table(table.slice(first, rows))
    content = path.read_bytes()
    footer = arrow_footer(content)
    first, *others = footer.vector(3, 24, len(content))
    assert len(others) == 2
    changed = bytearray(content)
    for at in others:
        changed[at : at + 24] = content[first : first + 24]
    path.write_bytes(changed)
    assert "its batches overlap" in refusal(path, "arrow").detail


def test_what_is_said_of_the_schema_of_an_arrow_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    table = pa.table({"a": [1]}).replace_schema_metadata({"one": "1", "two": "ü" * 100})
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table)
    assert arrow_metadata(path.read_bytes()) == {b"one": b"1", b"two": ("ü" * 100).encode()}


def test_a_buffer_that_says_it_decompresses_into_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    pl.DataFrame({"a": np.zeros(1000)}).write_ipc(path, compression="zstd")
    content = path.read_bytes()
    assert struct.pack("<q", 8000) in content
    path.write_bytes(content.replace(struct.pack("<q", 8000), struct.pack("<q", 2**40)))
    assert "takes 1,099,511,627,776 bytes" in refusal(path, "arrow").detail
