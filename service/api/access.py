"""Access: who asks, and whether they may.

While no key was ever made the service is its machine's own, and whoever can reach it from there may do everything;
what a browser brings from another site may not. From the first key on, every request needs one, also when all have been
revoked since.

A new endpoint takes part without doing anything: `Guard` asks for a key, `authorise` for the scope, `TheDatabase`,
`Reading` and `Writing` show what is the sender's and tell the audit what they write. It declares `@needs("read")` when
it only reads and is no GET, or `@needs("admin")`. A new table goes into `OWNED` (`service.store.ownership`), a new part
of a path into `tests/api/test_ownership.py`; tests say so when they do not.
"""

import hmac
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.routing import iter_route_contexts
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service import keys
from service.api.credentials import (
    SAFE_METHODS,
    UNKNOWN,
    Refusal,
    from_another_machine,
    from_elsewhere,
    secret_in,
)
from service.api.problems import add_answers, problem
from service.errors import DatabaseUnavailable, ScopeTooNarrow
from service.keys import SCOPES, Key, sha256_of
from service.log import log_about
from service.settings import Settings
from service.store import keys as kept_keys
from service.store.database import Database, Session
from service.store.ownership import Actor

logger = logging.getLogger(__name__)

OPEN = frozenset(
    {
        *("/healthz", "/readyz", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json", "/algorithms"),
        *("/v2", "/v2/health/live", "/v2/health/ready"),
    }
)
"""Paths that need no key: they tell that the service is there and what it can do, and nothing of anybody's."""
OPEN_FOLDER = "/static-offline-docs/"
_SCOPE = "needed_scope"
_PRINCIPAL = "principal"
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


@dataclass(frozen=True)
class Principal:
    """Who asks: `key_id` is None where no key is needed."""

    owner: str
    scope: keys.Scope
    key_id: str | None = None

    def may(self, scope: keys.Scope) -> bool:
        """Tell whether they may do what a scope is for."""
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


ANYBODY: frozenset[str | None] = frozenset({None})
LOCAL_PRINCIPAL = Principal(Actor().owner, "admin")
ANONYMOUS = Principal("", "read")
"""Who asks for what needs no key, and sees nothing of anybody's."""


def needs(scope: keys.Scope) -> Callable[[Endpoint], Endpoint]:
    """Declare the scope that an endpoint needs: without this it is `read` for GET, and `train` for all else."""

    def declare(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _SCOPE, scope)
        return endpoint

    return declare


def scope_needed(endpoint: Callable[..., Any], method: str) -> keys.Scope:
    """Tell the scope that an endpoint needs."""
    default: keys.Scope = "read" if method in SAFE_METHODS else "train"
    declared: keys.Scope = getattr(endpoint, _SCOPE, default)
    return declared


def welcome(scope: Scope, principal: Principal) -> None:
    """Note of a request who sends it."""
    scope[_PRINCIPAL] = principal


def principal_of(request: Request) -> Principal:
    """Tell who asks."""
    principal: Principal = request.scope[_PRINCIPAL]
    return principal


async def authorise(request: Request) -> None:
    """Refuse what the scope of a key does not allow; a dependency of every endpoint.

    Raises:
        ScopeTooNarrow: when it does not.
    """
    if request.scope["path"] in OPEN:
        return
    principal, needed = principal_of(request), scope_needed(request.scope["endpoint"], request.method)
    if not principal.may(needed):
        detail = f"this needs a key of the scope {needed!r}, and the one that was sent has {principal.scope!r}"
        logger.warning("request refused: %s", detail)
        raise ScopeTooNarrow(detail)


class KeyRing:
    """The keys that are accepted now: those of the settings, and those in the database that are not revoked.

    Every request asks the database whether anything was committed, or a server whether there are other keys; only then
    they are looked at. So a key is refused from the moment at which its revocation is committed, in every process.
    While the database cannot be read, those that were read last let in: what needs the database fails by itself, and
    `/metrics` tells why.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._of_settings = settings.keys
        self._allow_remote = settings.allow_remote
        self._changed = database.changes(asks=kept_keys.FINGERPRINT)
        self._lock = threading.Lock()
        self._is_stale = True
        self._fingerprint: object = None
        self._accepted: frozenset[str | None] = frozenset()
        self._by_hash: Mapping[str, Key] = {}

    def admit(self, scope: Scope, *, may_wait: bool = True) -> Principal | Refusal:
        """Tell who sends a request, or why they are not let in; raises what `find` does."""
        headers = Headers(scope=scope)
        refused = from_elsewhere(scope["method"], headers)
        if refused is not None:
            return refused
        if _is_open(scope["path"]):
            return ANONYMOUS
        secret, refused = secret_in(headers)
        principal = self.find(secret, may_wait=may_wait)
        if principal is LOCAL_PRINCIPAL:
            refused = None if self._allow_remote else from_another_machine(scope, headers)
        return refused or principal or UNKNOWN

    def find(self, secret: str | None, *, may_wait: bool = True) -> Principal | None:
        """Tell who sends a key, or who sends none; None when they are not let in.

        A key is looked up by its hash: what the look-up's time may tell of the hash tells nothing of the key.

        Raises:
            DatabaseUnavailable: when the keys cannot be read, nor ever could.
            BlockingIOError: when the database takes waiting, or the keys are being read, and this may not wait for it.
        """
        if not self._lock.acquire(blocking=may_wait):
            raise BlockingIOError
        try:
            try:
                self._refresh(may_wait=may_wait)
            except DatabaseUnavailable:
                if self._fingerprint is None:
                    raise
            accepted, by_hash = self._accepted, self._by_hash
        finally:
            self._lock.release()
        if accepted is ANYBODY:
            return LOCAL_PRINCIPAL
        if secret is None:
            return None
        sha256 = sha256_of(secret)
        key = by_hash.get(sha256)
        if key is None or not hmac.compare_digest(key.sha256, sha256):
            return None
        return Principal(key.name, key.scope, key.id)

    def accepted(self, session: Session) -> frozenset[str | None]:
        """Give the ids of the keys that are accepted; that of no key, None, where none is needed.

        Args:
            session: what it sees counts, or what came later.

        Raises:
            DatabaseUnavailable: when it cannot be known.
        """
        with self._lock:
            if kept_keys.fingerprint(session) != self._fingerprint:
                self._refresh()
            return self._accepted

    def _refresh(self, *, may_wait: bool = True) -> None:
        if not (may_wait or self._database.tells_at_once):
            raise BlockingIOError
        was_stale, self._is_stale = self._is_stale, True  # so it stays when the database cannot be asked
        self._is_stale = self._changed() or was_stale
        if not self._is_stale:
            return
        with self._database.reading_once() as session:  # should the keys change in between, they are read again
            fingerprint = kept_keys.fingerprint(session)
            if fingerprint != self._fingerprint:
                self._take(kept_keys.listing(session))
        self._fingerprint, self._is_stale = fingerprint, False

    def _take(self, kept: Sequence[Key]) -> None:
        good = [*self._of_settings, *(key for key in kept if key.revoked_at is None)]
        self._by_hash = {key.sha256: key for key in good}
        self._accepted = frozenset(key.id for key in good) if kept or self._of_settings else ANYBODY


class Guard:
    """Stands before everything that an app answers: lets in who may come in, and says who it is."""

    def __init__(self, app: ASGIApp, ring: KeyRing) -> None:
        self._app = app
        self._ring = ring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it before its body is read."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            found = await self._admit(scope)
        except DatabaseUnavailable as fault:
            await problem(Request(scope), HTTPStatus.SERVICE_UNAVAILABLE, fault.detail)(scope, receive, send)
            return
        if isinstance(found, Refusal):
            logger.warning("request refused: %s", found.detail)
            await problem(Request(scope), found.status, found.detail, headers=found.headers)(scope, receive, send)
            return
        welcome(scope, found)
        with log_about(key=found.key_id):
            await self._app(scope, receive, send)

    async def _admit(self, scope: Scope) -> Principal | Refusal:
        try:
            return self._ring.admit(scope, may_wait=False)
        except BlockingIOError:
            return await run_in_threadpool(self._ring.admit, scope)


def _is_open(path: str) -> bool:
    return path in OPEN or path.startswith(OPEN_FOLDER)


SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An access key, made with `descent keys create`."},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same in another header."},
}
_SECURITY: list[dict[str, list[str]]] = [{name: []} for name in SCHEMES]


def endpoints(app: FastAPI) -> Iterator[tuple[str, str, Callable[..., Any]]]:
    """Give path, method and function of every endpoint that needs a key."""
    for route in iter_route_contexts(app.routes):
        if route.path_format not in OPEN and route.endpoint is not None:
            for method in route.methods or ():
                yield str(route.path_format), method, route.endpoint


def install(app: FastAPI, ring: KeyRing) -> None:
    """Guard an app, and say in its document which scope each endpoint needs."""
    app.add_middleware(Guard, ring=ring)
    document = app.openapi

    def document_with_access() -> dict[str, Any]:
        found = document()
        found["components"]["securitySchemes"] = SCHEMES
        for path, method, endpoint in endpoints(app):
            operation = found["paths"].get(path, {}).get(method.lower())
            if operation is not None:
                scope = scope_needed(endpoint, method)
                operation |= {"security": _SECURITY, "x-scope": scope}
                add_answers(operation, path, 401, 403, 503)
                operation["responses"]["403"]["description"] += f" This needs the scope `{scope}`."
        return found

    app.openapi = document_with_access  # type: ignore[method-assign]  # as FastAPI's manual does
