"""Headers that every answer has, to tell browsers what not to do with it."""

import base64
import hashlib
import re

Pairs = list[tuple[bytes, bytes]]

_ALWAYS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
}
_FOR_DATA = b"default-src 'none'; frame-ancestors 'none'"
_INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
DOCS = frozenset({"/docs", "/redoc", "/docs/oauth2-redirect"})
"""Pages made by FastAPI, with scripts in them that no user has a hand in."""


def secure(headers: Pairs, docs_page: bytes | None = None) -> None:
    """Add what is missing to the headers of an answer.

    Args:
        headers: of the answer, with names in small letters. Its own Cache-Control stays; without one it may be kept
            only when it has an ETag to ask again with, and not at all otherwise.
        docs_page: the whole body of one of the pages in `DOCS`; its scripts are allowed, and no others.
    """
    given = {name for name, _ in headers}
    headers += [pair for pair in _ALWAYS.items() if pair[0] not in given]
    if b"cache-control" not in given:
        headers.append((b"cache-control", b"private, no-cache" if b"etag" in given else b"no-store"))
    if b"content-security-policy" not in given:
        policy = _FOR_DATA if docs_page is None else _for_docs(docs_page).encode()
        headers.append((b"content-security-policy", policy))


def _for_docs(page: bytes) -> str:
    """Allow what Swagger UI and ReDoc need: files from here, styles that they make, a worker of ReDoc's own making."""
    digests = [hashlib.sha256(script).digest() for script in _INLINE_SCRIPT.findall(page)]
    hashes = "".join(f" 'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src 'self'{hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "font-src 'self' data:; connect-src 'self'; worker-src blob:; child-src blob:; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
