"""The compiled code: what was made of the C sources in this folder when Descent was installed."""

import ctypes
import hashlib
from pathlib import Path
from typing import Any

WHOLE_VECTOR = 16
"""What is written in whole vectors has space for a multiple of so many numbers, which the longest have."""


class Library:
    """The compiled code in a file.

    Raises:
        OSError: when there is no such file, or it is for another platform or of other sources than those beside this.
    """

    def __init__(self, path: Path) -> None:
        self._code = ctypes.CDLL(str(path))
        for name in ("best_instructions", "compiled_from"):
            getattr(self._code, name).restype = ctypes.c_char_p
        sources = sorted(Path(__file__).parent.glob("*.[ch]"))
        expected = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
        if self._code.compiled_from().decode() != expected:
            raise OSError(f"{path} was compiled from other sources: install Descent again")
        self.instructions: str = self._code.best_instructions().decode()
        """The best that this processor has: avx512, avx2 or base."""

    def function(self, name: str, *arguments: type) -> Any:
        """Give a function that returns nothing."""
        found = self._code[name]
        found.argtypes, found.restype = arguments, None
        return found


def installed() -> Library | None:
    """Load what was compiled when Descent was installed; None where nothing was."""
    try:
        return Library(Path(__file__).with_name("libsweep.so"))
    except OSError:
        return None


LIBRARY = installed()
