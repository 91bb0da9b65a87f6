"""CSV in a request's body, as a long list of lines."""

import csv
from collections.abc import Iterator
from io import StringIO
from itertools import islice

from service.data.long_lists import LongList

LINES_AT_ONCE = 2**13


class CsvLines(LongList):
    """The lines of CSV behind that of the names, read anew each time; blank ones are left out.

    `names` is the first one, empty when there is none.

    Raises:
        csv.Error: when it is no CSV.
    """

    def __init__(self, text: str) -> None:
        self.compact = None
        self._text = text
        self.names: list[str] = next(self._all(), [])
        self._n_lines = max(0, sum(1 for _ in self._all()) - 1)

    def __len__(self) -> int:
        return self._n_lines

    def parts(self) -> Iterator[list[list[str]]]:
        """Give all lines in order, some at a time."""
        lines = islice(self._all(), 1, None)
        while part := list(islice(lines, LINES_AT_ONCE)):
            yield part

    def _all(self) -> Iterator[list[str]]:
        return (line for line in csv.reader(StringIO(self._text, newline=""), strict=True) if line)
