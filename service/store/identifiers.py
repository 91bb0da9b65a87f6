"""Identifiers that sort by time: ULIDs (48 bits of milliseconds, 80 random bits, Crockford's base 32)."""

import secrets
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_identifier(prefix: str) -> str:
    """Make an identifier that nobody else makes, such as `job_01KAJ5…`."""
    number = int(time.time() * 1000) << 80 | secrets.randbits(80)
    return prefix + "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))
