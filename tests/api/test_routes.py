import threading
from pathlib import Path

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.params import Depends
from starlette.testclient import TestClient

from service.api import access, predict, repeats
from service.api.routes import LateRoute
from service.app import create_app
from service.settings import Settings
from tests.api.conftest import LOOPBACK
from tests.databases import migrated_database, settings_of


def late(app: FastAPI | APIRouter) -> list[LateRoute]:
    """Give the routes of an app or a router that are late."""
    return [route for route in app.routes if isinstance(route, LateRoute)]


def known(routes: list[LateRoute]) -> set[str]:
    """Name the routes whose endpoints have been looked into."""
    return {route.path for route in routes if "dependant" in vars(route)}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = settings_of(tmp_path)
    migrated_database(settings.database_place).close()
    return settings


def test_an_endpoint_is_looked_into_when_it_is_asked_for_and_no_other_is(settings: Settings) -> None:
    app = create_app(settings)
    routes = late(app)
    assert len(routes) > 50
    assert known(routes) == set()
    with TestClient(app, base_url=LOOPBACK, client=("127.0.0.1", 50_000)) as client:
        assert client.get("/jobs").status_code == 200
        assert known(routes) == {"/jobs"}


def test_every_endpoint_has_what_the_app_asks_of_all_first(settings: Settings) -> None:
    (declared,) = late(predict.router)
    assert declared.dependencies == []  # it is looked into before the app takes it up
    for route in late(create_app(settings)):
        first, second, *_ = route.dependencies
        assert isinstance(first, Depends)
        assert (first.dependency, second.dependency) == (access.authorise, repeats.refuse_repeated), route.path


def test_threads_that_look_into_a_route_at_once_see_all_of_it(settings: Settings) -> None:
    routes, faults = late(create_app(settings)), list[Exception]()
    start = threading.Barrier(4)

    def look() -> None:
        start.wait()
        try:
            for route in routes:
                assert (route.app, route.body_field, route.response_fields) is not None
        except Exception as fault:  # to be seen by the test
            faults.append(fault)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_what_no_route_has_is_an_attribute_error(settings: Settings) -> None:
    route, *_ = late(create_app(settings))
    with pytest.raises(AttributeError, match="nonsense"):
        getattr(route, "nonsense")  # noqa: B009
    assert not hasattr(route, "nonsense")
