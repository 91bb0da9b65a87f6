"""Which dataset a file is: the content tells, and how it is read where it is not read as of itself."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.data.intake import source_of
from service.data.reading import ReadingOptions
from service.dataset import id_of_content
from service.encoding import Kind
from service.errors import InvalidDataset
from service.files import Format


@dataclass(frozen=True)
class Identity:
    """What tells a file, read in some way, from all others; the types of its columns apart, which take all its rows.

    `as_of_itself` tells whether it is read as it would be if nothing had been said; `reading` does not count then.
    """

    format: Format
    sha256: str
    reading: Mapping[str, Any]
    as_of_itself: bool

    def id_with(self, types: Mapping[str, Kind]) -> str:
        """Give the id of the dataset.

        Args:
            types: those that are said, as far as they are others than the columns would be taken as.
        """
        if self.as_of_itself and not types:  # no file is of two formats
            return id_of_content(self.sha256)
        text = json.dumps([self.format, self.sha256, {**self.reading, "types": dict(types)}], sort_keys=True)
        return id_of_content(hashlib.sha256(text.encode()).hexdigest())


def identify(path: Path, file_format: Format, sha256: str, options: ReadingOptions, max_table_bytes: int) -> Identity:
    """Tell which dataset a file is, from a look at it where something is said of how to read it.

    Raises:
        DatasetTooLarge, InvalidDataset: as `source_of`.
    """
    if options == ReadingOptions():
        return Identity(file_format, sha256, {}, as_of_itself=True)
    reading, of_itself = source_of(path, file_format, options, max_table_bytes).reading, None
    with suppress(InvalidDataset):  # it can be read only as it is said
        of_itself = source_of(path, file_format, ReadingOptions(), max_table_bytes).reading
    return Identity(file_format, sha256, reading, as_of_itself=reading == of_itself)
