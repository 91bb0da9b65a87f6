"""Encoding: how the columns of a table become the features of a model, kept with the model for every prediction.

A number is itself, a boolean 0 or 1; a category becomes a feature `column=category` for each that is known, 1 where it
is this one and 0 elsewhere; a date becomes a feature `column.part` for each part that was asked for.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["number", "category", "boolean", "date", "text"]
"""What the values of a column are."""
DatePart = Literal["year", "month", "day", "weekday", "hour", "minute", "day_of_year", "timestamp"]
"""A number taken from a date: `weekday` is 1 for Monday, `timestamp` counts seconds since 1970 in UTC."""
UnseenPolicy = Literal["refuse", "ignore"]
"""What becomes of a category at a prediction that the training did not know: an error, or 0 for all that are known."""


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    kind: Kind


@dataclass(frozen=True)
class ColumnEncoding:
    """How one column becomes features.

    `categories` are texts, in order, for a category only; `parts` for a date only. `fill` stands for a missing value: a
    number (0 or 1 for a boolean), a category, a date as ISO 8601 writes it, or None where missing values are refused
    (or, for a category with an indicator, where no category is meant). With `has_indicator` one more feature,
    `column is missing`, is 1 where the value is missing.
    """

    column: str
    kind: Kind
    categories: tuple[str, ...] = ()
    parts: tuple[DatePart, ...] = ()
    fill: float | str | None = None
    has_indicator: bool = False
    unseen: UnseenPolicy = "refuse"

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The features that the column becomes, in order."""
        if self.kind == "category":
            names = tuple(f"{self.column}={category}" for category in self.categories)
        elif self.kind == "date":
            names = tuple(f"{self.column}.{part}" for part in self.parts)
        else:
            names = (self.column,)
        return (*names, f"{self.column} is missing") if self.has_indicator else names

    @property
    def takes_missing(self) -> bool:
        """Whether a value may be missing."""
        return self.fill is not None or self.has_indicator


Encoding = tuple[ColumnEncoding, ...]
"""That of each column, in the order of the features."""


def is_plain(encoding: Encoding) -> bool:
    """Tell whether the columns are the features as they stand: numbers, none of which may be missing."""
    return all(column.kind == "number" and not column.takes_missing for column in encoding)


def feature_names(encoding: Encoding) -> tuple[str, ...]:
    """Name all features, in order."""
    return tuple(name for column in encoding for name in column.feature_names)


def encoding_as_json(encoding: Encoding) -> list[dict[str, Any]]:
    """Give the encoding as JSON values."""
    return [asdict(column) for column in encoding]


def encoding_from_json(content: Sequence[dict[str, Any]]) -> Encoding:
    """Read what `encoding_as_json` gave, also after a journey through JSON."""
    return tuple(
        ColumnEncoding(**{**column, "categories": tuple(column["categories"]), "parts": tuple(column["parts"])})
        for column in content
    )
