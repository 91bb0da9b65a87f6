"""Statistics of the columns of a table, gathered part by part in memory that does not grow with it."""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from service.data.kinds import date_text
from service.encoding import Column

EXACT_UP_TO = 2**18
"""With up to so many samples quantiles and counts of different values are exact …"""
KEPT_VALUES = 2**23
"""… or fewer where a table is wide: so many values and as many hashes are kept, but at least `FEWEST_KEPT` a column."""
FEWEST_KEPT = 2**10
KEPT_HASHES = 2**14
"""Beyond, up to so many different values are counted exactly, and more within a hundredth or so."""
KEPT_SAMPLES = 2**15
"""Beyond, quantiles are those of at least half so many samples, evenly spaced."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
TOP_VALUES = 10
LONGEST_SHOWN = 100
COUNTED_BYTES = 2**28
"""So many bytes of texts are counted at once, in all columns."""
HASHES = 2.0**64


class Statistics:
    """Statistics of each column, over parts given in order.

    Args:
        columns: all columns of the table, in their order.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.n_samples = 0
        room = max(FEWEST_KEPT, min(EXACT_UP_TO, KEPT_VALUES // max(1, len(columns))))
        counted_bytes = COUNTED_BYTES // max(1, len(columns))
        self._columns = columns
        self._distinct = {column.name: _Distinct(room) for column in columns}
        self._moments = {column.name: _Moments() for column in columns if column.kind == "number"}
        self._ranges = {column.name: _Range() for column in columns if column.kind in ("number", "date")}
        self._counts = {column.name: _Counts(counted_bytes) for column in columns if column.name not in self._ranges}
        self._sample = _Sample([*self._moments], room)
        self._n_missing = dict.fromkeys(self._distinct, 0)

    def add(self, frame: pl.DataFrame) -> None:
        """Take in the next part, its columns in their canonical types (see `canonical`)."""
        if not len(frame):
            return
        self.n_samples += len(frame)
        for name in self._n_missing:
            self._n_missing[name] += frame[name].null_count()
        for name, moments in self._moments.items():
            moments.add(frame[name])
        extremes = frame.select(self._ranges.keys())
        found = zip(extremes.min().row(0), extremes.max().row(0), strict=True)
        for (name, values), (least, greatest) in zip(self._ranges.items(), found, strict=True):
            values.add(least, greatest)
            self._distinct[name].add(frame[name])
        for name, counts in self._counts.items():
            self._distinct[name].add(counts.add(frame[name]))
        self._sample.add(frame)

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Give the statistics of each column by name, as JSON values; what is not finite is None.

        Of every column: `count` of values, `missing`, `distinct`. Of numbers: `mean`, `standard_deviation` (of the
        values themselves: the squares are divided by their number), `min`, `max`, `quantiles` (linear between values).
        Of dates: `min`, `max`. Of others: `top`, the most frequent values and their counts. `estimated` names those
        that are not exact.
        """
        return {column.name: self._of_column(column.name) for column in self._columns}

    def _of_column(self, name: str) -> dict[str, Any]:
        distinct, n_missing = self._distinct[name], self._n_missing[name]
        statistics: dict[str, Any] = {
            "count": self.n_samples - n_missing,
            "missing": n_missing,
            "distinct": distinct.estimate(),
        }
        estimated = ["distinct"] if distinct.is_estimated else []
        if name in self._moments:
            statistics |= self._moments[name].to_json()
            statistics["quantiles"] = self._sample.quantiles(name)
            estimated += ["quantiles"] if self._sample.stride > 1 else []
        if name in self._ranges:
            statistics |= self._ranges[name].to_json()
        if name in self._counts:
            statistics["top"] = self._counts[name].top()
            estimated += ["top"] if self._counts[name].has_forgotten else []
        return statistics | ({"estimated": estimated} if estimated else {})


class _Moments:
    """Mean and variance, merged part by part (Chan, Golub, LeVeque 1979).

    They are of the differences to an origin, a value near the first part's mean, so that a large offset does no harm.
    """

    def __init__(self) -> None:
        self.origin: float | None = None
        self.count = 0
        self.mean = 0.0
        self.squares = 0.0

    def add(self, values: pl.Series) -> None:
        """Merge those of some values."""
        count = len(values) - values.null_count()
        if not count:
            return
        numbers = values.cast(pl.Float64)
        if self.origin is None:
            self.origin = _finite(_float(numbers.mean())) or 0.0
        numbers -= self.origin
        mean, variance = _float(numbers.mean()), _float(numbers.var(ddof=0))
        total, difference = self.count + count, mean - self.mean
        self.squares += variance * count + difference * difference * (self.count / total) * count
        self.mean += difference * (count / total)
        self.count = total

    def to_json(self) -> dict[str, float | None]:
        if not self.count:
            return {"mean": None, "standard_deviation": None}
        mean, deviation = self.mean + (self.origin or 0.0), math.sqrt(self.squares / self.count)
        return {"mean": _finite(mean), "standard_deviation": _finite(deviation)}


class _Range:
    """The least and the greatest value."""

    def __init__(self) -> None:
        self.least: Any = None
        self.greatest: Any = None

    def add(self, least: Any, greatest: Any) -> None:
        if least is None:
            return
        self.least = least if self.least is None else min(self.least, least)
        self.greatest = greatest if self.greatest is None else max(self.greatest, greatest)

    def to_json(self) -> dict[str, Any]:
        return {"min": _shown(self.least), "max": _shown(self.greatest)}


class _Distinct:
    """How many different values there are: by the least hashes of them (Bar-Yossef et al. 2002).

    All hashes are kept at first; when they are too many, the different ones of those below a limit, which is halved
    until they are few. Exact as long as the limit is above all hashes.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.few = min(room, KEPT_HASHES)
        self.limit = 2**64 - 1
        self.is_estimated = False
        self.parts: list[pl.Series] = []
        self.n_kept = 0

    def add(self, values: pl.Series) -> None:
        hashes = (values.drop_nulls() if values.null_count() else values).hash()
        self.parts.append(hashes.filter(hashes < self.limit) if self.is_estimated else hashes)
        self.n_kept += len(self.parts[-1])
        if self.n_kept > self.room:
            self._thin()

    def _thin(self) -> None:
        kept = pl.concat(self.parts)
        # A look at a part of them saves sorting out all when they will be too many anyway.
        share = kept.filter(kept < self.limit // 16).unique()
        if len(share) > self.few // 8:
            self.is_estimated, self.limit, kept = True, self.limit // 16, share
        else:
            kept = kept.unique()
        while len(kept) > self.few:
            self.is_estimated, self.limit = True, self.limit // 2
            kept = kept.filter(kept < self.limit)
        self.parts, self.n_kept = [kept], len(kept)
        self.room = min(self.room, 4 * self.few)

    def estimate(self) -> int:
        n_different = pl.concat(self.parts).n_unique() if self.parts else 0
        return round(n_different * (HASHES / self.limit)) if self.is_estimated else n_different


class _Counts:
    """How often each value occurs; when they take too much room, the rare ones are forgotten."""

    def __init__(self, room_bytes: int) -> None:
        self.room_bytes = room_bytes
        self.has_forgotten = False
        self.counted: pl.DataFrame | None = None

    def add(self, values: pl.Series) -> pl.Series:
        """Count the values of a part, and give those that are different."""
        part = values.drop_nulls().rename("value").value_counts(name="n")
        self.counted = part if self.counted is None else _summed(pl.concat([self.counted, part]))
        if self.counted.estimated_size() > self.room_bytes:
            self.has_forgotten = True
            self.counted = self.counted.sort("n", descending=True).head(len(self.counted) // 2)
        return part["value"]

    def top(self) -> list[dict[str, Any]]:
        if self.counted is None:
            return []
        most = self.counted.sort("n", "value", descending=[True, False]).head(TOP_VALUES)
        return [{"value": _shown(value), "count": count} for value, count in most.iter_rows()]


def _summed(counted: pl.DataFrame) -> pl.DataFrame:
    return counted.group_by("value").agg(pl.col("n").sum())


class _Sample:
    """Every sample of some columns or, when they are many, an evenly spaced part of them: every `stride`-th."""

    def __init__(self, names: list[str], room: int) -> None:
        self.names = names
        self.room = room
        self.stride = 1
        self.parts: list[pl.DataFrame] = []
        self.n_kept = 0
        self.n_seen = 0

    def add(self, frame: pl.DataFrame) -> None:
        if not self.names:
            return
        part = frame.select(self.names)
        self.parts.append(part[-self.n_seen % self.stride :: self.stride] if self.stride > 1 else part)
        self.n_seen += len(frame)
        self.n_kept += len(self.parts[-1])
        if self.n_kept > self.room:
            # What is kept are the samples 0, stride, 2 stride …; every `step`-th of them is kept on.
            self.room = min(self.room, KEPT_SAMPLES)
            step = 2 ** math.ceil(math.log2(self.n_kept / self.room))
            self.parts = [pl.concat(self.parts)[::step]]
            self.stride, self.n_kept = step * self.stride, len(self.parts[0])

    def quantiles(self, name: str) -> dict[str, float | None]:
        values = pl.concat([part[name] for part in self.parts]).drop_nulls().to_numpy() if self.parts else np.array([])
        if not len(values):
            return dict.fromkeys(map(str, QUANTILES))
        with np.errstate(over="ignore", invalid="ignore"):
            found = np.quantile(values.astype(np.float64), QUANTILES)
        return {str(quantile): _finite(value) for quantile, value in zip(QUANTILES, found.tolist(), strict=True)}


def _float(value: Any) -> float:
    return float(value)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _shown(value: Any) -> Any:
    """Give a value as JSON: dates as texts with their zone, long texts cut."""
    if isinstance(value, float):
        return _finite(value)
    if isinstance(value, str) and len(value) > LONGEST_SHOWN:
        return f"{value[:LONGEST_SHOWN]}…"
    return date_text(value) if isinstance(value, datetime) else value
