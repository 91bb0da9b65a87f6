"""The short way of GET /predict, past the middlewares and the routing, which take several times as long as it does."""

import logging

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api import predict
from service.api.access import KeyRing, Principal, scope_needed, welcome
from service.api.model_cache import ModelCache
from service.api.predicting import is_large
from service.errors import DescentError
from service.store.ownership import Actor

logger = logging.getLogger(__name__)

_PATH = "/predict"
_OF_BODIES = (b"content-length", b"transfer-encoding")


class ShortWay:
    """Answers at once what is asked well by who may ask it, of a model that is ready.

    Whatever else there is to do goes the way of all requests, which comes to the same decisions by the same functions:
    a body, something to wait for, anything that is wrong. So nothing is refused here, and no error answered.
    """

    def __init__(self, app: ASGIApp, ring: KeyRing, models: ModelCache) -> None:
        self._app = app
        self._ring = ring
        self._models = models
        (self._route,) = predict.router.routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        is_prediction = scope["type"] == "http" and scope["path"] == _PATH and scope["method"] == "GET"
        answer = self._answer(scope) if is_prediction and not scope.get("root_path") else None
        await (answer or self._app)(scope, receive, send)

    def _answer(self, scope: Scope) -> Response | None:
        if any(name in _OF_BODIES for name, _ in scope["headers"]):
            return None
        try:
            principal = self._ring.admit(scope, may_wait=False)
            if not isinstance(principal, Principal) or not principal.may(scope_needed(predict.predict_one, "GET")):
                return None
            query = predict.Query(scope["query_string"])
            actor = Actor(principal.owner, sees_all=principal.may("admin"))
            trained = self._models.ready(actor, query.model)
            if trained is None or query.explain or is_large(trained):
                return None
            answer = predict.answer_for_one(query, trained, Headers(scope=scope))
        except (DescentError, HTTPException):  # it is met again on the other way, where errors are answered
            return None
        except Exception:  # which the other way may do better than, so that only the log tells
            logger.exception("the short way of a prediction failed")
            return None
        welcome(scope, principal)
        scope["route"] = self._route
        return answer


def install(app: FastAPI, ring: KeyRing) -> None:
    """Let the predictions of an app take the short way."""
    build = app.build_middleware_stack
    app.build_middleware_stack = lambda: ShortWay(build(), ring, app.state.models)  # type: ignore[method-assign]
