"""A service that asks for keys: Alice and Bob may train, Rita may read what is Alice's, Ada may do everything."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from httpx2 import Response
from sqlalchemy import inspect

from service.keys import Scope
from service.store import keys
from tests.api.conftest import Json, LocalService, line, local_service
from tests.api.uploading import CSV

NAMES: dict[str, tuple[str, Scope]] = {
    "alice": ("alice", "train"),
    "bob": ("bob", "train"),
    "rita": ("alice", "read"),
    "ada": ("ada", "admin"),
}


def make_key(service: LocalService, name: str, scope: Scope) -> tuple[str, str]:
    """Make a key; give its id and the key itself."""
    with service.database.writing() as session:
        key, secret = keys.create(session, name=name, scope=scope)
    return key.id, secret


@dataclass
class Keyed:
    """A service and the keys of those who use it."""

    local: LocalService
    ids: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)

    def ask(self, who: str | None, method: str, path: str, **arguments: Any) -> Response:
        """Send a request with somebody's key, or with none."""
        headers = {} if who is None else {"Authorization": f"Bearer {self.secrets[who]}"}
        headers |= arguments.pop("headers", {})
        return self.local.http.request(method, path, headers=headers, **arguments)

    def get(self, who: str | None, path: str) -> Any:
        """Give what a request is answered with, which succeeds."""
        answer = self.ask(who, "GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def train(self, who: str, body: Json, **headers: str) -> Response:
        """Ask for a training."""
        return self.ask(who, "POST", "/train", json=body, headers=headers)

    def upload(self, who: str, name: str, content: bytes = CSV) -> Response:
        """Upload a CSV file."""
        headers = {"Content-Type": "text/csv"}
        return self.ask(who, "POST", f"/datasets?name={name}", content=content, headers=headers)

    def trained(self, who: str, model: str, **changes: Any) -> Json:
        """Train a line to its end; give the job."""
        answer = self.train(who, line(model=model, **changes))
        assert answer.status_code == 202, answer.text
        self.local.work()
        job: Json = self.get(who, f"/jobs/{answer.json()['id']}")
        return job


@contextmanager
def keyed_service(folder: Path, **settings: Any) -> Iterator[Keyed]:
    """Serve with a key for each of `NAMES`."""
    with local_service(folder, **settings) as local:
        keyed = Keyed(local)
        for who, (name, scope) in NAMES.items():
            keyed.ids[who], keyed.secrets[who] = make_key(local, name, scope)
        yield keyed


def contents(service: LocalService) -> Json:
    """Give everything that a service keeps: each row of each table, and the files that lie beside the database."""
    with service.database.connection(writes=False) as connection:
        names = inspect(connection).get_table_names()
        rows = {name: sorted(connection.exec_driver_sql(f"SELECT * FROM {name}").all(), key=repr) for name in names}
    folder = service.settings.data_dir
    files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    return {
        **rows,
        "files": {name: size for name, size in files.items() if "sqlite3" not in name and name[-4:] != "lock"},
    }
