"""GET /predict by both ways: what announces a body, be it of no bytes, goes the way of all requests."""

from collections.abc import Iterator
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from service.api.access import KeyRing, Principal
from service.api.metrics import RequestMetrics
from service.api.model_cache import ModelCache
from service.api.predict import Query
from service.api.short_way import ShortWay
from service.store import aliases, keys
from service.store.database import Database
from service.store.models import TrainedModel
from service.store.ownership import Actor
from tests.api.conftest import EXAMS, LOOPBACK, Json, LocalService, line, local_service, switch
from tests.api.keyed import Keyed, keyed_service
from tests.logs import logged

LONG = {"Content-Length": "0"}
EXAM = "quiz1=73&quiz2=80&quiz3=75"
QUERIES = {
    f"model=exams&{EXAM}": 200,
    f"model=exams@1&{EXAM}": 200,
    f"{EXAM}&model=exams@latest": 200,
    "model=exams&features=73,80,75": 200,
    "model=exams&features=73%2C80%2C+75": 200,
    "model=exams&quiz1=1e9&quiz2=80&quiz3=-75": 200,
    f"model=exams&{EXAM}&explain=true": 200,
    f"model=exams&{EXAM}&explain=false": 200,
    "model=switch&x=0.5": 200,
    "model=hers&x=4": 200,
    f"model=exams@7&{EXAM}": 404,
    "model=nothing&x=4": 404,
    "": 422,
    "model=&x=4": 422,
    "model=exams": 422,
    "model=exams&model=exams": 422,
    f"model=exams&{EXAM}&explain=maybe": 422,
    f"model=exams&{EXAM}&quiz4=1": 422,
    "model=exams&quiz1=73&quiz1=73&quiz2=80&quiz3=75": 422,
    "model=exams&quiz1=nan&quiz2=80&quiz3=%C3%A4": 422,
    "model=exams&quiz1=1e308&quiz2=1e308&quiz3=1e308": 422,
    "model=exams&features=1,2": 422,
    f"model=exams&{EXAM}&features=1,2,3": 422,
}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    with keyed_service(tmp_path_factory.mktemp("short_way")) as keyed:
        keyed.trained("alice", "exams", dataset=EXAMS, hyperparameters={"epochs": 5})
        keyed.trained("alice", "switch", **switch("off", "off", "on", "on"))
        keyed.trained("bob", "hers")
        yield keyed


def told(keyed: Keyed, who: str | None, query: str, headers: dict[str, str]) -> Json:
    """What a request is answered, what its line in the log tells, and what it counts in the metrics."""
    with logged() as lines:
        answer = keyed.ask(who, "GET", f"/predict?{query}", headers={"X-Request-ID": "mine", **headers})
    (line_,) = lines.of("request answered")
    line_ = {name: value for name, value in line_.items() if name not in ("time", "milliseconds")}
    return {"status": answer.status_code, "headers": dict(answer.headers), "body": answer.content, "line": line_}


@pytest.mark.parametrize("query", QUERIES)
def test_both_ways_give_the_same_answer_with_the_same_headers_and_the_same_line_in_the_log(
    keyed: Keyed, query: str
) -> None:
    long, short, again = (told(keyed, "ada", query, headers) for headers in (LONG, {}, {}))
    assert long == short == again
    assert long["status"] == QUERIES[query]
    assert (long["line"]["route"], long["line"]["key"]) == ("/predict", keyed.ids["ada"])


@pytest.mark.parametrize("who", ["alice", "bob", "rita", "ada", None])
@pytest.mark.parametrize("query", [f"model=exams&{EXAM}", "model=hers&x=4"])
def test_both_ways_let_in_the_same_and_show_them_the_same(keyed: Keyed, who: str | None, query: str) -> None:
    long, short, again = (told(keyed, who, query, headers) for headers in (LONG, {}, {}))
    assert long == short == again
    is_hers = query.startswith("model=hers")
    sees = {"alice": not is_hers, "bob": is_hers, "rita": not is_hers, "ada": True}
    assert long["status"] == (401 if who is None else 200 if sees[who] else 404)


@pytest.mark.parametrize(
    "headers",
    [
        {"If-None-Match": "*"},
        {"If-None-Match": '"other"'},
        {"Origin": "http://elsewhere.example", "Sec-Fetch-Site": "cross-site"},
        {"Host": "elsewhere.example"},
        {"X-API-Key": "descent_another"},
        {"Authorization": "Basic eA=="},
    ],
)
@pytest.mark.parametrize("reference", ["exams", "exams@1"])
def test_both_ways_read_the_same_headers(keyed: Keyed, headers: dict[str, str], reference: str) -> None:
    found = [told(keyed, "ada", f"model={reference}&{EXAM}", headers | more) for more in (LONG, {}, {})]
    assert found[0] == found[1] == found[2]


def test_both_ways_are_counted_alike(local: LocalService) -> None:
    local.train(line(model="m"))
    for headers in (LONG, {}, {}):
        assert local.http.get("/predict?model=m&x=4", headers=headers).status_code == 200
    count = 'descent_http_request_seconds_count{method="GET",route="/predict",status="2xx"} 3.0'
    assert count in local.http.get("/metrics").text.splitlines()
    assert "descent_http_requests_in_flight 1.0" in local.http.get("/metrics").text.splitlines()


def short_way(local: LocalService, ring: KeyRing, cache: ModelCache) -> TestClient:
    """The short way alone, with one at whose end there is only the word long."""
    metrics = RequestMetrics(CollectorRegistry())
    app = ShortWay(PlainTextResponse("long"), local.database, ring, cache, metrics)

    async def in_the_app(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "app": local.http.app}, receive, send)

    return TestClient(in_the_app, base_url=LOOPBACK, client=("127.0.0.1", 50000))


@pytest.mark.sqlite("a server is asked for the keys, which the short way may not wait for")
def test_the_short_way_is_taken_once_the_keys_and_the_model_were_read_until_something_is_committed(
    local: LocalService,
) -> None:
    local.train(line(model="m"))
    cache, ring = ModelCache(local.database), KeyRing(local.database, local.settings)
    client = short_way(local, ring, cache)

    def is_short(path: str = "/predict?model=m&x=4", method: str = "GET", **headers: str) -> bool:
        return client.request(method, path, headers=headers).text != "long"

    assert not is_short()
    ring.find(None)
    assert not is_short()
    cache.get(local.database, "m")
    assert [is_short() for _ in range(3)] == [True] * 3, "it is decided, and then known"
    with local.database.writing() as session:
        keys.create(session, name="a", scope="read")
    assert not is_short()
    cache.get(local.database, "m")
    assert not is_short(), "there are other keys"
    ring.find(None)
    assert not is_short(), "now one is needed"


@pytest.mark.sqlite("a server is asked for the keys, which the short way may not wait for")
def test_what_is_not_plain_does_not_take_the_short_way(local: LocalService) -> None:
    local.train(line(model="m"))
    cache, ring = ModelCache(local.database), KeyRing(local.database, local.settings)
    client = short_way(local, ring, cache)
    ring.find(None)
    cache.get(local.database, "m")
    assert client.get("/predict?model=m&x=4").json()["model"] == "m"
    for method, path, headers in (
        ("GET", "/predict?model=m&x=4", LONG),
        ("GET", "/predict?model=m&x=4", {"Host": "elsewhere.example"}),
        ("GET", "/predict?model=m&x=4&explain=true", {}),
        ("GET", "/predict?model=m&x=four", {}),
        ("GET", "/predict/?model=m&x=4", {}),
        ("HEAD", "/predict?model=m&x=4", {}),
        ("POST", "/predict?model=m&x=4", {}),
    ):
        answer = client.request(method, path, headers=headers)
        assert answer.headers["content-length"] == "4", (method, path)


MODELS: dict[str, Json] = {
    "line": line(dataset={"features": [[1, 2], [2, 1], [3, 5]], "targets": [2, 4, 6], "feature_names": ["a", "b"]}),
    "lines": line(dataset={"features": [[1, 2], [2, 1]], "targets": [[2, 1], [4, 0.5]], "feature_names": ["b", "a"]}),
    "switch": switch("off", "on", dataset={"features": [[1, 2], [3, 1]], "targets": ["off", "on"]}),
    "net": line(task="mlp_regressor", dataset={"features": [[1, 2], [2, 1]], "targets": [1, 2]}),
    "7": line(dataset={"features": [[1, 2], [2, 1]], "targets": [1, 3]}),
}


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    with local_service(tmp_path_factory.mktemp("several")) as local:
        for name, body in MODELS.items():
            local.train({**body, "model": name, "hyperparameters": {"epochs": 2}})
        yield local


NUMBERS = st.one_of(
    st.floats(1, 5).map(repr),
    st.floats(width=32).map(str),
    st.from_regex(r"\A[-+]?[0-9]{0,3}\.?[0-9]{0,3}([eE][-+]?[0-9]{1,3})?\Z"),
    st.sampled_from(["-0", "-0.0", "1e-400", "9" * 39, "9" * 40, "1" * 400, " 2", "2%20", "%32", "0x1", "1_0", "1,2"]),
)


@settings(max_examples=60)
@given(st.sampled_from(sorted(MODELS)), st.lists(NUMBERS, min_size=2, max_size=2), st.booleans(), st.booleans())
def test_a_number_is_the_same_to_both_ways_however_it_is_written_and_to_the_last_bit(
    several: LocalService, model: str, numbers: list[str], is_listed: bool, is_turned: bool
) -> None:
    names = several.http.get(f"/models/{model}").json()["versions"][0]["feature_names"]

    def ask(texts: list[str], headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        pairs = [f"{name}={text}" for name, text in zip(names, texts, strict=True)]
        features = f"features={','.join(texts)}" if is_listed else "&".join(pairs[::-1] if is_turned else pairs)
        answer = several.http.get(f"/predict?model={model}&{features}", headers={"X-Request-ID": "mine", **headers})
        return answer.status_code, answer.content, dict(answer.headers)

    for headers in (LONG, {}, {}):  # what is read, decided and known
        ask(["1.5", "2"], headers)
    assert ask(numbers, {}) == ask(numbers, LONG)


def test_the_next_answer_is_of_the_version_that_an_alias_was_moved_to(several: LocalService) -> None:
    several.train(line(model="7", hyperparameters={"epochs": 3}, dataset=MODELS["7"]["dataset"]))
    elsewhere = Database(several.database.place)
    for version in (1, 2) * 5:
        with elsewhere.writing() as session:
            aliases.assign(session, "7", "best", version)
        for _ in range(3):
            answer = several.http.get("/predict?model=7@best&features=1,2").json()
            expected = several.http.get(f"/predict?model=7@{version}&features=1,2").json()
            assert (answer, answer["version"]) == (expected, version)
    elsewhere.close()


class Defective(ModelCache):
    """A cache with a fault that only the short way meets."""

    def ready(self, actor: Actor, reference: str) -> TrainedModel | None:
        raise RuntimeError(f"{actor.owner} asked for {reference}")


class Busy(KeyRing):
    """Keys that are being read just now."""

    def find(self, secret: str | None, *, may_wait: bool = True) -> Principal | None:
        assert (secret, may_wait) == (None, False)
        raise BlockingIOError


def test_the_log_tells_of_no_defect_where_the_short_way_may_not_wait_for_the_keys(local: LocalService) -> None:
    local.train(line(model="m"))
    client = short_way(local, Busy(local.database, local.settings), ModelCache(local.database))
    with logged() as lines:
        assert client.get("/predict?model=m&x=4").text == "long"
    assert not lines.of("the short way of a prediction failed")


@pytest.mark.sqlite("a server is asked for the keys, which the short way may not wait for")
def test_a_defect_of_the_short_way_is_told_by_the_log_and_what_is_refused_is_not(local: LocalService) -> None:
    local.train(line(model="m"))
    ring = KeyRing(local.database, local.settings)
    ring.find(None)
    for cache, n_told in ((Defective(local.database), 1), (ModelCache(local.database), 0)):
        if n_told == 0:
            cache.get(local.database, "m")
        client = short_way(local, ring, cache)
        with logged() as lines:
            assert client.get("/predict?model=m&y=four").text == "long"
        assert len(lines.of("the short way of a prediction failed")) == n_told


@given(st.text(st.sampled_from("ab=&;+%4é "), max_size=20))
def test_a_query_is_taken_apart_as_everywhere(text: str) -> None:
    query = f"model=m&{text}"
    expected = parse_qsl(query, keep_blank_values=True)
    assert Query(query.encode("latin-1"))._named == [pair for pair in expected if pair[0] != "model"]
