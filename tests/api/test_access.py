"""Keys: how they are sent, made and revoked; and who is let in while there are none."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, update
from starlette.testclient import TestClient

from service.api.access import KeyRing
from service.api.feeds import JobsFeed, Watcher
from service.api.waiting import JobWatch
from service.app import create_app
from service.keys import Key, new_secret, sha256_of, write_keys
from service.settings import Settings
from service.store import keys, retention, workers
from service.store.columns import now
from service.store.database import Database
from service.store.ownership import NOBODY
from service.store.tables import AuditRow
from tests.api.conftest import LocalService, check_problem, line, local_service
from tests.api.keyed import Keyed, contents, keyed_service, make_key
from tests.databases import migrated_database, settings_of
from tests.logs import logged


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    with keyed_service(tmp_path_factory.mktemp("keyed")) as keyed:
        yield keyed


@pytest.mark.parametrize("form", ["Authorization: Bearer {}", "authorization: bearer  {}", "X-API-Key: {}"])
def test_a_key_is_sent_as_a_bearer_or_in_a_header_of_its_own(keyed: Keyed, form: str) -> None:
    name, _, value = form.format(keyed.secrets["bob"]).partition(": ")
    assert keyed.local.http.get("/jobs", headers={name: value}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ([], "needs an access key"),
        ([("Authorization", "Bearer {}x")], "not known here, or has been revoked"),
        ([("Authorization", "Bearer descent_")], "not known here"),
        ([("Authorization", "Bearer " + "k" * 5000)], "not known here"),
        ([("Authorization", "Bearer ")], "not known here"),
        ([("Authorization", "Basic {}")], "of another form"),
        ([("Authorization", "{}")], "of another form"),
        ([("Authorization", "Bearer {}"), ("X-API-Key", "{}")], "several access keys"),
        ([("X-API-Key", "{}"), ("X-API-Key", "{}")], "several access keys"),
        ([("X-API-Key", "\x80\xff")], "not known here"),
        ([("Cookie", "key={}")], "needs an access key"),
    ],
)
def test_anything_else_is_refused_and_no_key_is_in_the_log(
    keyed: Keyed, headers: list[tuple[str, str]], words: str
) -> None:
    secret = keyed.secrets["bob"]
    sent = [(name.encode(), value.format(secret).encode("latin-1")) for name, value in headers]
    with logged() as lines:
        problem = check_problem(keyed.local.http.get(f"/jobs?key={secret}", headers=sent), 401)
    assert words in problem["detail"]
    assert secret not in lines.text
    assert lines.of(f"request refused: {problem['detail']}")


def test_a_secret_is_nowhere_but_with_its_owner(keyed: Keyed) -> None:
    in_files = b"".join(path.read_bytes() for path in keyed.local.settings.data_dir.rglob("*") if path.is_file())
    content = in_files + repr(contents(keyed.local)).encode()
    for secret in keyed.secrets.values():
        assert sha256_of(secret).encode() in content
        assert secret.encode() not in content


def test_a_request_in_the_log_has_the_id_of_its_key(keyed: Keyed) -> None:
    with logged() as lines:
        keyed.get("bob", "/jobs")
    (found,) = lines.of("request answered")
    assert found["key"] == keyed.ids["bob"]


@pytest.mark.parametrize(
    "path",
    [
        *("/healthz", "/algorithms", "/docs", "/redoc", "/openapi.json", "/static-offline-docs/swagger-ui.css"),
        *("/v2", "/v2/health/live", "/v2/health/ready"),
    ],
)
def test_what_tells_nothing_of_anybody_needs_no_key(keyed: Keyed, path: str) -> None:
    assert keyed.local.http.get(path).status_code == 200


@pytest.mark.both_systems
def test_a_key_is_refused_in_every_process_from_its_revocation_on(local: LocalService, beside: LocalService) -> None:
    key_id, secret = make_key(local, "alice", "read")
    headers = {"X-API-Key": secret}
    for _ in range(20):
        assert [one.http.get("/jobs", headers=headers).status_code for one in (local, beside)] == [200, 200]
        with local.database.writing() as session:
            keys.revoke(session, key_id)
        assert [one.http.get("/jobs", headers=headers).status_code for one in (beside, local)] == [401, 401]
        key_id, headers["X-API-Key"] = make_key(beside, "alice", "read")


def test_from_the_first_key_on_one_is_needed_also_when_the_last_is_revoked(local: LocalService) -> None:
    job = local.train(line(model="line"))
    _, secret = make_key(local, "ada", "admin")
    assert local.http.get("/jobs").status_code == 401
    found = local.http.get("/jobs", headers={"X-API-Key": secret}).json()["data"]
    assert [one["id"] for one in found] == [job["id"]], "an admin sees what was made without a key"
    _, of_local = make_key(local, "local", "read")
    assert local.http.get("/models/line", headers={"X-API-Key": of_local}).status_code == 200
    with local.database.writing() as session:
        for key in keys.listing(session):
            keys.revoke(session, key.id)
    assert local.http.get("/jobs").status_code == local.http.get("/jobs", headers={"X-API-Key": secret}).status_code
    assert local.http.get("/jobs").status_code == 401


def test_keys_of_the_environment_count_beside_those_of_the_database(tmp_path: Path) -> None:
    old, new = new_secret(), new_secret()
    both = write_keys([Key("", "web", "train", sha256_of(secret)) for secret in (old, new)])
    with local_service(tmp_path, api_keys=both) as service:
        job = service.post("/train", line(), {"X-API-Key": old}).json()
        assert service.http.get(f"/jobs/{job['id']}", headers={"X-API-Key": new}).status_code == 200, "the same name"
        _, ada = make_key(service, "ada", "admin")
        (entry,) = service.http.get("/audit", headers={"X-API-Key": ada}).json()["data"]
        assert (entry["key"], entry["owner"]) == ("web/1", "web")
        assert service.http.get("/jobs").status_code == 401


def test_the_stream_of_one_whose_key_is_revoked_ends(local: LocalService) -> None:
    key_id, _ = make_key(local, "alice", "read")
    other_id, _ = make_key(local, "alice", "read")

    async def watch() -> int:
        ring = KeyRing(local.database, local.settings)
        watch = JobWatch(local.database, ring.accepted)
        mine, others = Watcher(None, b"x", key_id), Watcher(None, b"x", other_id)
        feed = JobsFeed(None, NOBODY)
        with watch.joined(feed, mine), watch.joined(feed, others):
            await anext(mine)
            await asyncio.to_thread(revoke)
            async for _ in mine:
                pass
            n_left = len([one for one in (mine, others) if one.is_waiting])
        watch.stop()
        return n_left

    def revoke() -> None:
        with local.database.writing() as session:
            keys.revoke(session, key_id)

    assert asyncio.run(asyncio.wait_for(watch(), 30)) == 1


CROSS = "a page of another site"
ALONE = "only this machine is answered"


@pytest.mark.parametrize(
    ("method", "headers", "words"),
    [
        ("POST", {}, None),
        ("POST", {"Host": "localhost:8000"}, None),
        ("POST", {"Host": "[::1]:8000"}, None),
        ("POST", {"Host": "127.0.0.2"}, None),
        ("POST", {"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1"}, None),
        ("POST", {"Sec-Fetch-Site": "none"}, None),
        ("POST", {"Origin": "http://127.0.0.1"}, None),
        ("POST", {"Sec-Fetch-Site": "cross-site"}, CROSS),
        ("POST", {"Sec-Fetch-Site": "same-site"}, CROSS),
        ("POST", {"Origin": "http://evil.example"}, CROSS),
        ("POST", {"Origin": "http://127.0.0.1:9000"}, CROSS),
        ("POST", {"Origin": "null"}, CROSS),
        ("DELETE", {"Origin": "http://evil.example"}, CROSS),
        ("GET", {"Sec-Fetch-Site": "cross-site"}, None),
        ("GET", {"Host": "evil.example"}, ALONE),
        ("POST", {"Host": "127.0.0.1.evil.example"}, ALONE),
        ("GET", {"Host": "localhost.evil.example:8000"}, ALONE),
        ("GET", {"Host": ""}, ALONE),
    ],
)
def test_without_keys_no_page_from_elsewhere_can_do_anything(
    service: LocalService, method: str, headers: dict[str, str], words: str | None
) -> None:
    answer = service.http.request(method, "/jobs", headers=headers)
    if words is None:
        assert answer.status_code == (200 if method == "GET" else 405)
    else:
        assert words in check_problem(answer, 403)["detail"]


@pytest.mark.parametrize(("allow_remote", "status"), [(False, 403), (True, 200)])
def test_without_keys_another_machine_is_answered_only_where_that_is_allowed(
    tmp_path: Path, allow_remote: bool, status: int
) -> None:
    settings = settings_of(tmp_path, allow_remote=allow_remote)
    migrated_database(settings.database_place).close()
    app = create_app(settings)
    with TestClient(app, "http://192.0.2.1", client=("192.0.2.7", 50000)) as http:
        assert http.get("/jobs").status_code == http.get("/jobs", headers={"Host": "localhost"}).status_code == status
        assert http.get("/healthz").status_code == 200
        assert http.post("/train", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


def test_with_keys_any_machine_is_answered_under_any_name(keyed: Keyed) -> None:
    assert keyed.ask("bob", "GET", "/jobs", headers={"Host": "descent.example"}).status_code == 200
    crossing = keyed.ask("bob", "POST", "/train", headers={"Sec-Fetch-Site": "cross-site"})
    check_problem(crossing, 403)


def test_so_many_jobs_may_be_a_key_s(tmp_path: Path) -> None:
    with keyed_service(tmp_path, max_jobs_per_key=2) as keyed:
        jobs = [keyed.train("alice", line()).json() for _ in range(2)]
        keyed.ask("alice", "POST", f"/jobs/{jobs[0]['id']}/pause")
        refused = keyed.train("alice", line())
        detail = check_problem(refused, 429)["detail"]
        assert "'alice' has 2 jobs queued or running and 2 is the limit (setting DESCENT_MAX_JOBS_PER_KEY)" in detail
        assert int(refused.headers["Retry-After"]) >= 1
        assert keyed.train("bob", line()).status_code == 202, "another's limit is another"
        keyed.ask("alice", "POST", f"/jobs/{jobs[0]['id']}/cancel")
        assert keyed.train("alice", line()).status_code == 202


def test_the_audit_tells_who_did_what_and_nothing_of_what_was_refused_or_only_read(tmp_path: Path) -> None:
    with keyed_service(tmp_path) as keyed:
        dataset = keyed.upload("alice", "houses").json()["id"]
        job = keyed.train("alice", line(model="line"), **{"X-Request-ID": "req-7", "Idempotency-Key": "k"}).json()
        keyed.train("alice", line(model="line"), **{"Idempotency-Key": "k"})
        keyed.get("alice", f"/jobs/{job['id']}")
        assert keyed.ask("bob", "POST", f"/jobs/{job['id']}/cancel").status_code == 404
        keyed.ask("ada", "POST", f"/jobs/{job['id']}/cancel")
        assert keyed.ask("alice", "DELETE", f"/datasets/{dataset}").status_code == 204
        page = keyed.get("ada", "/audit?limit=3")
        inline = job["dataset"]
        expected = [
            ("alice", "DELETE /datasets/{dataset_id}", [dataset]),
            ("ada", "POST /jobs/{job_id}/cancel", [job["id"]]),
            ("alice", "POST /train", [inline, job["id"]]),
            ("alice", "POST /datasets", [dataset]),
        ]
        rest = keyed.get("ada", f"/audit?after={page['next']}")
        entries = page["data"] + rest["data"]
        assert [(entry["owner"], entry["action"], entry["objects"]) for entry in entries] == expected
        assert [entry["key"] for entry in entries] == [keyed.ids[owner] for owner, _, _ in expected]
        assert entries[2]["request_id"] == "req-7"
        assert (page["has_more"], rest["has_more"], rest["next"]) == (True, False, None)


def test_the_audit_is_kept_for_so_long(tmp_path: Path) -> None:
    with keyed_service(tmp_path, audit_retention_days=30) as keyed:
        for _ in range(2):
            keyed.train("alice", line())
        with keyed.local.database.writing() as session:
            old = now() - timedelta(days=31)
            session.execute(update(AuditRow).where(AuditRow.sequence == 1).values(at=old))
        assert not retention.sweep(keyed.local.database, keyed.local.settings)
        assert [entry["sequence"] for entry in keyed.get("ada", "/audit")["data"]] == [2]


def test_while_it_cannot_be_known_which_keys_there_are_nobody_is_let_in(tmp_path: Path) -> None:
    with keyed_service(tmp_path) as keyed:
        with keyed.local.database.connection(writes=True) as connection:
            connection.exec_driver_sql("ALTER TABLE keys RENAME TO lost")
        check_problem(keyed.ask("ada", "GET", "/jobs"), 503)
        with keyed.local.database.connection(writes=True) as connection:
            connection.exec_driver_sql("ALTER TABLE lost RENAME TO keys")
        assert keyed.ask("ada", "GET", "/jobs").status_code == 200


def test_the_keys_are_read_again_only_when_there_are_others(database: Database) -> None:
    with database.writing() as session:
        _, secret = keys.create(session, name="a", scope="read")
    ring = KeyRing(database, Settings())
    assert ring.find(secret) == ring.find(secret)
    reads: list[str] = []

    def note(*arguments: object) -> None:
        reads.append(str(arguments[2]))

    event.listen(database.engine, "before_cursor_execute", note)
    for _ in range(5):
        assert ring.find(secret) is not None
    assert reads == []
    with database.writing() as session:
        keys.create(session, name="b", scope="read")
    reads.clear()
    assert ring.find(secret) is not None
    assert ["sha256" in text for text in reads if "FROM keys" in text] == [False, True], "there is another"
    with database.writing() as session:
        workers.heartbeat(session, "worker_1", "cpu")
    reads.clear()
    assert ring.find(secret) is not None
    assert not any("sha256" in text for text in reads), "they are the same"
