"""Column types for what SQL has no word for: arrays, and times with their zone."""

import io
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import JSON, BigInteger, ColumnElement, DateTime, Dialect, Integer, LargeBinary, String, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

from service.parameters import Layout
from service.store.clock import OF_THE_DATABASE

LongInteger = BigInteger().with_variant(Integer(), "sqlite")
"""64 bits everywhere: in SQLite an INTEGER has as many."""


def long(value: int) -> ColumnElement[int]:
    """Give a number that somebody named, to compare a column with: it may be larger than PostgreSQL's columns hold."""
    return literal(value, LongInteger)


class ArrayBytes(TypeDecorator[NDArray[Any]]):
    """A NumPy array as bytes in NumPy's own .npy format, which carries shape and dtype."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: NDArray[Any] | None, dialect: Dialect) -> bytes | None:  # noqa: ARG002
        """Write the array; never as a pickle."""
        if value is None:
            return None
        stream = io.BytesIO()
        np.save(stream, value, allow_pickle=False)
        return stream.getvalue()

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> NDArray[Any] | None:  # noqa: ARG002
        """Read the array; a pickle in its place is refused."""
        if value is None:
            return None
        start = value[: 10 + int.from_bytes(value[8:10], "little")]
        shape, is_fortran, dtype = _read_header(start)
        if dtype.hasobject:
            raise ValueError("Object arrays cannot be loaded: they are pickles")
        # As np.load does it, but for the header, which takes longer to read than some hundred numbers.
        array: NDArray[Any] = np.ndarray(shape, dtype, value, len(start), order="F" if is_fortran else "C")
        return array.copy(order="K")


@lru_cache(maxsize=1000)
def _read_header(start: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the start of a .npy file of version 1.0; blocks of a history have few different ones."""
    stream = io.BytesIO(start)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("the array is not of version 1.0 of the .npy format")
    return np.lib.format.read_array_header_1_0(stream)


class LayoutShapes(TypeDecorator[Layout]):
    """The shape of each layer, as JSON: a list of [n_outputs, n_inputs]."""

    impl = JSON
    cache_ok = True

    def process_result_value(self, value: list[list[int]] | None, dialect: Dialect) -> Layout | None:  # noqa: ARG002
        """Turn JSON's lists back into tuples."""
        return None if value is None else tuple((n_outputs, n_inputs) for n_outputs, n_inputs in value)


class UtcTime(TypeDecorator[datetime]):
    """A point in time: aware and in UTC in Python; in a database that knows no zones, naive and in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Go to UTC; drop the zone where the database knows none."""
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Put the zone back where there is none."""
        return value if value is None or value.tzinfo is not None else value.replace(tzinfo=UTC)


class WritableText(TypeDecorator[str]):
    """A text that every database can take, to write it or to look for it."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Replace the NUL that PostgreSQL has no place for, in the name of something that is asked for, say."""
        return value.replace("\0", "\ufffd") if value and dialect.name == "postgresql" else value


class CodePoints(FunctionElement[str]):
    """A text to be ordered by or compared with by its code points, as Python and SQLite do it.

    A server may have the rules of a language instead, by which `B` comes after `a`, and not every server the same.
    """

    type = WritableText()
    inherit_cache = True


@compiles(CodePoints)
def _as_it_is(element: CodePoints, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(CodePoints, "postgresql")
def _collated(element: CodePoints, compiler: SQLCompiler, **options: Any) -> str:
    return f'{compiler.process(element.clauses, **options)} COLLATE "C"'


def now() -> datetime:
    """Give the current time in UTC, by which everything in the database is dated."""
    return OF_THE_DATABASE.now()
