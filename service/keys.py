"""Access keys: what they are made of, and how they are told of in a setting.

Of a key only its SHA-256 is kept. A slow hash with a salt is for passwords, which can be guessed: a key has 256 random
bits, so that nobody finds one that has a given hash, while every request asks for its hash.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

Scope = Literal["read", "train", "admin"]
"""What a key may be used for; each may do what those before it may."""
SCOPES: tuple[Scope, ...] = get_args(Scope)

PREFIX = "descent_"
"""What all keys begin with, for scanners that look for secrets."""
RANDOM_BYTES = 32
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
_SHA256 = r"[0-9a-f]{64}"
_FORM = "NAME:SCOPE:SHA256, several with commas between"


@dataclass(frozen=True)
class Key:
    """An access key. Keys of one name see the same: what was made with any of them is the name's.

    One that a setting tells of is known by its name, has no time, and cannot be revoked but by changing the setting.
    """

    id: str
    name: str
    scope: Scope
    sha256: str
    created_at: datetime | None = None
    revoked_at: datetime | None = None


def new_secret() -> str:
    """Make up a key."""
    return PREFIX + secrets.token_urlsafe(RANDOM_BYTES)


def sha256_of(secret: str) -> str:
    """Give the hash that a key is known by."""
    return hashlib.sha256(secret.encode()).hexdigest()


def is_name(text: str) -> bool:
    """Tell whether a key may have a name."""
    return re.fullmatch(_NAME, text) is not None


def write_keys(keys: list[Key]) -> str:
    """Write keys as the setting has them."""
    return ",".join(f"{key.name}:{key.scope}:{key.sha256}" for key in keys)


def read_keys(text: str) -> list[Key]:
    """Read what `write_keys` writes; white space around commas is of no account.

    Raises:
        ValueError: for an entry of another form; says which, and not what it is, for it may be a key.
    """
    keys = []
    for number, entry in enumerate((part.strip() for part in text.split(",") if part.strip()), 1):
        name, scope, sha256 = [*entry.split(":"), "", ""][:3]
        known = next((one for one in SCOPES if one == scope), None)
        is_of_form = is_name(name) and re.fullmatch(_SHA256, sha256) and entry.count(":") == 2
        if known is None or not is_of_form:
            ways = f"{_FORM}; the scopes are {', '.join(SCOPES)}, and `descent keys hash` makes such an entry"
            raise ValueError(f"entry {number} is not of the form {ways}")
        keys.append(Key(f"{name}/{number}", name, known, sha256))
    return keys
