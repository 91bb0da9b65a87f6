from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from service.app import create_app
from service.store import workers
from service.store.columns import now
from service.store.tables import WorkerRow
from tests.api.conftest import LocalService, check_problem, local_service
from tests.databases import place_of, settings_of


def register_worker(service: LocalService) -> None:
    with service.database.writing() as session:
        workers.register(session, "worker_1", "cpu")


def test_a_living_process_is_healthy(local: LocalService) -> None:
    answer = local.http.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_without_a_worker_the_service_is_not_ready_and_says_so(local: LocalService) -> None:
    assert "no worker is alive" in check_problem(local.http.get("/readyz"), 503)["detail"]


def test_with_a_worker_the_service_is_ready_until_the_worker_ends(local: LocalService) -> None:
    register_worker(local)
    answer = local.http.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    with local.database.writing() as session:
        workers.remove(session, "worker_1")
    check_problem(local.http.get("/readyz"), 503)


def test_a_worker_not_heard_of_for_a_lease_is_taken_for_dead(tmp_path: Path) -> None:
    with local_service(tmp_path, lease_seconds=3600) as service:
        register_worker(service)
        for age, status in ((1800, 200), (5400, 503)):
            with service.database.writing() as session:
                session.execute(update(WorkerRow).values(seen_at=now() - timedelta(seconds=age)))
            assert service.http.get("/readyz").status_code == status
        with service.database.writing() as session:
            workers.heartbeat(session, "worker_1", "cpu")
        assert service.http.get("/readyz").status_code == 200


def test_before_the_database_is_migrated_the_service_is_alive_and_not_ready(tmp_path: Path) -> None:
    place_of(tmp_path, migrated=False)
    app = create_app(settings_of(tmp_path))
    client = TestClient(app, raise_server_exceptions=False)
    assert client.get("/healthz").status_code == 200
    assert "not migrated" in check_problem(client.get("/readyz"), 503)["detail"]
    answer = client.get("/v2/health/ready")
    assert (answer.status_code, "not migrated" in answer.json()["error"]) == (503, True)
    app.state.database.close()


@pytest.mark.sqlite("overwrites the file")
def test_with_a_database_that_cannot_be_read_the_service_is_alive_and_not_ready(local: LocalService) -> None:
    register_worker(local)
    local.database.close()
    for path in local.settings.database_path.parent.iterdir():
        path.unlink()
    local.settings.database_path.write_bytes(b"this is no database at all" * 100)
    assert local.http.get("/healthz").status_code == 200
    check_problem(local.http.get("/readyz"), 503)
    answer = local.http.get("/models/line/ping")
    assert (answer.status_code, answer.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
