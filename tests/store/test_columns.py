import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays, floating_dtypes, integer_dtypes
from numpy.typing import NDArray
from sqlalchemy import Column, Engine, Integer, LargeBinary, MetaData, Table, insert, select, type_coerce
from sqlalchemy.exc import StatementError

from service.parameters import Layout
from service.store.columns import ArrayBytes, LayoutShapes, UtcTime, now
from service.store.database import Database
from tests.databases import place_of

THINGS = Table(
    "things",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("array", ArrayBytes),
    Column("time", UtcTime),
    Column("layout", LayoutShapes),
)
SHAPES = st.lists(st.integers(0, 5), max_size=4).map(tuple)
ZONES = st.integers(-12 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
TIMES = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=ZONES)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    database = Database(place_of(tmp_path_factory.mktemp("columns")))
    THINGS.metadata.create_all(database.engine)
    yield database.engine
    database.close()


def through_the_database(engine: Engine, column: str, value: Any) -> Any:
    with engine.begin() as connection:
        (key,) = connection.execute(insert(THINGS).values({column: value})).inserted_primary_key or (None,)
        return connection.scalar(select(THINGS.c[column]).where(THINGS.c.id == key))


@given(array=arrays(st.one_of(floating_dtypes(), integer_dtypes(), st.just(np.dtype(bool))), SHAPES))
def test_an_array_comes_back_with_its_dtype_its_shape_and_every_bit(engine: Engine, array: NDArray[Any]) -> None:
    read = through_the_database(engine, "array", array)
    assert (read.dtype, read.shape) == (array.dtype, array.shape)
    assert read.tobytes() == array.tobytes()


def test_a_transposed_and_a_strided_array_come_back_equal(engine: Engine) -> None:
    table = np.arange(12.0).reshape(3, 4)
    for view in (table.T, table[:, ::2], table[::-1]):
        assert np.array_equal(through_the_database(engine, "array", view), view)


def test_what_was_read_can_be_written_to(engine: Engine) -> None:
    read = through_the_database(engine, "array", np.zeros(2))
    read += 1
    assert read.tolist() == [1, 1]


@pytest.mark.parametrize("column", ["array", "time", "layout"])
def test_nothing_comes_back_as_nothing(engine: Engine, column: str) -> None:
    assert through_the_database(engine, column, None) is None


def test_an_array_of_python_objects_is_not_written(engine: Engine) -> None:
    with pytest.raises(StatementError, match="Object arrays cannot be saved"):
        through_the_database(engine, "array", np.array([{"any": "thing"}], dtype=object))


def test_a_pickle_in_the_place_of_an_array_is_refused(engine: Engine) -> None:
    pickled = io.BytesIO()
    np.save(pickled, np.array([{"any": "thing"}], dtype=object), allow_pickle=True)
    with engine.begin() as connection:
        values = {"id": 1_000_000, "array": type_coerce(pickled.getvalue(), LargeBinary)}
        connection.execute(insert(THINGS).values(values))
        query = select(THINGS.c.array).where(THINGS.c.id == 1_000_000)
        with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
            connection.scalar(query)


@given(time=TIMES)
def test_a_time_of_any_zone_comes_back_as_the_same_moment_in_utc(engine: Engine, time: datetime) -> None:
    read = through_the_database(engine, "time", time)
    assert read == time
    assert read.tzinfo is UTC


@given(first=TIMES, second=TIMES)
def test_times_of_different_zones_are_compared_as_moments(engine: Engine, first: datetime, second: datetime) -> None:
    with engine.begin() as connection:
        (key,) = connection.execute(insert(THINGS).values(time=first)).inserted_primary_key or (None,)
        earlier = select(THINGS.c.time < second).where(THINGS.c.id == key)
        assert connection.scalar(earlier) == (first < second)


@given(layout=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=4).map(tuple))
def test_a_layout_comes_back_as_tuples(engine: Engine, layout: Layout) -> None:
    assert through_the_database(engine, "layout", layout) == layout


def test_now_is_in_utc() -> None:
    assert now().utcoffset() == timedelta(0)
    assert abs(now() - datetime.now().astimezone()) < timedelta(minutes=1)
