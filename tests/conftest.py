import gc
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from service.cli.main import main
from service.store.database import Database
from tests import postgres as postgres_server
from tests.databases import drop_below, environment_of, keep_on, migrated_database, place_of

START_SECONDS = 60
LONG = {
    "test_faults.py",
    "test_resume.py",
    "test_contract.py",
    "test_job_actions.py",
    "test_process.py",
    "test_serve.py",
}
"""Files of the tests that take longest."""


def pytest_addoption(parser: pytest.Parser) -> None:
    words = "on a PostgreSQL server of its own, all but what is SQLite's own; else on SQLite, and some on both"
    parser.addoption("--postgresql", action="store_true", help=words)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what is marked `both_systems` on SQLite and on PostgreSQL, unless all is to run on the latter."""
    if "system" in metafunc.fixturenames and metafunc.definition.get_closest_marker("both_systems"):
        systems = ["postgresql"] if metafunc.config.getoption("--postgresql") else ["sqlite", "postgresql"]
        metafunc.parametrize("system", systems, indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that in the end no process waits for the last test of another one."""
    items.sort(key=lambda item: item.path.name not in LONG)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what is marked `sqlite` where all runs on PostgreSQL."""
    mark = item.get_closest_marker("sqlite")
    if mark is not None and item.config.getoption("--postgresql"):
        pytest.skip(f"SQLite's own: {mark.args[0]}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Function, nextitem: pytest.Item | None) -> Generator[None, None, None]:
    """Where all runs on PostgreSQL, drop the databases that a test made for itself: thousands would fill the disk."""
    yield
    folder = item.funcargs.get("tmp_path")
    if isinstance(folder, Path) and nextitem is not None and item.config.getoption("--postgresql"):
        drop_below(folder)


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[postgres_server.Server]:
    """One PostgreSQL server for all tests that need one."""
    with ExitStack() as running:
        try:
            server = running.enter_context(postgres_server.serving())
        except postgres_server.CannotRun as fault:
            if request.config.getoption("--postgresql"):
                pytest.exit(str(fault), 1)
            pytest.skip(str(fault))
        yield server


@pytest.fixture(scope="session", autouse=True)
def _everything_on_postgresql(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
    if request.config.getoption("--postgresql"):
        keep_on(request.getfixturevalue("postgres"), tmp_path_factory.getbasetemp())


@pytest.fixture
def system(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Which database system the test runs on: the databases of all data directories in its folder are there."""
    system: str = getattr(request, "param", None) or (
        "postgresql"
        if request.node.get_closest_marker("postgresql") or request.config.getoption("--postgresql")
        else "sqlite"
    )
    if system == "postgresql":
        keep_on(request.getfixturevalue("postgres"), tmp_path)
    return system


@pytest.fixture
def stoppable(system: str, tmp_path: Path) -> Iterator[postgres_server.Server]:  # noqa: ARG001  it has chosen before
    """A PostgreSQL server for this test alone, which may stop it; to be asked for before the test's database."""
    with postgres_server.serving() as server:
        keep_on(server, tmp_path)
        yield server
        drop_below(tmp_path)


@pytest.fixture
def place(system: str, tmp_path: Path) -> Path | str:  # noqa: ARG001  it says on which server, if on any
    """Where the test's own database is: a file, or the URL of a migrated one."""
    return place_of(tmp_path)


@pytest.fixture
def database(place: Path | str) -> Iterator[Database]:
    """A migrated database of the test's own."""
    database = migrated_database(place)
    yield database
    database.close()


class LiveService:
    """A service as users run it: `descent serve` in a process of its own, on a free port of loopback."""

    def __init__(self, process: subprocess.Popen[str], url: str, data_dir: Path) -> None:
        self.process = process
        self.url = url
        self.data_dir = data_dir
        self.http = httpx.Client(base_url=url, timeout=60)

    def train(self, body: object, wait_seconds: int = 30) -> httpx.Response:
        return self.http.post("/train", json=body, headers={"Prefer": f"wait={wait_seconds}"})


@contextmanager
def serving(data_dir: Path, *arguments: str, cwd: Path | None = None, **environment: str) -> Iterator[LiveService]:
    """Serve until the block ends; the service then ends by SIGTERM, as it should, and says so by exit code 0."""
    command = [sys.executable, "-m", "service.cli", "serve", "--port", "0", "--data-dir", str(data_dir), *arguments]
    log = (data_dir.parent / f"{data_dir.name}.log").open("w")
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        cwd=cwd,
        env=environment_of(data_dir, PYTHONUNBUFFERED="1", **environment),
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, f"no address in {line!r}; see {log.name}"
        live = LiveService(process, found.group(), data_dir)
        transport = httpx.HTTPTransport(retries=5)
        with httpx.Client(base_url=live.url, transport=transport, timeout=START_SECONDS) as http, live.http:
            wait_until_ready(http, "--no-worker" not in arguments)
            yield live
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        log.close()


def wait_until_ready(http: httpx.Client, with_worker: bool) -> None:
    """Come back when the API answers and, if asked for, a worker lives."""
    path = "/readyz" if with_worker else "/healthz"
    for _ in range(10 * START_SECONDS):
        if http.get(path).status_code == 200:
            return
        time.sleep(0.1)
    raise AssertionError(f"{path} was not 200 after {START_SECONDS} s")


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """One service for all tests that leave it as they found it, apart from jobs and models of their own names."""
    with serving(tmp_path_factory.mktemp("live") / "data") as live:
        yield live


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and what it said."""

    code: object
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def descent(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `descent` with these arguments, in this process."""
    monkeypatch.setenv("COLUMNS", "200")

    def run_main() -> object:
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code

    def run(*arguments: str) -> Outcome:
        capsys.readouterr()
        if "--data-dir" in arguments:
            place = place_of(Path(arguments[arguments.index("--data-dir") + 1]))
            if isinstance(place, str):
                monkeypatch.setenv("DESCENT_DATABASE_URL", place)
        monkeypatch.setattr(sys, "argv", ["descent", *arguments])
        gc.freeze()  # so that collecting below looks at the command's own objects only
        with warnings.catch_warnings():
            # A command leaves it to the end of its process to close connections; here the process goes on.
            warnings.simplefilter("ignore", ResourceWarning)
            code = run_main()
            gc.collect()
        gc.unfreeze()
        return Outcome(code, *capsys.readouterr())

    return run
