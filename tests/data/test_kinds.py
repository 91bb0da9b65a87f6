import polars as pl
import pytest

from service.data.kinds import Tally, as_dates, count, date_text, is_written_otherwise
from service.encoding import Kind

TWENTY: list[str | None] = [f"v{number}" for number in range(20)]
THOUSAND: list[str | None] = [f"v{number}" for number in range(1000)]
KINDS: list[tuple[list[str | None], Kind]] = [
    (["1", "2", "-3"], "number"),
    (["1.5", "+7", ".5", "1.", "1e-05"], "number"),
    (["1", "2", "x"], "number"),
    (["1", "x"], "category"),
    (["1", "NaN"], "number"),
    (["NaN", "NaN"], "category"),
    (["1", "2", "007"], "category"),
    (["0.5", "0", "-0"], "number"),
    (["1,5", "2,5"], "category"),
    (["0x1f", "1_000"], "category"),
    (["true", "FALSE", "True"], "boolean"),
    (["true", "1"], "category"),
    (["true", "false", "1"], "boolean"),
    (["true", "1", "2"], "number"),
    (["2024-05-31", "2024-06-01", "soon", None], "date"),
    (["2024-05-31", "soon"], "category"),
    (["0000-01-01", "2024-05-31"], "category"),
    (["2024-05-31", "2024-05-31T10:00", "2024-05-31 10:00:00.5Z"], "date"),
    (["2024-02-30"], "category"),
    (["31.05.2024"], "category"),
    ([None, None], "text"),
    ([], "text"),
    ([None, "red"], "category"),
    (["x" * 100], "category"),
    (["x" * 101], "text"),
    (["two\nlines"], "text"),
    (TWENTY, "text"),
    (TWENTY[:19], "category"),
    (TWENTY * 2, "category"),
    ([*THOUSAND, *THOUSAND], "category"),
    ([*THOUSAND, "one more"] * 3, "text"),
]


@pytest.mark.parametrize(("texts", "kind"), KINDS, ids=range(len(KINDS)))
@pytest.mark.parametrize("rows", [1, 7, 5000])
def test_a_column_is_what_all_its_texts_make_it(texts: list[str | None], kind: Kind, rows: int) -> None:
    if rows == 1 and len(texts) > 100:
        rows = 100
    one, all_at_once = Tally(), Tally()
    column = pl.Series("0", texts, pl.String)
    for first in range(0, len(texts), rows):
        one.add(column[first : first + rows])
        count(column[first : first + rows].to_frame(), [all_at_once])
    assert one.kind == all_at_once.kind == kind
    assert one == all_at_once


@pytest.mark.parametrize("rows", [1, 4999, 5000])
def test_long_texts_are_not_kept(rows: int) -> None:
    texts = pl.Series("0", [f"{number}" * 200 for number in range(rows)] + ["short"], pl.String)
    one, all_at_once = Tally(), Tally()
    one.add(pl.Series(["first"]))
    assert one.distinct == {"first"}
    one.add(texts)
    count(texts.to_frame(), [all_at_once])
    one.add(pl.Series(["last"]))
    assert one.distinct == all_at_once.distinct == set()
    assert one.kind == all_at_once.kind == "text"


def test_numbers_with_a_decimal_comma_or_commas_between_thousands_are_counted_where_none_are_asked_for() -> None:
    tally = Tally()
    tally.add(pl.Series(["2,5", "-1.234.567,5", " 1,75 ", "x", "1,2,3", "12.34,5"]))
    assert (tally.n_otherwise, tally.otherwise, tally.is_misread) == (3, "-1.234.567,5", False)
    tally.add(pl.Series(["+1,234.5"]))
    assert tally.is_misread
    tally.add(pl.Series(["1", "2.5"] * 4))
    assert (tally.kind, tally.is_misread) == ("number", False)


def test_a_decimal_comma_makes_numbers_when_asked_for_and_a_dot_makes_none() -> None:
    tally = Tally(",")
    tally.add(pl.Series(["1,5", "2"]))
    assert (tally.kind, tally.is_whole) == ("number", False)
    tally.add(pl.Series(["1.5", "2.5"]))
    assert (tally.kind, tally.n_otherwise, tally.otherwise, tally.is_misread) == ("category", 2, "1.5", True)


@pytest.mark.parametrize("text", ["436.457,26", " 1.234 ", "-1.5", "1.234.567", "+1,234.5"])
def test_points_are_told_where_decimals_stand_after_a_comma(text: str) -> None:
    one, all_at_once = Tally(","), Tally(",")
    column = pl.Series("0", [text, "7,5", text, None])
    one.add(column)
    count(column.to_frame(), [all_at_once])
    assert one == all_at_once
    assert (one.otherwise, one.is_misread) == (text.strip(), True)
    assert is_written_otherwise(text, ",")


@pytest.mark.parametrize("text", ["31.12.2024", "1.2345.678", "1,5", "1.", ".5", "1.5 EUR", "1.23,456.7"])
def test_what_is_no_number_however_it_is_read_is_a_word(text: str) -> None:
    tally = Tally(",")
    tally.add(pl.Series([text]))
    assert not tally.is_misread
    assert not is_written_otherwise(text, ",")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-31", "2024-05-31T00:00:00"),
        ("2024-05-31 10:20", "2024-05-31T10:20:00"),
        ("2024-05-31T10:20:30.123456", "2024-05-31T10:20:30.123456"),
        ("2024-05-31T10:20:30.123456789", "2024-05-31T10:20:30.123456"),
        ("2024-05-31T10:20:30Z", "2024-05-31T10:20:30"),
        ("2024-05-31T00:20+02:00", "2024-05-30T22:20:00"),
        ("2024-05-31 10:20:30-0530", "2024-05-31T15:50:30"),
        ("2024-05-31 10:20:30+00", "2024-05-31T10:20:30"),
        ("0001-01-01", "0001-01-01T00:00:00"),
        ("9999-12-31T23:59:59.999999", "9999-12-31T23:59:59.999999"),
        ("0001-01-01T00:00-10:00", "0001-01-01T10:00:00"),
        ("0000-01-01", None),
        ("0001-01-01T00:00:00+10:00", None),
        ("9999-12-31T23:59:59-23:00", None),
        ("2024-05-31T24:00", None),
        ("2024-05-31T10:20:60", None),
        ("2024-13-01", None),
        ("24-05-31", None),
        ("2024-05-31T10", None),
        ("2024-5-31", None),
        (" 2024-05-31", None),
    ],
)
def test_dates_are_iso_8601_in_utc(text: str, expected: str | None) -> None:
    (date,) = pl.DataFrame({"text": [text]}).select(as_dates(pl.col("text"))).row(0)
    assert (date and date.isoformat()) == expected
    if date is not None:
        written = pl.DataFrame({"text": [date_text(date)]})
        assert date_text(date) == f"{expected}Z"
        assert written.select(as_dates(pl.col("text"))).item() == date
