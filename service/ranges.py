"""What training saw of each feature: from where to where, and the mean; kept with the model for its predictions."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.dataset import Schema, Table
from service.encoding import ColumnEncoding
from service.room import rows_at_once, slices_of

_Array = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class FeatureRanges:
    """Lowest, highest and mean value of each feature among the training samples, (n_features,), all float64.

    `known` names the columns of categories of which every training sample had one that is a feature.
    """

    lowest: _Array
    highest: _Array
    mean: _Array
    known: frozenset[str] = frozenset()

    def to_json(self) -> dict[str, Any]:
        """Give the ranges as JSON values."""
        columns = {name: getattr(self, name).tolist() for name in ("lowest", "highest", "mean")}
        return {**columns, "known": sorted(self.known)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "FeatureRanges":
        """Read what `to_json` gave, to the last bit, also after a journey through JSON."""
        columns = {name: np.array(content[name], dtype=np.float64) for name in ("lowest", "highest", "mean")}
        return cls(**columns, known=frozenset(content["known"]))


@dataclass(frozen=True)
class Unfamiliar:
    """A feature whose values are beyond what training saw.

    `sample` is the number of the one that is furthest beyond, `value` what the feature is there, and `n_samples` counts
    those beyond. `lowest` and `highest` are None where it is a category, or its absence, that training did not see.
    """

    feature: str
    sample: int
    value: float | str | None
    n_samples: int
    lowest: float | None = None
    highest: float | None = None

    @property
    def distance(self) -> float:
        """How far the value is beyond."""
        if self.lowest is None or self.highest is None or not isinstance(self.value, float):
            return 0.0
        return max(self.lowest - self.value, self.value - self.highest)

    @property
    def detail(self) -> str:
        """Tell it in a sentence."""
        if self.lowest is not None and self.highest is not None:
            seen = f"from {self.lowest:g} to {self.highest:g}"
            if self.lowest == self.highest:
                seen = f"always {self.lowest:g}"
            what = f"feature {self.feature!r} is {self.value:g} in sample {self.sample}; in training it was {seen}"
        elif self.value is None:
            what = (
                f"feature {self.feature!r} is in sample {self.sample} what no training sample has: missing or unknown"
            )
        else:
            what = f"feature {self.feature!r} is {self.value!r} in sample {self.sample}, as in no training sample"
        return f"{what} ({self.n_samples} such samples)" if self.n_samples > 1 else what


def learn_ranges(features: Table, rows: Rows | None, schema: Schema) -> FeatureRanges:
    """Learn from the training samples what they have been like, in one pass over them.

    Args:
        features: finite, (n_samples, n_features), float32 or float64.
        rows: which samples are for training, at least one; all when None.
        schema: of the features.
    """
    n_rows, n_features = len(features) if rows is None else len(rows), features.shape[1]
    lowest, highest, mean = np.full(n_features, np.inf), np.full(n_features, -np.inf), np.zeros(n_features)
    known = {column.column: slice_ for column, slice_ in _columns(schema) if column.kind == "category"}
    for some in slices_of(n_rows, rows_at_once(n_features)):
        part = features[some if rows is None else rows[some]]
        lowest, highest = np.minimum(lowest, part.min(axis=0)), np.maximum(highest, part.max(axis=0))
        mean += (part.astype(np.float64) / n_rows).sum(axis=0)  # the sum of the numbers themselves might overflow
        known = {name: its for name, its in known.items() if part[:, its].any(axis=1).all()}
    if features.dtype == np.float32:  # the numbers were rounded to it
        lowest = np.nextafter(lowest.astype(np.float32), np.float32(-np.inf)).astype(np.float64)
        highest = np.nextafter(highest.astype(np.float32), np.float32(np.inf)).astype(np.float64)
    return FeatureRanges(lowest, highest, mean, frozenset(known))


def unfamiliar(ranges: FeatureRanges, schema: Schema, features: _Array) -> list[Unfamiliar]:
    """Tell of each feature that is beyond what training saw in some of these samples, (n, n_features)."""
    features = np.asfortranarray(features)  # column by column, each with its bounds, it takes a fifth of the time
    is_beyond = (features < ranges.lowest) | (features > ranges.highest)
    found = list(_beyond(ranges, schema, features, is_beyond)) if is_beyond.any() else []
    for column, its in _columns(schema) if ranges.known else ():
        if column.column in ranges.known:
            samples = np.flatnonzero(~features[:, its].any(axis=1))
            if len(samples):
                found.append(Unfamiliar(column.column, int(samples[0]), None, len(samples)))
    return found


def joined(known: list[Unfamiliar], more: list[Unfamiliar], first: int) -> list[Unfamiliar]:
    """Join what is told of some samples with what is told of later ones, the first of which has a number."""
    found = {(one.feature, one.lowest is None and one.value): one for one in known}
    for one in more:
        key = one.feature, one.lowest is None and one.value
        later = replace(one, sample=first + one.sample)
        before = found.get(key, later)
        n_samples = one.n_samples + (before.n_samples if key in found else 0)
        found[key] = replace(later if later.distance > before.distance else before, n_samples=n_samples)
    return list(found.values())


def _columns(schema: Schema) -> Iterator[tuple[ColumnEncoding, slice]]:
    """Tell which features each encoded column became."""
    first = 0
    for column in schema.encoding or ():
        last = first + len(column.feature_names)
        yield column, slice(first, last)
        first = last


def _beyond(
    ranges: FeatureRanges, schema: Schema, features: _Array, is_beyond: NDArray[np.bool_]
) -> Iterator[Unfamiliar]:
    encoded = {
        its.start + place: (column, place) for column, its in _columns(schema) for place in range(its.stop - its.start)
    }
    for number in np.flatnonzero(is_beyond.any(axis=0)).tolist():
        values, lowest, highest = features[:, number], ranges.lowest[number], ranges.highest[number]
        sample = int(np.argmax(np.where(is_beyond[:, number], np.maximum(lowest - values, values - highest), -np.inf)))
        n_samples, value = int(is_beyond[:, number].sum()), float(values[sample])
        column, place = encoded.get(number, (None, 0))
        name = schema.feature_names[number]
        is_indicator = column is not None and column.has_indicator and place == len(column.feature_names) - 1
        if column is not None and (column.kind == "category" or is_indicator):
            if value:  # where a category is absent, another one, or none, is there instead
                category = None if is_indicator else column.categories[place]
                yield Unfamiliar(column.column, sample, category, n_samples)
        else:
            yield Unfamiliar(name, sample, value, n_samples, float(lowest), float(highest))
