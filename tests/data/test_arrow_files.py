from datetime import date
from io import BytesIO
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pytest
from polars.testing import assert_frame_equal

from service.data.arrow_files import Fields, arrow_footer, file_of, frame_of
from service.data.binary import BinarySource
from service.data.reading import ReadingOptions
from service.errors import DatasetTooLarge, InvalidDataset
from tests.data.test_binary_damage import mutated

COLUMNS = {
    "number": [1.5, None, float("nan"), -0.0, float("inf")],
    "whole": [1, 2**63 - 1, None, -(2**63), 0],
    "text": ["", None, "Straße", "a text that is longer than twelve bytes", "\n"],
    "boolean": [True, None, False, True, True],
    "day": [date(2020, 2, 29), None, date(1, 1, 1), date(9999, 12, 31), date(1970, 1, 1)],
}
MIXED = pl.DataFrame(COLUMNS)


@pytest.mark.parametrize(
    "frame",
    [
        *(pl.DataFrame({name: values}) for name, values in COLUMNS.items()),
        *(MIXED.head(n_rows) for n_rows in (0, 1, 5)),
        pl.concat([MIXED, MIXED.head(2), MIXED.head(0), MIXED]),
        pl.DataFrame({f"x{number}": [float(number)] for number in range(300)}),
    ],
)
def test_a_file_is_read_alike_by_everybody(frame: pl.DataFrame) -> None:
    content = file_of(frame)
    assert_frame_equal(pl.read_ipc(content), frame)
    found = frame_of(content)
    assert found is not None
    assert_frame_equal(found, frame)
    table = pyarrow.ipc.open_file(BytesIO(content)).read_all()
    assert table.column_names == frame.columns
    assert_frame_equal(pl.DataFrame(pl.from_arrow(table)), frame)


@pytest.mark.parametrize("compression", ["uncompressed", "lz4", "zstd"])
def test_a_file_of_several_batches_is_read_as_it_was_written(compression: Any) -> None:
    frame = pl.DataFrame({"a": range(1000), "b": [None, "text"] * 500})
    written = BytesIO()
    frame.write_ipc(written, compression=compression, record_batch_size=300)
    found = frame_of(written.getvalue())
    assert found is not None
    assert_frame_equal(found, frame)


@pytest.mark.parametrize("version", ["V4", "V5"])
def test_a_file_of_another_writer_is_read_or_left_to_the_other_way(version: str) -> None:
    options = pyarrow.ipc.IpcWriteOptions(metadata_version=getattr(pyarrow.ipc.MetadataVersion, version))
    plain = pa.table({"a": pa.array([1, None, 3], pa.int16()), "b": ["x", "y", None]}, metadata={"said": "much"})
    packed = pa.table({"a": pa.array(["x", "y", "x"]).dictionary_encode()})
    for table in (plain, packed):
        written = BytesIO()
        with pyarrow.ipc.new_file(written, table.schema, options=options) as writer:
            writer.write_table(table, max_chunksize=2)
        found = frame_of(written.getvalue())
        if table is packed:
            assert found is None
        else:
            assert found is not None
            assert_frame_equal(found, pl.DataFrame(pl.from_arrow(table)))


def test_batches_that_are_not_what_the_footer_says_are_not_read() -> None:
    content = file_of(pl.DataFrame({"a": [1.5, 2.5]}))
    at = content.rindex(b"\xff\xff\xff\xff", 0, content.rindex(b"\xff\xff\xff\xff"))
    assert frame_of(content) is not None
    assert frame_of(content[: at + 4] + b"\xff" + content[at + 5 :]) is None


def test_what_polars_cannot_unpack_is_left_to_the_other_way_which_tells_of_it() -> None:
    written = BytesIO()
    pl.DataFrame({"a": [1.5] * 100}).write_ipc(written, compression="zstd")
    content = bytearray(written.getvalue())
    (block,) = arrow_footer(bytes(content)).vector(3, 24, len(content))
    at = int.from_bytes(content[block : block + 8], "little")
    codec = Fields(bytes(content), at + 8).table(2).table(3).place(0)
    assert codec is not None
    content[codec] = 0  # LZ4, which it is not
    assert frame_of(bytes(content)) is None
    with pytest.raises(InvalidDataset, match="the file is damaged"):
        list(BinarySource(bytes(content), "arrow", ReadingOptions()).frames())


def test_a_mutated_file_in_memory_is_read_or_refused_but_nothing_else_happens() -> None:
    written, outcomes = BytesIO(), []
    frame = pl.concat([MIXED.with_columns(number=pl.lit(1.5), day=pl.lit(date(2020, 2, 29)))] * 40)
    frame.write_ipc(written, compression="zstd", record_batch_size=100)
    for content in (written.getvalue(), file_of(frame)):
        for seed in range(150):
            try:
                source = BinarySource(mutated(content, seed), "arrow", ReadingOptions())
                assert sum(len(part) for part in source.frames()) == source.n_samples
                outcomes.append("read")
            except (InvalidDataset, DatasetTooLarge):
                outcomes.append("refused")
    assert outcomes.count("read") > 5
    assert outcomes.count("refused") > 50
