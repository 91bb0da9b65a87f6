"""The short way of GET /predict, past the middlewares and the routing, which take several times as long as it does."""

import logging
import time

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api import observing, predict
from service.api.access import KeyRing, Principal, scope_needed, welcome
from service.api.headers import secure
from service.api.metrics import RequestMetrics
from service.api.model_cache import ModelCache
from service.api.plans import Answer, Kind, Plans, kind_of
from service.api.predicting import is_large
from service.errors import DescentError
from service.store.database import Database
from service.store.ownership import Actor

logger = logging.getLogger(__name__)

_PATH = "/predict"
_OF_BODIES = (b"content-length", b"transfer-encoding")


class ShortWay:
    """Answers at once what is asked well by who may ask it, of a model that is ready.

    Whatever else there is to do goes the way of all requests, which comes to the same decisions by the same functions:
    a body, something to wait for, anything that is wrong. So nothing is refused here, and no error answered. Until
    something is committed, what was decided holds for all requests of the kind.
    """

    def __init__(
        self, app: ASGIApp, database: Database, ring: KeyRing, models: ModelCache, metrics: RequestMetrics
    ) -> None:
        self._app = app
        self._has_changed = database.changes(waits=False)
        self._n_commits = 0
        self._ring = ring
        self._models = models
        self._metrics = metrics
        self._plans = Plans()
        (self._route,) = predict.router.routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        started = time.perf_counter()
        is_prediction = scope["type"] == "http" and scope["path"] == _PATH and scope["method"] == "GET"
        answer = self._answer(scope) if is_prediction and not scope.get("root_path") else None
        if answer is None:
            await self._app(scope, receive, send)
            return
        welcome(scope, answer.principal)
        scope["route"] = self._route
        request_id = observing.request_id_of(scope)
        headers = observing.headers_of(scope, answer.headers, request_id)
        try:
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            await send({"type": "http.response.body", "body": answer.content})
        finally:
            observing.note(self._metrics, scope, request_id, answer.status, time.perf_counter() - started)

    def _answer(self, scope: Scope) -> Answer | None:
        try:
            self._n_commits += self._has_changed()  # before anything is decided, and before what was decided is used
            kind, numbers = kind_of(scope)
            plan = None if kind is None else self._plans.find(kind, self._n_commits)
            return self._decide(scope, kind) if plan is None else plan.answer(numbers)
        except (BlockingIOError, DescentError, HTTPException):  # the other way may wait, and answers errors
            return None
        except Exception:  # which the other way may do better than, so that only the log tells
            logger.exception("the short way of a prediction failed")
            return None

    def _decide(self, scope: Scope, kind: Kind | None) -> Answer | None:
        if any(name in _OF_BODIES for name, _ in scope["headers"]):
            return None
        principal = self._ring.admit(scope, may_wait=False)
        if not isinstance(principal, Principal) or not principal.may(scope_needed(predict.predict_one, "GET")):
            return None
        query = predict.Query(scope["query_string"])
        actor = Actor(principal.owner, sees_all=principal.may("admin"))
        trained = self._models.ready(actor, query.model)
        if trained is None or query.explain or is_large(trained):
            return None
        found = predict.answer_for_one(query, trained, Headers(scope=scope))
        secure(found.raw_headers)
        answer = Answer(principal, found.status_code, found.raw_headers, bytes(found.body))
        if kind is not None:
            self._plans.note(kind, self._n_commits, principal, trained, answer.headers)
        return answer


def install(app: FastAPI, database: Database, ring: KeyRing, metrics: RequestMetrics) -> None:
    """Let the predictions of an app take the short way."""
    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: ShortWay(  # type: ignore[method-assign]
        build(), database, ring, app.state.models, metrics
    )
