"""Encoded datasets in files: NumPy's, written in parts and mapped into memory, so that they may be larger than it."""

import errno
import math
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.copies import PART, Copies
from service.dataset import Dataset, Parts, Schema
from service.dataset import Table as Numbers
from service.errors import StorageFull

FEATURES = "features.npy"


@dataclass(frozen=True)
class Answers:
    """What is known of the samples beside their features: targets, weights, and what each is for; see `Dataset`."""

    targets: Numbers
    sample_weight: NDArray[np.floating] | None
    parts: Parts | None


def write_arrays(copies: Copies, place: Path, n_features: int, answers: Answers, features: Iterable[Numbers]) -> None:
    """Write an encoded dataset into a new folder, which is there when all of it is, or not at all.

    Args:
        copies: makes room for it.
        place: the folder to be, held by the caller.
        n_features: of each sample.
        answers: their dtype is that of the features.
        features: parts of the rows, in order, each of shape (n_rows, n_features).

    Raises:
        StorageFull: when there is no space for it.
    """
    folder = place.with_suffix(PART)
    shutil.rmtree(folder, ignore_errors=True)  # what is there was left by a process that died
    arrays = {name: array for name, array in vars(answers).items() if array is not None}
    shape, dtype = (len(answers.targets), n_features), answers.targets.dtype
    n_bytes = math.prod(shape) * dtype.itemsize + sum(array.nbytes for array in arrays.values())
    try:
        with copies.room(n_bytes):
            folder.mkdir()
            for name, array in arrays.items():
                np.save(folder / f"{name}.npy", array)
            start = _allocate(folder / FEATURES, shape, dtype)
        with (folder / FEATURES).open("r+b") as file:
            file.seek(start)
            for part in features:
                file.write(np.ascontiguousarray(part, dtype).data)
        folder.rename(place)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            detail = "the disk has no space for the dataset's encoded features"
            raise StorageFull(f"{detail}: delete datasets with DELETE /datasets/ID, or choose fewer features") from None
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_arrays(place: Path, schema: Schema) -> Dataset:
    """Map an encoded dataset into memory, read-only.

    Raises:
        FileNotFoundError: when it is not there, or no longer.
    """
    arrays: dict[str, NDArray[Any]] = {file.stem: np.load(file, mmap_mode="r") for file in place.iterdir()}
    features, targets = arrays["features"], arrays["targets"]
    return Dataset(features, targets, schema, arrays.get("sample_weight"), arrays.get("parts"))


def _allocate(path: Path, shape: tuple[int, int], dtype: np.dtype[Any]) -> int:
    """Begin the file of the features, and take the space for all of it; tell where they start."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        file.flush()
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), start, math.prod(shape) * dtype.itemsize)
    return start
