"""A database server that is away or full: told as clearly as with SQLite, and over when it is over."""

import pytest
from sqlalchemy import text

from tests.api.conftest import LocalService, check_problem, line
from tests.api.test_storage_faults import LONG, working
from tests.logs import logged
from tests.postgres import Server
from tests.processes import wait_until

pytestmark = pytest.mark.postgresql


def test_while_the_server_is_away_requests_are_a_503_and_the_running_job_goes_on_later(
    stoppable: Server, local: LocalService
) -> None:
    job = local.enqueue(line(hyperparameters=LONG))
    with logged() as lines, working(local.database, local.settings):
        local.wait_for(job, lambda found: found["progress"]["epoch"] > 0)
        stoppable.stop()
        try:
            for path in (f"/jobs/{job}", "/jobs", "/models", "/readyz"):
                answer = local.http.get(path)
                check_problem(answer, 503)
                assert int(answer.headers["Retry-After"]) > 0
            check_problem(local.post("/train", line()), 503)
            assert "descent_database_up 0.0" in local.http.get("/metrics").text
            wait_until(lambda: [told for told in lines.all if "goes back into the queue" in told["message"]])
        finally:
            stoppable.start()
        local.wait_for(job, lambda found: found["attempt"] == 2 and found["progress"]["epoch"] > 0)
        assert local.http.get("/readyz").status_code == 200
        assert local.http.post(f"/jobs/{job}/cancel").status_code == 202
        local.wait_for(job, lambda found: bool(found["terminal"]))
    assert "not-to-be-shown" not in lines.text


def test_a_server_whose_disk_is_full_is_a_507_for_writers_only_until_it_is_not(local: LocalService) -> None:
    job = local.enqueue(line())
    with local.database.connection(writes=True) as connection:
        body = "BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END"
        connection.execute(text(f"CREATE FUNCTION fail() RETURNS trigger AS $$ {body} $$ LANGUAGE plpgsql"))
        connection.execute(text("CREATE TRIGGER fails BEFORE INSERT ON jobs EXECUTE FUNCTION fail()"))
    assert "disk" in check_problem(local.post("/train", line()), 507)["detail"]
    assert local.http.get(f"/jobs/{job}").status_code == 200
    with local.database.connection(writes=True) as connection:
        connection.execute(text("DROP TRIGGER fails ON jobs"))
    assert local.post("/train", line()).status_code == 202
