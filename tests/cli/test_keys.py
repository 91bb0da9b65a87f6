import re
from pathlib import Path

import pytest

from service.keys import read_keys, sha256_of
from service.store import audit
from service.store.database import Database
from tests.conftest import Command, serving
from tests.databases import place_of


def test_a_key_is_printed_once_listed_without_and_revoked(descent: Command, tmp_path: Path) -> None:
    there = ("--data-dir", str(tmp_path))
    made = descent("keys", "create", "--scope", "train", "--name", "vision", *there)
    assert made.code == 0
    secret = made.out.strip()
    assert re.fullmatch(r"descent_[A-Za-z0-9_-]{43}", secret)
    assert "cannot be shown again" in made.err
    assert "from now on every request needs a key" in made.err
    assert "from now on" not in descent("keys", "create", "--scope", "read", *there).err
    listed = descent("keys", "list", *there)
    first, second = listed.out.splitlines()
    assert re.fullmatch(r"key_\w{26}  train  vision  made [-\d]{10} [:\d]{5}", first)
    identifier = second.split()[0]
    assert second.split()[1:3] == ["read", identifier], "a key without a name is its own"
    assert secret not in listed.out
    assert " revoked " in descent("keys", "revoke", identifier, *there).out
    assert " revoked " in descent("keys", "list", *there).out.splitlines()[1]
    unknown = descent("keys", "revoke", "key_1", *there)
    assert (unknown.code, unknown.err) == (1, "descent: there is no key 'key_1': `descent keys list` lists them\n")
    database = Database(place_of(tmp_path))
    with database.reading() as session:
        entries, _ = audit.page(session, limit=9)
    database.close()
    assert [entry.action for entry in entries] == ["descent keys revoke", *["descent keys create"] * 2]
    assert entries[0].objects == identifier


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scope", "write"], "'write' is no scope: there are read, train, admin"),
        (["--scope", "read", "--name", "a b"], "'a b' is no name"),
        ([], "Missing option '--scope'"),
    ],
)
def test_a_scope_or_name_that_is_none_is_refused(
    descent: Command, tmp_path: Path, arguments: list[str], words: str
) -> None:
    for command in ("create", "hash"):
        if command == "create" or "--name" in arguments:
            refused = descent(
                "keys", command, *arguments, *(["--data-dir", str(tmp_path)] if command == "create" else [])
            )
            assert refused.code == 2
            assert words in " ".join(refused.err.replace("│", " ").split())


def test_a_key_for_the_environment_is_made_with_its_entry(
    descent: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret, entry = descent("keys", "hash", "--scope", "admin", "--name", "ops").out.splitlines()
    name, _, value = entry.partition("=")
    (key,) = read_keys(value)
    assert (name, key.name, key.scope, key.sha256) == ("DESCENT_API_KEYS", "ops", "admin", sha256_of(secret))
    monkeypatch.setenv(name, value)
    listed = descent("keys", "list", "--data-dir", str(tmp_path))
    assert listed.out == "ops/1  admin  ops  in DESCENT_API_KEYS\n"


def test_the_command_line_sends_its_key(descent: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    secret = descent("keys", "create", "--scope", "train", "--data-dir", str(data_dir)).out.strip()
    with serving(data_dir, "--host", "0.0.0.0", DESCENT_API_KEY="descent_other") as service:
        url = service.url.replace("0.0.0.0", "127.0.0.1")
        refused = descent("train", "iris-petals", "--url", url)
        assert refused.code == 1
        assert "the command line sends DESCENT_API_KEY" in refused.err
        monkeypatch.setenv("DESCENT_API_KEY", secret)
        trained = descent("train", "iris-petals", "--follow", "--url", url)
        assert trained.code == 0, trained.err
        assert descent("jobs", "--url", url).out.count("succeeded") == 1
    log = (tmp_path / "data.log").read_text()
    assert secret not in log
