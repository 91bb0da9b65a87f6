"""What a column of texts is, told from its values, and the texts as values of that kind.

A number is written as in Python or JSON: `-1.5e3`, `.5`, `+7`, without separators of thousands; a column in which one
has leading zeros, as `007`, is none of numbers, for those are codes. A boolean is `true` or `false` in any case, a date
an ISO 8601 date or date-time of the years 1 to 9999, in UTC where it names no zone. A cell of nothing but spaces and
tabs is empty. A column is what more than half of its values are; the others are faults then, for one of them in a
thousand would else make a column of numbers one of words in silence.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote

import polars as pl

from service.encoding import Kind

BLANKS = " \t"
MAX_CATEGORIES = 1000
MIN_SAMPLES_OF_TEXT = 20
MAX_CATEGORY_CHARACTERS = 100
MAX_ROWS_AT_ONCE = 2**12
FIRST_YEAR, LAST_YEAR = 1, 9999

_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
_INTEGER = r"^[+-]?[0-9]+$"
_LEADING_ZERO = r"^[+-]?0[0-9]"
_NAN = r"^(?i)[+-]?nan$"
_INFINITY = r"^(?i)[+-]?inf(?:inity)?$"
_OTHERWISE = r"^[+-]?(?:(?:[0-9]+|[0-9]{1,3}(?:\.[0-9]{3})+),[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?)$"
_SWAPPED = str.maketrans(".,", ",.")
_BOOLEAN = r"^(?i)(?:true|false)$"
_TIME = r"[0-2][0-9]:[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)?"
_WRITTEN = {
    "boolean": "write true or false",
    "date": f"write it as 2024-05-31 or 2024-05-31T12:30:00Z, in the years {FIRST_YEAR} to {LAST_YEAR}",
}
_DATE = rf"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}(?:[T ]{_TIME})?$"


@dataclass
class Tally:
    """What has been seen of a column's texts, from which its kind follows.

    `n_values` counts what is not missing, the NaN of numbers (`n_nan`) among it. `distinct` holds up to 1,001 different
    ones, none when one is long, for then they do not count. `decimal` is the mark of decimals, a point or a comma;
    `n_otherwise` counts numbers with the other of these for decimals or between thousands, and `otherwise` is the least
    text of these.
    """

    decimal: str = "."
    n_values: int = 0
    n_nan: int = 0
    n_numbers: int = 0
    n_integers: int = 0
    n_codes: int = 0
    n_booleans: int = 0
    n_dates: int = 0
    n_otherwise: int = 0
    otherwise: str | None = None
    is_long: bool = False
    distinct: set[str] = field(default_factory=set)

    @property
    def kind(self) -> Kind:
        """What the column is; text when it has no value at all."""
        if not self.n_values:
            return "text"
        if 2 * self.n_numbers > self.n_values - self.n_nan and not self.n_codes:
            return "number"
        return "boolean" if 2 * self.n_booleans > self.n_values else self.kind_of_words

    @property
    def kind_of_words(self) -> Kind:
        """What the column is, given that it has neither numbers nor booleans."""
        if 2 * self.n_dates > self.n_values:
            return "date"
        many = self.n_values >= MIN_SAMPLES_OF_TEXT and 2 * len(self.distinct) > self.n_values
        return "text" if self.is_long or many or len(self.distinct) > MAX_CATEGORIES else "category"

    @property
    def is_misread(self) -> bool:
        """Whether the column would be one of numbers, and is none, if points and commas in them were read otherwise."""
        n_values = self.n_values - self.n_nan
        return self.otherwise is not None and 2 * self.n_numbers <= n_values < 2 * (self.n_numbers + self.n_otherwise)

    @property
    def needs_type(self) -> bool:
        """Whether the column is refused unless its type is said."""
        return self.is_misread

    @property
    def is_whole(self) -> bool:
        """Whether all numbers are integers of 64 bits."""
        return self.n_integers == self.n_numbers

    def add(self, cells: pl.Series) -> None:
        """Count cells: texts, or numbers that polars has read."""
        if cells.dtype != pl.String:
            n_values = len(cells) - cells.null_count()
            self.n_values += n_values
            self.n_numbers += n_values
            self.n_integers += n_values if cells.dtype.is_integer() else 0
            return
        texts, n = cells.alias("text").drop_nulls().to_frame(), pl.lit(1, pl.UInt32)
        if texts.is_empty():
            return
        if len(self.distinct) <= MAX_CATEGORIES and not self.is_long:
            # Values that come many times are looked at once.
            texts, n = texts["text"].value_counts(name="n"), pl.col("n")
        asked = _questions(pl.col("text"), self.decimal)
        others = {name: asked.pop(name) for name in ("is_long", "otherwise")}
        # Few texts look like dates, and to read them takes longer than all the rest.
        dates = texts.filter(pl.col("text").str.contains(_DATE)).select((asked.pop("n_dates") * n).sum())
        sums = {name: (answer * n).sum() for name, answer in asked.items()}
        self.answer({**texts.select(**others, **sums).row(0, named=True), "n_dates": dates.item()})
        if len(self.distinct) <= MAX_CATEGORIES and not self.is_long:
            self.answer({"distinct": texts["text"]})

    def answer(self, answers: Mapping[str, Any]) -> None:
        """Take the answers to the questions; whether one is long before which are different."""
        for name, answer in answers.items():
            if name == "is_long":
                self.is_long |= bool(answer)
                if self.is_long:
                    self.distinct.clear()
            elif name == "otherwise":
                self.otherwise = min(filter(None, (self.otherwise, answer)), default=None)
            elif name != "distinct":
                setattr(self, name, getattr(self, name) + answer)
            elif not self.is_long:
                self.distinct.update(answer[: MAX_CATEGORIES + 1])


def count(cells: pl.DataFrame, tallies: Sequence[Tally]) -> None:
    """Add cells to the tallies of their columns."""
    if len(cells) > MAX_ROWS_AT_ONCE:
        for column, tally in zip(cells, tallies, strict=True):
            tally.add(column)
        return
    # Of few rows, maybe of thousands of columns, all are looked at as one long column.
    by_name = dict(zip(cells.columns, tallies, strict=True))
    for column in cells.select(~pl.selectors.string()):
        by_name[column.name].add(column)
    long = cells.select(pl.selectors.string()).unpivot(variable_name="name", value_name="text").drop_nulls()
    if not len(long):
        return
    asked = _questions(pl.col("text"), tallies[0].decimal)
    others = {name: asked.pop(name) for name in ("is_long", "otherwise")}
    others["distinct"] = pl.when(~others["is_long"]).then(pl.col("text").unique().head(MAX_CATEGORIES + 1).implode())
    sums = {name: answer.sum() for name, answer in asked.items()}
    for answers in long.group_by("name").agg(**others, **sums).iter_rows(named=True):
        by_name[answers.pop("name")].answer(answers)


def _questions(text: pl.Expr, decimal: str) -> dict[str, pl.Expr]:
    """Give what is to be asked of texts, none of which is missing: of each, but whether any is long, and the least."""
    stripped = _as_number_text(text, decimal)
    is_number = stripped.str.contains(_NUMBER)
    is_otherwise = stripped.str.contains(_OTHERWISE)
    return {
        "n_values": text.is_not_null(),
        "n_nan": stripped.str.contains(_NAN),
        "n_numbers": is_number | stripped.str.contains(_INFINITY),
        "n_integers": stripped.str.contains(_INTEGER) & stripped.cast(pl.Int64, strict=False).is_not_null(),
        "n_codes": is_number & stripped.str.contains(_LEADING_ZERO),
        "n_booleans": text.str.contains(_BOOLEAN),
        "n_dates": as_dates(text).is_not_null(),
        "n_otherwise": is_otherwise,
        "is_long": ((text.str.len_chars() > MAX_CATEGORY_CHARACTERS) | text.str.contains(r"[\r\n]")).any(),
        "otherwise": text.str.strip_chars(BLANKS).filter(is_otherwise).min(),
    }


def without_missing(frame: pl.DataFrame, missing: Sequence[str]) -> pl.DataFrame:
    """Make null of the texts that stand for a missing value, and of empty ones."""
    is_missing = pl.col(pl.String).str.strip_chars(BLANKS) == ""
    if missing:
        is_missing |= pl.col(pl.String).is_in(list(missing))
    return frame.with_columns(pl.when(~is_missing).then(pl.col(pl.String)).name.keep())


def as_numbers(text: pl.Expr, decimal: str, *, whole: bool) -> pl.Expr:
    """Read numbers, as Int64 or Float64; null what is none, NaN what is a missing one; infinity stays."""
    stripped = _as_number_text(text, decimal)
    pattern = _INTEGER if whole else f"{_NUMBER}|{_INFINITY}"
    value = stripped.cast(pl.Int64 if whole else pl.Float64, strict=False)
    return pl.when(stripped.str.contains(pattern)).then(value)


def as_booleans(text: pl.Expr) -> pl.Expr:
    """Read `true` and `false`, in any case; null what is neither."""
    return pl.when(text.str.contains(_BOOLEAN)).then(text.str.to_lowercase() == "true")


def as_dates(text: pl.Expr) -> pl.Expr:
    """Read ISO 8601 dates and date-times of the years 1 to 9999, as UTC in microseconds; null what is none."""
    plain = pl.when(text.str.contains(_DATE)).then(text.str.replace(" ", "T", literal=True))
    local = [
        plain.str.to_datetime(form, strict=False, time_unit="us")
        for form in ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S%.f")
    ]
    zoned = [
        plain.str.to_datetime(f"{form}%#z", strict=False, time_unit="us", time_zone="UTC").dt.replace_time_zone(None)
        for form in ("%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S%.f")
    ]
    date = pl.coalesce(*local, *zoned)
    # polars knows other years, Python does not.
    return pl.when(date.is_between(datetime(FIRST_YEAR, 1, 1), datetime.max)).then(date)


def date_text(date: datetime) -> str:
    """Write a date that is in UTC, without a zone, as RFC 3339 has it; read by `as_dates` it is the same."""
    return f"{date.isoformat()}Z"


def cast(text: pl.Expr, dtype: pl.DataType, decimal: str) -> pl.Expr:
    """Give texts as values of the type that stands for a kind; null what is none of it."""
    if dtype in (pl.Int64, pl.Float64):
        return as_numbers(text, decimal, whole=dtype == pl.Int64)
    if dtype == pl.Boolean:
        return as_booleans(text)
    return as_dates(text) if dtype == pl.Datetime("us") else text


def is_fault(text: pl.Expr, value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Tell which texts, missing ones apart, are no values of the type."""
    if dtype == pl.String:
        return text.is_null() & pl.lit(value=False)
    wrong = text.is_not_null() & value.is_null()
    if dtype in (pl.Int64, pl.Float64):
        wrong &= ~text.str.strip_chars(BLANKS).str.contains(_NAN)
    return wrong | value.is_infinite() if dtype == pl.Float64 else wrong


def type_of(kind: Kind, *, whole: bool) -> pl.DataType:
    """Give the type that stands for a kind (see `tables.canonical`)."""
    if kind == "number":
        return pl.Int64() if whole else pl.Float64()
    if kind == "boolean":
        return pl.Boolean()
    return pl.Datetime("us") if kind == "date" else pl.String()


def fault_sentence(value: str, kind: Kind, *, guessed: bool, decimal: str = ".") -> str:
    """Say why a text is no value of a kind, and the way out; with `guessed` that the column may be of another kind."""
    shown = repr(value if len(value) <= 80 else f"{value[:80]}…")
    stripped = value.strip(BLANKS).lower().lstrip("+-")
    if kind == "number" and (stripped in ("inf", "infinity") or (stripped[:1].isdigit() and _overflows(stripped))):
        return f"{shown} is not finite: leave the cell empty if the value is missing"
    ways = [_WRITTEN[kind]] if kind in _WRITTEN else []
    if kind == "number" and is_written_otherwise(value, decimal):
        ways.append(f"write it as 1234{decimal}5, without separators of thousands")
    elif guessed or kind == "number":
        ways.append(
            f"if it stands for a missing value, leave it empty, or upload with ?missing={_in_query(value[:80])}"
        )
    if guessed:
        ways.append(f"if the column is not one of {kind}s, upload with its type in `types`")
    return f"{shown} is no {kind}: {'; '.join(ways)}"


def _in_query(text: str) -> str:
    """Write a text as it can stand in a query; what is no trouble there stays as it is, to be read."""
    return "".join(quote(one) if one.isspace() or one in ";)#&+%" else one for one in text)


def is_written_otherwise(value: str, decimal: str) -> bool:
    """Tell whether a text is a number with the other of point and comma for decimals, or with separators of thousands.

    Args:
        value: the text.
        decimal: what stands before decimals.
    """
    stripped = value.strip(BLANKS)
    return re.fullmatch(_OTHERWISE, stripped.translate(_SWAPPED) if decimal == "," else stripped) is not None


def _overflows(text: str) -> bool:
    try:
        return float(text.replace(",", ".")) == float("inf")
    except ValueError:
        return False


def _as_number_text(text: pl.Expr, decimal: str) -> pl.Expr:
    stripped = text.str.strip_chars(BLANKS)
    if decimal == ",":
        # A dot is no decimal mark then, so it must not become one.
        stripped = stripped.str.replace_many([".", ","], [",", "."])
    return stripped
