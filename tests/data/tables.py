"""Tables in memory, and selections of them, for tests."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import polars as pl
from hypothesis import strategies as st

from service.data.tables import Table
from service.encoding import Column, Kind
from service.hyperparameters import Hyperparameters

_KINDS: dict[Any, Kind] = {pl.Boolean: "boolean", pl.String: "category", pl.Datetime: "date"}
_TYPES: dict[Kind, pl.DataType] = {
    "number": pl.Float64(),
    "boolean": pl.Boolean(),
    "category": pl.String(),
    "date": pl.Datetime("us"),
}
SETTLED = Hyperparameters(seed=7)


def table_of(columns: Mapping[str, Any], **kinds: Kind) -> Table:
    """Make a table of values; a column's kind is that of its type, unless it is given."""
    frame = pl.DataFrame(columns, strict=False)
    found = tuple(
        Column(name, kinds.get(name, _KINDS.get(dtype.base_type(), "number"))) for name, dtype in frame.schema.items()
    )
    return Table(found, len(frame), (frame.lazy(),))


VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    "number": st.floats(-1e300, 1e300) | st.integers(-(2**53), 2**53).map(float),
    "boolean": st.booleans(),
    "category": st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5),
    "date": st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)),
}


@st.composite
def mixed_tables(draw: st.DrawFn, min_rows: int = 1) -> Table:
    """Draw a table of columns of all kinds with holes in them, each with a value at least, and a target without."""
    n_rows = draw(st.integers(min_rows, 8))
    kinds = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=5))
    columns = {}
    for number, kind in enumerate(kinds):
        values = draw(st.lists(st.none() | VALUES[kind], min_size=n_rows - 1, max_size=n_rows - 1))
        columns[f"{kind} {number}"] = pl.Series([draw(VALUES[kind]), *values], dtype=_TYPES[kind])
    return table_of({**columns, "answer": [float(row) for row in range(n_rows)]})
