"""Headers that every answer has, to tell browsers what not to do with it."""

import base64
import hashlib
import re

from starlette.datastructures import MutableHeaders

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_FOR_DATA = "default-src 'none'; frame-ancestors 'none'"
_INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
DOCS = frozenset({"/docs", "/redoc", "/docs/oauth2-redirect"})
"""Pages made by FastAPI, with scripts in them that no user has a hand in."""


def secure(headers: MutableHeaders, docs_page: bytes | None = None) -> None:
    """Add what is missing to the headers of an answer.

    Args:
        headers: of the answer. Its own Cache-Control stays; without one it may be kept only when it has an ETag to ask
            again with, and not at all otherwise.
        docs_page: the whole body of one of the pages in `DOCS`; its scripts are allowed, and no others.
    """
    for name, value in _ALWAYS.items():
        headers.setdefault(name, value)
    headers.setdefault("Cache-Control", "private, no-cache" if "etag" in headers else "no-store")
    headers.setdefault("Content-Security-Policy", _FOR_DATA if docs_page is None else _for_docs(docs_page))


def _for_docs(page: bytes) -> str:
    """Allow what Swagger UI and ReDoc need: files from here, styles that they make, a worker of ReDoc's own making."""
    digests = [hashlib.sha256(script).digest() for script in _INLINE_SCRIPT.findall(page)]
    hashes = "".join(f" 'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src 'self'{hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "font-src 'self' data:; connect-src 'self'; worker-src blob:; child-src blob:; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
