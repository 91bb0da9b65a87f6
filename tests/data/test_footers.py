import struct
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest

from service.data.binary import BinarySource
from service.data.reading import ReadingOptions
from service.errors import InvalidDataset
from tests.data.binary_files import FORMATS, refusal


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


def test_a_buffer_that_says_it_decompresses_into_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    pl.DataFrame({"a": np.zeros(1000)}).write_ipc(path, compression="zstd")
    content = path.read_bytes()
    assert struct.pack("<q", 8000) in content
    path.write_bytes(content.replace(struct.pack("<q", 8000), struct.pack("<q", 2**40)))
    assert "takes 1,099,511,627,776 bytes" in refusal(path, "arrow").detail
