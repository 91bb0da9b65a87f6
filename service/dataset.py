"""Dataset: features and targets together, immutable, known by its content hash."""

import hashlib
import json
import mmap
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError

from service.encoding import Encoding, encoding_as_json, encoding_from_json
from service.errors import MAX_FAULTS, Fault, InvalidDataset, counted
from service.room import slices_of

Table = NDArray[np.floating]
"""Numbers of shape (n_samples, n_columns), float32 or float64."""

CHECKED_AT_ONCE = 2**20

Parts = NDArray[np.int8]
"""What each sample is for, (n_samples,): one of the following."""
TRAIN, VALIDATION, TEST = range(3)

Label = str | int | float | bool
"""A class as the user gave it: any JSON scalar but null."""


def default_names(prefix: str, count: int) -> tuple[str, ...]:
    """Name columns that came without names: `x` for a single one, `x1, x2 …` for several."""
    return (prefix,) if count == 1 else tuple(f"{prefix}{number}" for number in range(1, count + 1))


def id_of_content(sha256: str) -> str:
    """Give the id of the dataset that a SHA-256, in hexadecimal, tells from all others."""
    return f"ds_{sha256[:32]}"


def is_unicode(text: str) -> bool:
    """Tell whether a text can be written; JSON may smuggle in half a character, such as an escaped surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True)
class Schema:
    """What the columns mean: their names in order, and for classification the label behind each class code.

    `encoding` tells how features come from the columns of a table; None where they are the columns, all of numbers.
    """

    feature_names: tuple[str, ...]
    target_names: tuple[str, ...]
    classes: tuple[Label, ...] | None = None
    encoding: Encoding | None = None

    @property
    def input_names(self) -> tuple[str, ...]:
        """What a prediction takes: the columns that the features come from."""
        return self.feature_names if self.encoding is None else tuple(column.column for column in self.encoding)

    def to_json(self) -> dict[str, Any]:
        """Give the schema as JSON values."""
        content: dict[str, Any] = {
            "feature_names": list(self.feature_names),
            "target_names": list(self.target_names),
            "classes": None if self.classes is None else list(self.classes),
        }
        return content if self.encoding is None else {**content, "encoding": encoding_as_json(self.encoding)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Schema":
        """Read what `to_json` gave, also after a journey through JSON."""
        classes, encoding = content["classes"], content.get("encoding")
        return cls(
            tuple(content["feature_names"]),
            tuple(content["target_names"]),
            None if classes is None else tuple(classes),
            None if encoding is None else encoding_from_json(encoding),
        )


PartSizes = tuple[int, int, int]
"""How many samples are for training, validation and test."""


def sizes_of(parts: Parts) -> PartSizes:
    """Count the samples of each part."""
    n_train, n_validation, n_test = (int(np.count_nonzero(parts == part)) for part in (TRAIN, VALIDATION, TEST))
    return n_train, n_validation, n_test


@dataclass(frozen=True)
class Outline:
    """What is known of a dataset before its numbers are read; enough to plan a training.

    `part_sizes` are those of a split that came with it, or None. `in_files` tells whether its numbers will be read from
    files that are mapped into memory, which take none of it.
    """

    n_samples: int
    schema: Schema
    part_sizes: PartSizes | None = None
    in_files: bool = False

    @property
    def n_features(self) -> int:
        """Features of a sample."""
        return len(self.schema.feature_names)

    @property
    def n_targets(self) -> int:
        """Targets of a sample."""
        return len(self.schema.target_names)


class Dataset:
    """Features of shape (n_samples, n_features) and targets of shape (n_samples, n_targets), float32 or float64.

    For classification the targets are class codes, 0, 1 …, positions in `schema.classes`.

    Args:
        features: numbers of shape (n_samples, n_features), or (n_samples,) for a single feature.
        targets: numbers of shape (n_samples, n_targets), or (n_samples,) for a single target.
        schema: names and classes; made up from the shapes when left out.
        sample_weight: how much each sample counts, (n_samples,), at least 0; all alike when left out.
        parts: what each sample is for, (n_samples,): 0 training, 1 validation, 2 test; drawn when left out.

    Arrays of float32 or float64 are not copied, for they may be large: leave them as they are. Anything else becomes
    float64.

    Raises:
        InvalidDataset: when there is nothing, the lengths differ, names do not fit, or a number is not finite.
    """

    def __init__(
        self,
        features: ArrayLike,
        targets: ArrayLike,
        schema: Schema | None = None,
        sample_weight: ArrayLike | None = None,
        parts: Parts | None = None,
    ) -> None:
        self.features = _columns(features, "features")
        self.targets = _columns(targets, "targets")
        self.sample_weight = None if sample_weight is None else _column(sample_weight, "sample_weight")
        self.parts = None if parts is None else parts.view(np.ndarray)
        self.n_samples: int = self.features.shape[0]
        self.n_features: int = self.features.shape[1]
        self.n_targets: int = self.targets.shape[1]
        self.schema = schema or Schema(default_names("x", self.n_features), default_names("y", self.n_targets))
        faults = list(self._faults())
        if faults:
            raise InvalidDataset(faults)

    @property
    def in_files(self) -> bool:
        """Whether the features lie in a file that is mapped into memory, and so take none of it."""
        memory: object = self.features
        while isinstance(memory, np.ndarray):
            memory = memory.base
        return isinstance(memory, mmap.mmap)

    def _faults(self) -> list[Fault]:
        if self.n_samples == 0:
            return [Fault("/features", "the dataset is empty: give at least one sample")]
        if self.n_features == 0:
            return [Fault("/features", "the samples have no features: give at least one number per sample")]
        if len(self.targets) != self.n_samples:
            counts = f"{counted(len(self.targets), 'target')} for {counted(self.n_samples, 'sample')}"
            return [Fault("/targets", f"{counts}: give exactly one target per row of features")]
        if self.sample_weight is not None and len(self.sample_weight) != self.n_samples:
            counts = f"{counted(len(self.sample_weight), 'sample weight')} for {counted(self.n_samples, 'sample')}"
            return [Fault("/sample_weight", f"{counts}: give exactly one per row of features")]
        faults = []
        for name, table in (("features", self.features), ("targets", self.targets)):
            for row, column in _not_finite(table):
                faults.append(Fault(f"/{name}/{row}/{column}", f"{name} must be finite, not {table[row, column]}"))
        return faults + self._weight_faults() + self._part_faults() + self._schema_faults()

    def _weight_faults(self) -> list[Fault]:
        weights = self.sample_weight
        if weights is None:
            return []
        wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))[:MAX_FAULTS]
        if not len(wrong) and not weights.any():
            return [Fault("/sample_weight", "all sample weights are 0: at least one sample must count")]
        said = "a sample weight must be finite and at least 0"
        return [Fault(f"/sample_weight/{row}", f"{said}, not {weights[row]}") for row in wrong]

    def _part_faults(self) -> list[Fault]:
        if self.parts is None or self.part_sizes is None:
            return []
        if self.parts.shape != (self.n_samples,):
            counts = f"parts of shape {self.parts.shape} for {self.n_samples} samples"
            return [Fault("/split", f"{counts}: give exactly one per row of features")]
        if sum(self.part_sizes) != self.n_samples:
            return [Fault("/split", "a sample is for training, validation or test: its part must be 0, 1 or 2")]
        return [] if self.part_sizes[TRAIN] else [Fault("/split", "no sample is for training: at least one must be")]

    def _schema_faults(self) -> list[Fault]:
        faults = []
        names, classes = self.schema.feature_names, self.schema.classes
        if classes is not None and not _are_codes(self.targets, len(classes)):
            codes = f"0 to {len(classes) - 1}, positions in the classes"
            faults.append(Fault("/targets", f"the targets of a classification must be class codes, {codes}"))
        if len(names) != self.n_features:
            counts = f"{counted(len(names), 'feature name')} for {counted(self.n_features, 'feature')}"
            faults.append(Fault("/feature_names", f"{counts}: give one for each"))
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        said = "stands twice among the feature names: names must differ"
        faults += [Fault("/feature_names", f"{name!r} {said}") for name in twice]
        broken = [name for name in (*names, *self.schema.target_names) if not is_unicode(name)]
        return faults + [Fault("/feature_names", f"the name {name!r} is not valid Unicode") for name in broken]

    @cached_property
    def part_sizes(self) -> PartSizes | None:
        """How many samples are for training, validation and test, where the dataset says."""
        return None if self.parts is None else sizes_of(self.parts)

    @cached_property
    def content(self) -> bytes:
        """The dataset as bytes: safetensors with the schema in its metadata. The same dataset gives the same bytes."""
        # One metadata key only: safetensors writes several in no certain order.
        metadata = {"schema": json.dumps(self.schema.to_json(), ensure_ascii=False)}
        tensors: dict[str, NDArray[Any]] = {"features": self.features, "targets": self.targets}
        if self.sample_weight is not None:
            tensors["sample_weight"] = np.ascontiguousarray(self.sample_weight)
        if self.parts is not None:
            tensors["parts"] = self.parts
        return bytes(safetensors.numpy.save(tensors, metadata))

    @cached_property
    def sha256(self) -> str:
        """The identity: the SHA-256 of `content`, in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()

    @classmethod
    def from_content(cls, content: bytes) -> "Dataset":
        """Read what `content` gave; raises InvalidDataset when it is damaged."""
        length = int.from_bytes(content[:8], "little")
        try:
            schema = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["schema"])
            tensors = safetensors.numpy.load(content)
        except (ValueError, KeyError, SafetensorError):
            raise InvalidDataset([Fault("", "the dataset that is kept is damaged: send it again")]) from None
        features, targets, names = tensors["features"], tensors["targets"], Schema.from_json(schema)
        return cls(features, targets, names, tensors.get("sample_weight"), tensors.get("parts"))


def _columns(table: ArrayLike, name: str) -> Table:
    if isinstance(table, np.ndarray) and table.dtype in (np.float32, np.float64) and table.flags.c_contiguous:
        array = table.view(np.ndarray)  # for a memory map is slow to slice
    else:
        try:
            array = np.array(table, dtype=np.float64, order="C")
        except (TypeError, ValueError):
            raise InvalidDataset([Fault(f"/{name}", f"the {name} must be rows of numbers, all equally long")]) from None
    if array.ndim not in (1, 2):
        raise InvalidDataset([Fault(f"/{name}", f"the {name} must be rows of numbers, not of shape {array.shape}")])
    array = array.reshape(-1, 1) if array.ndim == 1 else array
    array.flags.writeable = False
    return array


def _column(numbers: ArrayLike, name: str) -> Table:
    table = _columns(numbers, name)
    if table.shape[1] != 1:
        raise InvalidDataset([Fault(f"/{name}", f"the {name} must be one number for each sample, not rows of them")])
    return table[:, 0]


def _are_codes(targets: Table, n_classes: int) -> bool:
    """Tell whether all are whole numbers from 0 to n_classes - 1, a part of them at a time."""
    for part in slices_of(len(targets)):
        codes = targets[part]
        if not ((codes >= 0) & (codes < n_classes) & (codes == np.floor(codes))).all():
            return False
    return True


def _not_finite(table: Table) -> list[tuple[int, int]]:
    """Find the first numbers that are not finite, a part of the table at a time: a mask of all of it would be large."""
    found: list[tuple[int, int]] = []
    for some in slices_of(len(table), max(1, CHECKED_AT_ONCE // max(1, table.shape[1]))):
        part = np.isfinite(table[some])
        if not part.all():
            found += [(some.start + int(row), int(column)) for row, column in np.argwhere(~part)]
        if len(found) >= MAX_FAULTS:
            break
    return found[:MAX_FAULTS]
