"""Routes whose endpoints are looked into when they are first asked for, and how an app takes them up.

To look into an endpoint, its parameters, dependencies and schemas, takes a millisecond, and FastAPI does it twice for
each route of a router that is included: when the route is declared, and before the first request.
"""

import threading
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, Self

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.params import Depends
from fastapi.routing import APIRoute
from starlette.routing import compile_path

from service.api.requests import JsonRequest

_LOCK = threading.RLock()
"""One route is looked into at a time, and nobody sees a part of one: not only the event loop uses them."""


class LateRoute(APIRoute):
    """A route that knows its path and methods, by which requests find it, and all else once it is asked for that.

    Its endpoint is given a `JsonRequest`.
    """

    def __init__(
        self, path: str, endpoint: Callable[..., Any], *, methods: Collection[str] | None, **given: Any
    ) -> None:
        self.path, self.endpoint, self.methods = path, endpoint, {method.upper() for method in methods or ("GET",)}
        self.path_regex, self.path_format, self.param_convertors = compile_path(path)
        self._given = given
        self._is_known: bool | None = False  # None while it is looked into

    def __getattr__(self, name: str) -> Any:
        """Look into the endpoint, if that was not done; it comes here for what is not known yet."""
        with _LOCK:
            if self._is_known is False:
                self._is_known = None
                super().__init__(self.path, self.endpoint, methods=self.methods, **self._given)
                self._is_known = True
            if name in self.__dict__:
                return self.__dict__[name]
        raise AttributeError(f"{type(self).__name__} has no {name!r}")

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Give the function that answers a request."""
        answer = super().get_route_handler()

        async def answer_json(request: Request) -> Response:
            read = JsonRequest(request.scope, request.receive)
            try:
                return await answer(read)
            finally:
                read.end_turn()

        return answer_json

    def within(self, app: FastAPI, responses: dict[int | str, dict[str, Any]], dependencies: Sequence[Depends]) -> Self:
        """Give the route as one of an app, with responses and dependencies that come before its own."""
        given = {
            **self._given,
            "responses": {**app.router.responses, **responses, **self._given["responses"]},
            "dependencies": [*app.router.dependencies, *dependencies, *self._given["dependencies"]],
            "dependency_overrides_provider": app,
        }
        return type(self)(self.path, self.endpoint, methods=self.methods, **given)


def take_up(
    app: FastAPI,
    router: APIRouter,
    responses: dict[int | str, dict[str, Any]] | None = None,
    dependencies: Sequence[Depends] = (),
) -> None:
    """Let an app have the routes of a router, all of them late; see `FastAPI.include_router`."""
    for route in router.routes:
        assert isinstance(route, LateRoute)
        app.router.routes.append(route.within(app, responses or {}, dependencies))
