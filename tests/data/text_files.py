"""Text files as tests write and read them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from service.data.reading import LookedAgain, ReadingOptions, Source
from service.encoding import Kind
from service.errors import InvalidDataset

Opener = Callable[..., Source]
Outcome = tuple[dict[str, Kind], list[dict[str, Any]]] | list[tuple[str, str]]


def frame_of(source: Source) -> pl.DataFrame:
    """Read all of a source, again where it asks for that."""
    try:
        frames = list(source.frames())
    except LookedAgain:
        frames = list(source.frames())
    return pl.concat(frames) if frames else pl.DataFrame(schema=[column.name for column in source.columns])


def outcome(opener: Opener, path: Path, content: bytes, chunk_bytes: int, **options: Any) -> Outcome:
    """What becomes of a file's content: kinds and rows, or pointers and details of its faults."""
    path.write_bytes(content)
    try:
        source = opener(path, ReadingOptions(**options), chunk_bytes)
        frame = frame_of(source)
    except InvalidDataset as invalid:
        return [(fault.pointer, fault.detail) for fault in invalid.faults]
    assert [column.name for column in source.columns] == frame.columns
    return {column.name: column.kind for column in source.columns}, frame.to_dicts()
