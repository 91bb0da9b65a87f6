import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from service.room import Content, Spool, mapped, opened, room_for, rows_at_once, rows_of, slices_of


def test_a_small_array_is_in_memory_and_a_large_one_in_a_file_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    small, large = room_for((5, 3), np.float32), room_for((2**23, 9), np.float32)
    assert (small.shape, large.shape) == ((5, 3), (2**23, 9))
    assert small.dtype == large.dtype == np.float32
    assert type(large) is np.ndarray
    large[[0, -1]] = 7
    assert (large[0].tolist(), large[1].tolist(), large[-1].tolist()) == ([7] * 9, [0] * 9, [7] * 9)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="space cannot be reserved here")
def test_an_array_larger_than_the_disk_is_refused_before_it_is_written_to() -> None:
    with pytest.raises(OSError, match=r"space|large"):
        room_for((2**56,), np.float64)


@pytest.mark.parametrize("n_rows", [0, 1, 5, 6, 7])
def test_slices_cover_all_rows_once_in_order(n_rows: int) -> None:
    found = [row for part in slices_of(n_rows, 3) for row in range(part.start, part.stop)]
    assert found == list(range(n_rows))


def test_of_wide_rows_fewer_are_worked_on_at_a_time_and_at_least_one() -> None:
    assert rows_at_once(1) == rows_at_once(0) == 2**16
    assert rows_at_once(2**12) == 2**10
    assert rows_at_once(2**30) == 1


@pytest.mark.parametrize("rows", [None, np.array([3, 3, 0]), np.arange(100_000) % 7])
@pytest.mark.parametrize("shape", [(7,), (7, 2)])
def test_rows_are_copied_in_their_order_and_in_the_dtype_that_is_asked_for(
    rows: np.ndarray[tuple[int], np.dtype[np.int64]] | None, shape: tuple[int, ...]
) -> None:
    table = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    expected = table if rows is None else table[rows]
    found, wider = rows_of(table, rows), rows_of(table, rows, np.float64)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(wider, expected.astype(np.float64))
    assert found.dtype == np.float32
    assert wider.dtype == np.float64
    assert not np.shares_memory(found, table)


@pytest.mark.parametrize("pieces", [[], [b""], [b"abc"], [b"abc", b"de"], [b"abc", b"", b"def"], [b"abcdef"]])
def test_what_is_written_is_in_memory_while_it_is_little_and_else_in_a_file(
    tmp_path: Path, pieces: list[bytes]
) -> None:
    with Spool(lambda: tmp_path / "file", most_bytes=5) as spool:
        for number, piece in enumerate(pieces):
            spool.write(piece)
            assert read(spool.content) == b"".join(pieces[: number + 1])
    found = spool.content
    assert read(found) == b"".join(pieces)
    assert isinstance(found, bytes) == (len(b"".join(pieces)) <= 5) == (not (tmp_path / "file").exists())


def read(content: Content) -> bytes:
    with opened(content) as file, mapped(content) as found:
        whole = file.read()
        assert found[:] == whole
        return whole


def test_an_empty_file_has_no_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert read(tmp_path / "file") == b""
