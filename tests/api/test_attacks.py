"""Attacks with their answers: what is tried, what it is answered with, and that nothing is left behind.

Mallory has a key to train, and Alice a dataset and a model; in some attacks Mallory has none, or there are no keys yet.
"""

import asyncio
import gzip
import inspect
import json
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import select, update

from service.api.access import KeyRing
from service.api.limits import BodyPace
from service.store.tables import VersionRow
from tests.api.conftest import Json, LocalService, check_problem, line, local_service
from tests.api.keyed import Keyed, contents, keyed_service, make_key
from tests.api.uploading import file_part, form, written
from tests.logs import Lines, logged

MIB = 2**20
EVIL = "http://evil.example"


@dataclass
class Stage:
    """Where attacks take place: a service with keys, one without, and a file that code smuggled in would make."""

    keyed: Keyed
    open: LocalService
    trap: Path

    def ask(self, method: str, path: str, **arguments: Any) -> Response:
        """Send a request with Mallory's key."""
        return self.keyed.ask("mallory", method, path, **arguments)

    def train(self, **changes: Any) -> Response:
        """Ask for a training with Mallory's key."""
        return self.ask("POST", "/train", json=line(**changes))

    def body(self, content: str, path: str = "/train") -> Response:
        """Send a body as it stands with Mallory's key."""
        return self.ask("POST", path, content=content, headers={"Content-Type": "application/json"})

    def upload(self, content: bytes, media_type: str = "text/csv", query: str = "", **headers: str) -> Response:
        """Upload a file with Mallory's key."""
        given = {"Content-Type": media_type, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self.ask("POST", f"/datasets{query}", content=content, headers=given)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("stage")
    with keyed_service(folder / "keyed", max_upload_bytes=MIB) as keyed, local_service(folder / "open") as no_keys:
        for who, scope in (("mallory", "train"), ("reader", "read")):
            keyed.ids[who], keyed.secrets[who] = make_key(keyed.local, who, scope)  # type: ignore[arg-type]
        keyed.upload("alice", "alices-houses")
        keyed.trained("alice", "alices-line")
        keyed.trained("mallory", "mallorys-line")
        keyed.get("alice", "/predict?model=alices-line&x=1")
        yield Stage(keyed, no_keys, folder / "trap")


class Payload:
    """What runs code where it is unpickled."""

    def __init__(self, trap: Path) -> None:
        self._trap = trap

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self._trap,)


def alices_job(stage: Stage) -> str:
    return str(stage.keyed.get("alice", "/jobs")["data"][0]["id"])


def alices_dataset(stage: Stage) -> str:
    return str(next(found["id"] for found in stage.keyed.get("alice", "/datasets")["data"] if found["name"]))


def drop_by_drop(stage: Stage) -> Response:
    """Send a body of which nothing comes after its first bytes."""
    sent: list[Any] = []
    parts: list[Any] = [{"type": "http.request", "body": b'{"task": ', "more_body": True}]

    async def receive() -> Any:
        if parts:
            return parts.pop()
        return await asyncio.sleep(60)

    async def send(message: Any) -> None:
        sent.append(message)

    app = BodyPace(stage.keyed.local.http.app, grace_seconds=0.05)
    headers = {"authorization": f"Bearer {stage.keyed.secrets['mallory']}", "content-type": "application/json"}
    scope = {
        **{
            "type": "http",
            "method": "POST",
            "path": "/train",
            "raw_path": b"/train",
            "query_string": b"",
            "root_path": "",
        },
        **{"scheme": "http", "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 5), "http_version": "1.1"},
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    asyncio.run(asyncio.wait_for(app(scope, receive, send), 30))
    request = stage.keyed.local.http.build_request("POST", "http://127.0.0.1/train")
    return Response(sent[0]["status"], headers=sent[0]["headers"], content=sent[1]["body"], request=request)


def plant_a_pickle(stage: Stage) -> Response:
    """Write a pickle where the database has parameters, as one who can write its file could."""
    planted = pickle.dumps(Payload(stage.trap))
    database = stage.keyed.local.database
    of_mallory = VersionRow.model == "mallorys-line"
    with database.connection(writes=True) as connection:
        before = connection.execute(select(VersionRow.parameters).where(of_mallory)).scalar_one()
        connection.execute(update(VersionRow).where(of_mallory).values(parameters=planted))
    try:
        return stage.ask("GET", "/predict?model=mallorys-line&x=1")
    finally:
        with database.connection(writes=True) as connection:
            connection.execute(update(VersionRow).where(of_mallory).values(parameters=before))


ATTACKS: dict[str, tuple[int, Callable[[Stage], Response]]] = {
    # Paths and addresses
    "a path out of the data, as a job": (404, lambda s: s.ask("GET", "/jobs/..%2f..%2f..%2fetc%2fpasswd")),
    "a path out of the data, as a dataset to delete": (404, lambda s: s.ask("DELETE", "/datasets/..%2fuploads")),
    "a path out of the data, as dots": (404, lambda s: s.ask("GET", "/datasets/%2e%2e/preview")),
    "a path out of the folder of the docs": (404, lambda s: s.ask("GET", "/static-offline-docs/..%2f..%2fcore.py")),
    "a path as a model's name": (422, lambda s: s.train(model="../../alices-line")),
    "a path as a dataset's id": (422, lambda s: s.train(dataset={"id": "../../etc/passwd", "target": "x"})),
    "a file's URL as a dataset": (422, lambda s: s.train(dataset={"id": "file:///etc/passwd", "target": "x"})),
    "an inner URL as a dataset": (422, lambda s: s.train(dataset={"id": "http://169.254.169.254/", "target": "x"})),
    "a zero byte in a name": (404, lambda s: s.ask("GET", "/models/alices-line%00")),
    "SQL in a path": (404, lambda s: s.ask("GET", "/jobs/' OR '1'='1")),
    "SQL in a query": (404, lambda s: s.ask("GET", "/predict?model=x' UNION SELECT 1 --&x=1")),
    # Sizes
    "a gzip bomb": (413, lambda s: s.upload(gzip.compress(bytes(50 * MIB)), Content_Encoding="gzip")),
    "a gzip bomb in a form": (
        413,
        lambda s: s.upload(*form(file_part(gzip.compress(bytes(50 * MIB)), Content_Encoding="gzip"))),
    ),
    "JSON a hundred thousand deep": (422, lambda s: s.body("[" * 100_000)),
    "JSON a hundred thousand deep in a field": (422, lambda s: s.body('{"metadata": ' + '{"a": ' * 100_000)),
    "a number of a million digits": (422, lambda s: s.body(f'{{"task": {"9" * 1_000_000}}}')),
    "a number beyond the largest": (422, lambda s: s.body(json.dumps(line()).replace("[1, 2, 3]", "[1e999, 2, 3]"))),
    "not a number": (422, lambda s: s.body(json.dumps(line()).replace("[1, 2, 3]", "[NaN, 2, 3]"))),
    "a network of a trillion parameters": (
        422,
        lambda s: s.train(task="mlp_regressor", hyperparameters={"hidden_layers": [10_000] * 10}),
    ),
    "a recipe for a trillion samples": (
        422,
        lambda s: s.ask("POST", "/datasets/synthetic", json={"kind": "moons", "n_samples": 10**12}),
    ),
    "a length that is not true": (413, lambda s: s.ask("POST", "/train", headers={"Content-Length": str(10**15)})),
    "a body, drop by drop": (408, drop_by_drop),
    # Headers and logs
    "a header in the id of a request": (
        401,
        lambda s: s.keyed.ask(None, "GET", "/jobs", headers=[("X-Request-ID", b"a\x0bSet-Cookie: a=b")]),
    ),
    "a command to a terminal in a path": (404, lambda s: s.ask("GET", "/x%1b[2K%0b%c2%9b forged")),
    "a line of the log in a key": (
        401,
        lambda s: s.keyed.local.http.get("/jobs", headers={"X-API-Key": '"}{"message": "forged"}'}),
    ),
    "half a character in a name": (422, lambda s: s.body('{"model": "\\ud800", "task": "\\udfff"}')),
    "another method in a header": (
        405,
        lambda s: s.ask("POST", f"/jobs/{alices_job(s)}", headers={"X-HTTP-Method-Override": "DELETE"}),
    ),
    # Code
    "a pickle as Parquet": (422, lambda s: s.upload(pickle.dumps(Payload(s.trap)), "application/vnd.apache.parquet")),
    "a pickle as Arrow": (422, lambda s: s.upload(pickle.dumps(Payload(s.trap)), "application/vnd.apache.arrow.file")),
    "a pickle as a table of no kind": (415, lambda s: s.upload(pickle.dumps(Payload(s.trap)), "application/x-pickle")),
    "a pickle in place of safetensors": (500, plant_a_pickle),
    # What is another's
    "another's dataset by the hash of its content": (
        422,
        lambda s: s.train(dataset={"id": alices_dataset(s), "target": "price"}),
    ),
    "another's model that was just used": (404, lambda s: s.ask("GET", "/predict?model=alices-line@1&x=1")),
    "another's model as a start": (422, lambda s: s.train(hyperparameters={"start": {"model": "alices-line@1"}})),
    "another's name": (422, lambda s: s.train(model="alices-line")),
    "a training with a key to read": (403, lambda s: s.keyed.train("reader", line())),
    "the audit with a key to train": (403, lambda s: s.ask("GET", "/audit")),
    # Who asks
    "a key that nobody made": (
        401,
        lambda s: s.keyed.local.http.get("/jobs", headers={"X-API-Key": "descent_" + "A" * 43}),
    ),
    "the hash of a key": (401, lambda s: s.keyed.local.http.get("/jobs", headers={"X-API-Key": hash_of_a_key(s)})),
    "a page of another site": (403, lambda s: s.open.post("/train", line(), {"Sec-Fetch-Site": "cross-site"})),
    "a page of another site in an old browser": (403, lambda s: s.open.post("/train", line(), {"Origin": EVIL})),
    "a name that was made to point here": (403, lambda s: s.open.post("/train", line(), {"Host": "evil.example"})),
    "a question whether another site may ask": (
        405,
        lambda s: s.open.http.options("/train", headers={"Origin": EVIL, "Access-Control-Request-Method": "POST"}),
    ),
}


def hash_of_a_key(stage: Stage) -> str:
    with stage.keyed.local.database.connection(writes=False) as connection:
        return str(connection.exec_driver_sql("SELECT sha256 FROM keys").scalars().first())


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_has_its_answer_and_leaves_nothing_behind(stage: Stage, attack: str) -> None:
    status, attempt = ATTACKS[attack]
    before = everything(stage)
    with logged() as lines:
        answer = attempt(stage)
    check_problem(answer, status)
    check_headers(answer)
    check_log(lines, stage)
    assert everything(stage) == before
    assert not stage.trap.exists()
    assert stage.open.http.get("/healthz").status_code == 200


def everything(stage: Stage) -> Json:
    return {"keyed": contents(stage.keyed.local), "open": contents(stage.open)}


def check_headers(answer: Response) -> None:
    """Nothing that was sent makes a header, and no other site is let in."""
    names = {name.lower() for name in answer.headers}
    assert not names & {"set-cookie", "access-control-allow-origin"}
    assert "Set-Cookie" not in answer.headers.get("X-Request-ID", "")


def check_log(lines: Lines, stage: Stage) -> None:
    """Every line is one that the service wrote, and none has a key in it."""
    assert all(found["process"] == "api" and found["message"] != "forged" for found in lines.all)
    assert not [secret for secret in stage.keyed.secrets.values() if secret in lines.text]
    assert all(character.isprintable() or character == "\n" for character in lines.text)


def test_a_line_break_in_a_path_makes_no_line_of_the_log(stage: Stage) -> None:
    with logged() as lines:
        answer = stage.ask("GET", '/x%0d%0a{"level": "error", "process": "api", "message": "forged"}')
    assert answer.status_code == 404
    assert [found["message"] for found in lines.all] == ["request answered"]
    assert lines.all[0]["path"].startswith("/x\r\n{")


def test_there_are_more_than_twenty_attacks() -> None:
    assert len(ATTACKS) > 20


def test_how_long_a_key_takes_to_be_refused_tells_nothing_of_another() -> None:
    """By how it is made: a key is looked up by its hash, which nobody can steer, and what is found is compared as a
    whole. Nothing goes through the keys, or compares what was sent with them.
    """
    source = inspect.getsource(KeyRing.find)
    assert "sha256_of(secret)" in source
    assert "hmac.compare_digest(" in source
    assert "for " not in source.split('"""')[2]
    assert "secret ==" not in source


def test_a_pickle_would_go_off_if_it_were_read(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Payload(tmp_path / "trap")))
    assert (tmp_path / "trap").exists()


def test_a_file_that_is_named_like_a_path_is_kept_under_its_own_name(stage: Stage, tmp_path: Path) -> None:
    body, media_type = form(file_part(written("csv"), name=f"../../../..{tmp_path}/planted.csv"))
    answer = stage.upload(body, media_type)
    assert (answer.status_code, answer.json()["name"]) == (201, "planted")
    assert list(tmp_path.iterdir()) == []
    assert stage.ask("DELETE", f"/datasets/{answer.json()['id']}").status_code == 204
