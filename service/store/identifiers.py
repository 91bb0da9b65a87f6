"""Identifiers that sort by time: ULIDs (48 bits of milliseconds, 80 random bits, Crockford's base 32)."""

import secrets
import threading
import time
from datetime import datetime

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_LENGTH = 26
_making = threading.Lock()
_last = 0


def new_identifier(prefix: str) -> str:
    """Make an identifier that nobody else makes, such as `job_01KAJ5…`, behind all that this process has made."""
    global _last  # a process makes thousands in a second, and clocks are set back
    with _making:
        _last = max(_last + 1, int(time.time() * 1000) << 80 | secrets.randbits(80))
        return prefix + _written(_last)


def first_identifier(prefix: str, moment: datetime) -> str:
    """Give the identifier before all that are made from a moment on, and behind all that were made before."""
    return prefix + _written(int(moment.timestamp() * 1000) << 80)


def is_identifier(text: str, prefix: str) -> bool:
    """Tell whether a text could be an identifier that was made with a prefix."""
    return len(text) == len(prefix) + _LENGTH and text.startswith(prefix) and set(text[len(prefix) :]) <= set(_ALPHABET)


def _written(number: int) -> str:
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(5 * _LENGTH - 10, -1, -10)])
