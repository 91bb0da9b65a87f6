import polars as pl
import pytest

from service.data.tables import Table
from service.encoding import Column
from service.worker.watching import watched


class Enough(Exception):
    """Raised by what is called between parts."""


def test_a_watched_table_is_gone_through_as_it_is_until_what_is_called_between_parts_ends_it() -> None:
    frame = pl.DataFrame({"x": list(range(10))})
    table = Table((Column("x", "number"),), 10, (frame.lazy(),))
    calls: list[int] = []

    def look_up() -> None:
        calls.append(len(calls))
        if len(calls) == 3:
            raise Enough

    parts = watched(table, look_up).frames(rows=4)
    assert [next(parts)["x"].to_list(), next(parts)["x"].to_list()] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    with pytest.raises(Enough):
        next(parts)
    assert calls == [0, 1, 2]
