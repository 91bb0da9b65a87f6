import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.copies import Copies
from service.data.arrays import Answers, read_arrays, write_arrays
from service.dataset import Schema
from service.encoding import ColumnEncoding
from service.errors import StorageFull

ENCODING = (ColumnEncoding("kind", "category", ("ä", "b"), has_indicator=True),)
SCHEMA = Schema(("kind=ä", "kind=b", "kind is missing"), ("y",), ("no", "yes"), ENCODING)


def write(place: Path, given: Answers, features: Iterator[Any]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    write_arrays(Copies(place.parent.parent, 10**6, 0), place, 3, given, features)


def answers(n_samples: int, dtype: Any = np.float32) -> Answers:
    return Answers(np.ones((n_samples, 1), dtype), np.arange(n_samples, dtype=dtype), np.zeros(n_samples, np.int8))


def parts(n_samples: int, dtype: Any = np.float32) -> Iterator[Any]:
    features = np.arange(3 * n_samples, dtype=dtype).reshape(-1, 3)
    yield from (features[first : first + 4] for first in range(0, n_samples, 4))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_written_in_parts_is_mapped_as_a_whole(tmp_path: Path, dtype: Any) -> None:
    place = tmp_path / "encoded" / "key"
    write(place, answers(10, dtype), parts(10, dtype))
    found = read_arrays(place, SCHEMA)
    assert found.schema == SCHEMA
    assert found.features.tobytes() == np.arange(30, dtype=dtype).tobytes()
    assert found.sample_weight is not None
    assert found.sample_weight.tolist() == list(range(10))
    assert found.part_sizes == (10, 0, 0)
    for array in (found.features, found.targets, found.sample_weight):
        assert array.dtype == dtype
        assert not array.flags.writeable
        assert not array.flags.owndata
    assert [file.name for file in (tmp_path / "encoded").iterdir()] == ["key"]
    np.testing.assert_array_equal(np.load(place / "features.npy"), found.features)


def test_what_is_not_known_of_the_samples_is_not_written(tmp_path: Path) -> None:
    write(tmp_path / "a" / "key", Answers(np.ones((4, 1)), None, None), parts(4))
    found = read_arrays(tmp_path / "a" / "key", SCHEMA)
    assert (found.sample_weight, found.parts) == (None, None)


def test_a_writing_that_fails_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Iterator[Any]:
        yield next(parts(10))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write(tmp_path / "encoded" / "key", answers(10), broken())
    assert list((tmp_path / "encoded").iterdir()) == []


def test_what_a_writer_that_died_has_left_is_written_over(tmp_path: Path) -> None:
    place = tmp_path / "encoded" / "key"
    left = tmp_path / "encoded" / "key.part"
    left.mkdir(parents=True)
    (left / "sample_weight.npy").write_text("half of it")
    write(place, Answers(np.ones((10, 1), np.float32), None, None), parts(10))
    assert read_arrays(place, SCHEMA).sample_weight is None
    assert [file.name for file in place.parent.iterdir()] == ["key"]


def test_what_is_gone_is_not_taken_for_something_without_weights(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "key", SCHEMA)


def test_a_disk_without_space_is_told_of_and_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, offset: int, n_bytes: int) -> None:
        assert os.fstat(descriptor).st_size == offset
        assert n_bytes == 120
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StorageFull, match="no space for the dataset's encoded features: delete datasets"):
        write(tmp_path / "encoded" / "key", answers(10), parts(10))
    assert list((tmp_path / "encoded").iterdir()) == []
