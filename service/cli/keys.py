"""Commands for access keys: on the database that the settings name, beside a service that runs on it or not."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from service.cli.serving import DataDir
from service.keys import SCOPES, Key, Scope, is_name, new_secret, sha256_of, write_keys
from service.settings import PREFIX, read_settings
from service.store import keys
from service.store.database import Database, open_database
from service.store.migrations import migrate
from service.store.ownership import Actor

app = typer.Typer(help="Make, list and revoke access keys, on the database itself.", no_args_is_help=True)

ScopeOption = Annotated[
    str,
    typer.Option("--scope", help="read: see and predict; train: also upload, train, act on jobs; admin: everything."),
]
NameOption = Annotated[
    str | None,
    typer.Option(
        "--name",
        help="Whose everything is that is made with it: keys of one name see the same. A name of its own if left out.",
    ),
]
KeyId = Annotated[str, typer.Argument(metavar="KEY_ID", help="The key; `descent keys list` lists them.")]


@app.command()
def create(scope: ScopeOption, name: NameOption = None, data_dir: DataDir = None) -> None:
    """Make a key, and print it: this is the only time that it can be seen.

    From the first key on, every request to the service needs one.
    """
    known, checked = _scope(scope), None if name is None else _name(name)
    with _database("create", data_dir) as database, database.writing() as session:
        was_open = not keys.any_made(session)
        key, secret = keys.create(session, name=checked, scope=known)
    typer.echo(secret)
    typer.echo(f"{_line(key)}\nKeep it: it is not kept here, and cannot be shown again.", err=True)
    if was_open:
        typer.echo("It is the first one: from now on every request needs a key.", err=True)


@app.command("list")
def list_keys(data_dir: DataDir = None) -> None:
    """List the keys with id, scope and name; never the keys themselves, which nobody knows."""
    settings = read_settings(data_dir=data_dir)
    with _database("list", data_dir) as database, database.reading() as session:
        found = keys.listing(session)
    for key in (*found, *settings.keys):
        typer.echo(_line(key))


@app.command()
def revoke(key: KeyId, data_dir: DataDir = None) -> None:
    """Revoke a key: it is refused from now on. What was made with it stays, for other keys of its name and admins."""
    with _database("revoke", data_dir, key) as database, database.writing() as session:
        revoked = keys.revoke(session, key)
    typer.echo(_line(revoked))


@app.command("hash")
def make_hash(scope: ScopeOption, name: Annotated[str, typer.Option("--name", help="As for `create`.")]) -> None:
    """Make a key for the environment of a service, where nothing is kept: print it, and what its setting is to be."""
    secret = new_secret()
    key = Key("", _name(name), _scope(scope), sha256_of(secret))
    typer.echo(secret)
    typer.echo(f"{PREFIX}API_KEYS={write_keys([key])}")


@contextmanager
def _database(command: str, data_dir: object, *objects: str) -> Iterator[Database]:
    """Give the database, with the command in its audit."""
    database = open_database(read_settings(data_dir=data_dir))
    try:
        migrate(database)
        yield database.as_seen_by(Actor(action=f"descent keys {command}", objects=objects))
    finally:
        database.close()


def _line(key: Key) -> str:
    since = f"made {key.created_at:%Y-%m-%d %H:%M}" if key.created_at else f"in {PREFIX}API_KEYS"
    revoked = f"  revoked {key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else ""
    return f"{key.id}  {key.scope:<5}  {key.name}  {since}{revoked}"


def _scope(text: str) -> Scope:
    found = next((scope for scope in SCOPES if scope == text), None)
    if found is None:
        raise typer.BadParameter(f"{text!r} is no scope: there are {', '.join(SCOPES)}")
    return found


def _name(text: str) -> str:
    if not is_name(text):
        raise typer.BadParameter(f"{text!r} is no name: it takes up to 100 letters, digits, `.`, `_` and `-`")
    return text
