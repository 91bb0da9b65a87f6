"""What is another's is not there: every endpoint with another's objects, taken from the OpenAPI document."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import func, select, update

from service.api.dialects import dialect_of
from service.api.feeds import JobsFeed
from service.keys import SCOPES
from service.store import datasets
from service.store.ownership import OWNED, Actor
from service.store.tables import (
    AliasRow,
    AuditRow,
    DatasetRow,
    JobRow,
    KeyRow,
    RegistryRow,
    Table,
    VersionRow,
    WorkerRow,
)
from tests.api.conftest import Json, check_fault, check_problem, line
from tests.api.event_stream import events_in
from tests.api.keyed import NAMES, Keyed, contents, keyed_service
from tests.api.uploading import kept

ROOT = Path(__file__).parents[2]
NOBODYS: set[type[Table]] = {KeyRow, AuditRow, WorkerRow, RegistryRow}
NOWHERE = {"job_id": "job_01M7ZZZZZZZZZZZZZZZZZZZZZZ", "dataset_id": "ds_nowhere", "name": "no-such-model"}
PARTS = {"version": "1", "alias": "best"}
"""Parts of a path that name nothing by themselves."""
OPEN = {"/algorithms", "/healthz", "/readyz", "/v2", "/v2/health/live", "/v2/health/ready"}


def check_refusal(answer: Response, status: int) -> str:
    """Check that an answer refuses a request in the shape that errors have at its path; give its sentence."""
    dialect = dialect_of(answer.request.url.path)
    if dialect is None:
        return str(check_problem(answer, status)["detail"])
    assert answer.status_code == status, answer.text
    told: Json = answer.json()
    assert told.keys() == dialect.schema.model_fields.keys()
    return str(told.get("error") or told["message"])


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    """A service in which Alice has a dataset, a job and a model, which was used."""
    with keyed_service(tmp_path_factory.mktemp("keyed")) as keyed:
        keyed.upload("alice", "alices-houses")
        keyed.trained("alice", "alices-line")
        keyed.ask("alice", "PUT", "/models/alices-line/aliases/best", json={"version": 1})
        keyed.get("alice", "/predict?model=alices-line&x=1")
        yield keyed


@pytest.fixture(scope="module")
def alices(keyed: Keyed) -> dict[str, str]:
    """What Alice has, by the names of the parts of paths."""
    (job,) = keyed.get("alice", "/jobs")["data"]
    of_file = next(found for found in keyed.get("alice", "/datasets")["data"] if found["name"])
    return {"job_id": job["id"], "dataset_id": of_file["id"], "name": job["model"]}


class Operation:
    """An operation of the document, and how to ask for it."""

    def __init__(self, document: Json, method: str, path: str) -> None:
        self.method, self.path = method.upper(), path
        self.described = document["paths"][path][method]
        self.scope = self.described.get("x-scope")
        self._schemas = document["components"]["schemas"]

    @property
    def is_stream(self) -> bool:
        return "text/event-stream" in self.described["responses"].get("200", {}).get("content", {})

    @property
    def names_objects(self) -> bool:
        return "{" in self.path

    def ask(self, keyed: Keyed, who: str | None, parts: dict[str, str]) -> Response:
        """Send it with the first example of its body, if it has one."""
        content = self.described.get("requestBody", {}).get("content", {}).get("application/json")
        body = {} if content is None else {"json": self._example(content)}
        return keyed.ask(who, self.method, self.path.format(**parts), **body)

    def _example(self, content: Json) -> Any:
        named = [one["value"] for one in content.get("examples", {}).values()][:1]
        reference = content["schema"].get("$ref", "").rpartition("/")[2]
        (example, *_) = named or self._schemas.get(reference, {}).get("examples") or [{}]
        return example


@pytest.fixture(scope="module")
def operations(keyed: Keyed) -> list[Operation]:
    """All operations that there are."""
    document = keyed.local.http.get("/openapi.json").json()
    return [Operation(document, method, path) for path, methods in document["paths"].items() for method in methods]


def test_of_every_table_it_is_known_whose_its_rows_are() -> None:
    """A new table goes into `OWNED`, with what makes its rows an owner's; or here, when they are nobody's."""
    assert {mapper.class_ for mapper in Table.registry.mappers} == OWNED.keys() | NOBODYS


def test_of_every_table_nobody_sees_rows_that_are_another_s(keyed: Keyed) -> None:
    n_rows = {}
    for who in ("alice", "a stranger"):
        with keyed.local.database.as_seen_by(Actor(who, sees_all=False)).reading() as session:
            n_rows[who] = {table: len(session.scalars(select(table)).all()) for table in OWNED}
    assert not any(n_rows["a stranger"].values())
    assert n_rows["alice"][AliasRow] == 1


def test_what_is_another_s_is_answered_as_what_is_not_there_and_stays_as_it_is(
    keyed: Keyed, operations: list[Operation], alices: dict[str, str]
) -> None:
    before = contents(keyed.local)
    n_asked = 0
    for operation in operations:
        if not operation.names_objects or operation.scope == "admin":
            continue
        answers = {}
        for parts in (alices, NOWHERE):
            answer = operation.ask(keyed, "bob", {**PARTS, **parts})
            text = answer.text
            for name, value in parts.items():
                text = text.replace(value, name)
            answers[parts["name"]] = (answer.status_code, text)
        theirs, nobodys = answers.values()
        assert theirs[0] == 404, (operation.method, operation.path, theirs)
        assert theirs == nobodys
        n_asked += 1
    assert n_asked >= 26
    assert contents(keyed.local) == before


def test_what_is_one_s_own_is_there_and_for_an_admin_everything_is(
    keyed: Keyed, operations: list[Operation], alices: dict[str, str]
) -> None:
    for operation in operations:
        if operation.names_objects and operation.method == "GET":
            for who in ("alice", "rita", "ada"):
                answer = operation.ask(keyed, who, {**PARTS, **alices})
                assert answer.status_code == 200, (operation.path, who, answer.text)


def test_no_list_and_no_answer_to_others_has_anything_of_one_s_own(
    keyed: Keyed, operations: list[Operation], alices: dict[str, str]
) -> None:
    found = [
        operation
        for operation in operations
        if operation.method == "GET" and not operation.names_objects and not operation.is_stream
    ]
    assert len(found) >= 5
    for operation in found:
        if operation.scope in ("read", "train"):
            theirs, own = (operation.ask(keyed, who, {}).text for who in ("bob", "alice"))
            assert not [value for value in (*alices.values(), "alices-houses") if value in theirs], operation.path
            assert operation.path == "/predict" or any(value in own for value in alices.values()), operation.path


def test_without_a_key_nothing_is_answered_and_no_body_is_read(keyed: Keyed, operations: list[Operation]) -> None:
    before = contents(keyed.local)
    closed = [operation for operation in operations if operation.path not in OPEN]
    assert all(operation.scope for operation in closed)
    for operation in closed:
        path = operation.path.format(**PARTS, **NOWHERE)
        answer = keyed.ask(None, operation.method, path, content=b"{" * 10_000)
        check_refusal(answer, 401)
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="descent"'
    assert contents(keyed.local) == before


def test_a_key_of_a_narrower_scope_is_refused(
    keyed: Keyed, operations: list[Operation], alices: dict[str, str]
) -> None:
    before = contents(keyed.local)
    for operation in operations:
        for who, (_, scope) in NAMES.items():
            if operation.scope and SCOPES.index(scope) < SCOPES.index(operation.scope):
                told = check_refusal(operation.ask(keyed, who, {**PARTS, **alices}), 403)
                assert f"needs a key of the scope {operation.scope!r}" in told
    assert contents(keyed.local) == before
    declared = {operation.path: operation.scope for operation in operations}
    assert (declared["/predict"], declared["/train"], declared["/metrics"]) == ("read", "train", "admin")
    assert declared["/train/check"] == "read", "nothing is queued"
    of_protocols = {scope for path, scope in declared.items() if dialect_of(path) and path not in OPEN}
    assert of_protocols == {"read"}, "they change nothing"


@pytest.mark.parametrize(
    "path",
    ["/predict?model={name}@1&x=1", "/jobs?after={job_id}", "/datasets?after={dataset_id}", "/jobs?model={name}"],
)
def test_what_is_another_s_cannot_be_named_in_a_query_either(keyed: Keyed, alices: dict[str, str], path: str) -> None:
    theirs, nobodys = (keyed.ask("bob", "GET", path.format(**parts)) for parts in (alices, NOWHERE))
    assert theirs.status_code == nobodys.status_code
    if "predict" in path:
        check_problem(theirs, 404)
    assert not [value for value in alices.values() if value in theirs.text.replace(theirs.url.query.decode(), "")] or (
        theirs.status_code == 404
    )


def test_the_index_of_the_inference_protocol_lists_what_is_one_s_own(keyed: Keyed, alices: dict[str, str]) -> None:
    indexed = {who: keyed.ask(who, "POST", "/v2/repository/index").json() for who in ("alice", "rita", "ada", "bob")}
    assert {who: any(one["name"] == alices["name"] for one in found) for who, found in indexed.items()} == {
        **dict.fromkeys(("alice", "rita", "ada"), True),
        "bob": False,
    }


def test_nobody_can_train_on_another_s_dataset_or_go_on_from_another_s_model(
    keyed: Keyed, alices: dict[str, str]
) -> None:
    dataset = {"id": alices["dataset_id"], "target": "price"}
    check_fault(keyed.train("bob", line(dataset=dataset)), "#/dataset/id", "there is no dataset")
    start = {"hyperparameters": {"start": {"model": f"{alices['name']}@1"}}}
    check_fault(keyed.train("bob", line(**start)), "#/hyperparameters/start/model", "there is no model")
    assert keyed.ask("alice", "POST", "/train/check", json=line(**start)).status_code == 200


def test_a_name_is_its_owner_s_from_the_first_job_on(keyed: Keyed) -> None:
    job = keyed.train("bob", line(model="bobs")).json()
    refused = keyed.train("alice", line(model="bobs"))
    check_fault(refused, "#/model", "the name 'bobs' is taken: choose another")
    assert "bob'" not in refused.text
    keyed.ask("bob", "POST", f"/jobs/{job['id']}/cancel")
    assert keyed.train("alice", line(model="bobs")).status_code == 202, "no model came of it"
    check_fault(keyed.train("bob", line(model="bobs")), "#/model", "is taken")
    check_fault(keyed.train("ada", line(model="alices-line")), "#/model", "is taken")
    keyed.local.work()
    assert keyed.get("alice", "/models/bobs")["latest_version"] == 1


def test_a_job_that_an_admin_retries_stays_its_owner_s(keyed: Keyed, alices: dict[str, str]) -> None:
    answer = keyed.ask("ada", "POST", f"/jobs/{alices['job_id']}/retry")
    assert answer.status_code == 202
    assert keyed.get("alice", f"/jobs/{answer.json()['id']}")["retry_of"] == alices["job_id"]
    keyed.local.work()
    assert keyed.get("alice", f"/models/{alices['name']}")["latest_version"] == 2


def test_an_idempotency_key_is_its_owner_s(keyed: Keyed) -> None:
    mine, theirs = (keyed.train(who, line(), **{"Idempotency-Key": "one"}) for who in ("alice", "bob"))
    assert mine.json()["id"] != theirs.json()["id"]
    assert "Idempotency-Replayed" not in theirs.headers
    again = keyed.train("bob", line(), **{"Idempotency-Key": "one"})
    assert again.json()["id"] == theirs.json()["id"]


def test_the_same_content_of_two_owners_is_a_dataset_of_each(keyed: Keyed) -> None:
    content = b"a,b\n1,2\n3,4\n5,6\n"
    mine, theirs = (keyed.upload(who, f"{who}s-own", content) for who in ("alice", "bob"))
    assert (mine.status_code, theirs.status_code) == (201, 201), "nobody is told that another has it"
    identifier = mine.json()["id"]
    assert theirs.json()["id"] == identifier
    assert keyed.upload("bob", "again", content).status_code == 200
    path = f"/datasets/{identifier}"
    assert [keyed.get(who, path)["name"] for who in ("alice", "bob")] == ["alices-own", "again"]
    job = keyed.train("bob", line(dataset={"id": identifier, "target": "b"})).json()
    assert keyed.ask("alice", "DELETE", path).status_code == 204, "another's job is in nobody's way"
    assert keyed.ask("alice", "GET", path).status_code == 404
    assert "was deleted" in keyed.ask("alice", "GET", path).json()["detail"]
    check_problem(keyed.ask("bob", "DELETE", path), 409)
    keyed.local.work()
    assert keyed.get("bob", f"/jobs/{job['id']}")["status"] == "succeeded"
    assert len(keyed.get("bob", f"{path}/preview")["rows"]) == 3
    assert keyed.ask("bob", "DELETE", path).status_code == 204
    assert identifier not in kept(keyed.local.settings.data_dir)
    assert keyed.upload("alice", "back", content).status_code == 201


def test_an_admin_deletes_a_dataset_for_all(keyed: Keyed) -> None:
    content = b"a,b\n1,2\n3,4\n"
    (identifier,) = {keyed.upload(who, who, content).json()["id"] for who in ("alice", "bob")}
    assert keyed.get("ada", f"/datasets/{identifier}")["name"] == "alice", "the first of them"
    assert keyed.ask("ada", "DELETE", f"/datasets/{identifier}").status_code == 204
    for who in ("alice", "bob", "ada"):
        assert keyed.ask(who, "GET", f"/datasets/{identifier}").status_code == 404
    assert identifier not in kept(keyed.local.settings.data_dir)


def test_a_dataset_that_an_admin_trains_on_stays_when_its_owner_deletes_it(keyed: Keyed) -> None:
    identifier = keyed.upload("alice", "lent", b"a,b\n1,2\n3,4\n7,8\n").json()["id"]
    job = keyed.train("ada", line(dataset={"id": identifier, "target": "b"})).json()
    assert keyed.ask("alice", "DELETE", f"/datasets/{identifier}").status_code == 204
    keyed.local.work()
    assert keyed.get("ada", f"/jobs/{job['id']}")["status"] == "succeeded"


def test_events_of_all_jobs_are_those_of_one_s_own(keyed: Keyed) -> None:
    told = {}
    for who in ("alice", "bob", "ada"):
        feed = JobsFeed(None, Actor(who, sees_all=who == "ada"))
        with keyed.local.database.reading() as session:
            pieces = feed.tell(session, None).pieces
        told[who] = {event.data["id"] for event in events_in(b"".join(pieces).decode().split("\n"))}
        assert told[who] == {job["id"] for job in keyed.get(who, "/jobs?limit=1000")["data"]}
    assert not told["alice"] & told["bob"]


def test_the_place_in_the_queue_is_that_among_all(keyed: Keyed) -> None:
    keyed.local.work()
    places = [keyed.train(who, line()).json()["queue_position"] for who in ("alice", "bob", "alice")]
    assert places == [1, 2, 3]
    assert [job["queue_position"] for job in keyed.get("alice", "/jobs?status=queued")["data"]] == [3, 1]
    keyed.local.work()


def test_a_session_is_narrowed_whatever_it_is_asked(keyed: Keyed, alices: dict[str, str]) -> None:
    """Counts, joins, subqueries, versions by their number, and statements that change something."""
    for owner, sees in (("alice", True), ("nobody", False)):
        database = keyed.local.database.as_seen_by(Actor(owner, sees_all=False))
        with database.reading() as session:
            assert bool(session.scalar(select(func.count()).select_from(JobRow))) is sees
            assert bool(session.scalar(select(func.max(VersionRow.version)))) is sees
            inner = select(func.max(JobRow.sequence)).scalar_subquery()
            assert bool(session.scalars(select(JobRow.id).where(JobRow.sequence == inner)).all()) is sees
            assert bool(session.get(DatasetRow, alices["dataset_id"])) is sees
            assert bool(datasets.page(session, limit=9)[0]) is sees
        with database.writing() as session:
            changed = (
                session.execute(update(JobRow).values(paused=JobRow.paused).returning(JobRow.owner)).scalars().all()
            )
            assert set(changed) == ({"alice"} if sees else set())


def test_no_endpoint_reaches_a_database_that_sees_more_than_its_sender() -> None:
    """An endpoint is given `TheDatabase`; the one that sees everything is reached where that is made."""
    found = {path.name for path in (ROOT / "service").rglob("*.py") if "state.database" in path.read_text()}
    assert found == {"app.py", "dependencies.py"}
