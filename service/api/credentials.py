"""What a request tells of who sends it: the key in its headers; the page, the name and the machine it comes from."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
MAX_SECRET_CHARACTERS = 200


@dataclass(frozen=True)
class Refusal:
    """Why a request is not let in, and the status that says so."""

    status: int
    detail: str

    @property
    def headers(self) -> Mapping[str, str]:
        """What the answer tells beside it."""
        return {"WWW-Authenticate": 'Bearer realm="descent"'} if self.status == HTTPStatus.UNAUTHORIZED else {}


HOW = "send one as `Authorization: Bearer KEY` or `X-API-Key: KEY`"
MISSING = Refusal(HTTPStatus.UNAUTHORIZED, f"this needs an access key: {HOW} (the command line sends DESCENT_API_KEY)")
UNKNOWN = Refusal(HTTPStatus.UNAUTHORIZED, "the access key that was sent is not known here, or has been revoked")
AMBIGUOUS = Refusal(HTTPStatus.UNAUTHORIZED, f"several access keys were sent: {HOW}, and no other")
MALFORMED = Refusal(HTTPStatus.UNAUTHORIZED, f"the Authorization header is of another form: {HOW}")
CROSS_SITE = Refusal(
    HTTPStatus.FORBIDDEN, "this comes from a page of another site, which may do nothing here: call the service directly"
)
OTHER_HOST = Refusal(
    HTTPStatus.FORBIDDEN,
    "while there are no access keys only this machine is answered, under the name localhost or a loopback address: "
    "make a key with `descent keys create`, or set DESCENT_ALLOW_REMOTE=true if something in front asks who is there",
)


def secret_in(headers: Headers) -> tuple[str | None, Refusal | None]:
    """Find the key that was sent; or tell why there is none, which is of account only where one is needed."""
    given = [*headers.getlist("authorization"), *headers.getlist("x-api-key")]
    if len(given) != 1:
        return None, AMBIGUOUS if given else MISSING
    secret = given[0].strip()
    if "authorization" in headers:
        scheme, _, secret = secret.partition(" ")
        secret = secret.strip()
        if scheme.lower() != "bearer":
            return None, MALFORMED
    if not secret or len(secret) > MAX_SECRET_CHARACTERS:
        return None, UNKNOWN
    return secret, None


def from_elsewhere(method: str, headers: Headers) -> Refusal | None:
    """Refuse what a page of another site, or of another port, has a browser send.

    Browsers say so in Sec-Fetch-Site; those that do not know it send the Origin of such a page. Other programs send
    neither.
    """
    if method in SAFE_METHODS:
        return None
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return None if site in ("same-origin", "none") else CROSS_SITE
    is_own = origin is None or urlsplit(origin).netloc == headers.get("host")
    return None if is_own else CROSS_SITE


def from_another_machine(scope: Scope, headers: Headers) -> Refusal | None:
    """Refuse who is not on this machine, and names that are not this machine's.

    A page whose name was made to point here (DNS rebinding) is of the same site to a browser; only the name shows it.
    """
    host = headers.get("host", "")
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    is_its_name = name.lower().rstrip(".") == "localhost" or _is_loopback(name)
    return None if is_from_here(scope) and is_its_name else OTHER_HOST


def is_from_here(scope: Scope) -> bool:
    """Tell whether a request comes from this machine."""
    client = scope.get("client")
    return client is None or _is_loopback(client[0])


@lru_cache(maxsize=1000)  # reading an address takes as long as a prediction
def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
