"""Encoded datasets in files: NumPy's, written in parts and mapped into memory, so that they may be larger than it."""

import errno
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.dataset import Dataset, Parts, Schema
from service.dataset import Table as Numbers
from service.errors import StorageFull

SCHEMA = "schema.json"


@dataclass(frozen=True)
class Answers:
    """What is known of the samples beside their features: targets, weights, and what each is for; see `Dataset`."""

    targets: Numbers
    sample_weight: NDArray[np.floating] | None
    parts: Parts | None


def write_arrays(place: Path, schema: Schema, answers: Answers, features: Iterable[Numbers]) -> None:
    """Write an encoded dataset into a new folder, which is there when all of it is, or not at all.

    Args:
        place: the folder to be; when another process made it meanwhile, it stays as it is.
        schema: of the dataset.
        answers: their dtype is that of the features.
        features: parts of the rows, in order, each of shape (n_rows, n_features).

    Raises:
        StorageFull: when the disk has no space for it.
    """
    place.parent.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{place.name}-", dir=place.parent))
    try:
        (folder / SCHEMA).write_text(json.dumps(schema.to_json()))
        for name, array in vars(answers).items():
            if array is not None:
                np.save(folder / f"{name}.npy", array)
        shape = (len(answers.targets), len(schema.feature_names))
        _write_in_parts(folder / "features.npy", shape, answers.targets.dtype, features)
        folder.rename(place)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            detail = "the disk has no space for the dataset's encoded features"
            raise StorageFull(f"{detail}: delete datasets with DELETE /datasets/ID, or choose fewer features") from None
        if not place.is_dir():
            raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_arrays(place: Path) -> Dataset:
    """Map an encoded dataset into memory, read-only."""
    schema = Schema.from_json(json.loads((place / SCHEMA).read_text()))
    names = ("features", "targets", "sample_weight", "parts")
    features, targets, sample_weight, parts = (_mapped(place / f"{name}.npy") for name in names)
    assert features is not None
    assert targets is not None
    return Dataset(features, targets, schema, sample_weight, parts)


def _mapped(path: Path) -> NDArray[Any] | None:
    if not path.exists():
        return None
    array: NDArray[Any] = np.load(path, mmap_mode="r")
    return array


def _write_in_parts(path: Path, shape: tuple[int, int], dtype: np.dtype[Any], parts: Iterable[Numbers]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.flush()
        if hasattr(os, "posix_fallocate"):  # so that a full disk is known of before the work is done
            os.posix_fallocate(file.fileno(), file.tell(), math.prod(shape) * dtype.itemsize)
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype).data)
