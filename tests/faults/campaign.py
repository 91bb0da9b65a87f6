"""The fault test: trainings under strikes, held against the same ones left in peace."""

import random
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from service.settings import Settings
from service.store.database import Database, open_database
from service.store.tables import CheckpointRow, JobRow, VersionRow
from tests.faults.clients import Clients
from tests.faults.target import Target
from tests.faults.trainings import Asked
from tests.outcomes import differences, outcome_of

N_CLIENTS = 3
STRIKE_SECONDS = 1.0
"""A strike comes so long after some training was seen to run, at the most."""
IDLE_SECONDS = 15
"""And so long after the one before, whether any runs or not."""
AHEAD = 6
"""So many trainings are asked for before the first strike; others follow with each, so that some are left."""
STALL_SECONDS = 120
REPORT_SECONDS = 5

Outcomes = dict[str, dict[str, Any]]
Say = Callable[[str], None]


def run(settings: Settings, asked: list[Asked], n_strikes: int, seed: int, say: Say) -> Outcomes:
    """Ask for trainings, strike the service so often meanwhile, and give what each came to, by its name.

    What must hold after any strikes is checked here: each has succeeded, once, and the database is whole.
    """
    chance = random.Random(f"strikes {seed}")
    target = Target(settings, chance)
    try:
        clients = Clients(lambda: target.url, N_CLIENTS, seed)
        with closing(open_database(settings)) as database:
            try:
                _strike(target, clients, asked, n_strikes, partial(_wait_until_one_runs, database), chance, say)
            finally:
                clients.join()
        _wait(clients, len(asked), say)
        target.end()
    finally:
        target.give_up()
    found = _outcomes(settings, clients.job_ids, say)
    assert sorted(found) == [one.name for one in asked]
    return found


def compare(found: Outcomes, expected: Outcomes) -> None:
    """Fail unless all that the trainings came to is the same in every bit."""
    differing = {name: differences(found[name], expected[name]) for name in expected}
    assert not any(differing.values()), {name: what for name, what in differing.items() if what}


def _strike(
    target: Target,
    clients: Clients,
    asked: list[Asked],
    n_strikes: int,
    wait: Callable[[], None],
    chance: random.Random,
    say: Say,
) -> None:
    """Strike at random moments while trainings run, and have further ones asked for meanwhile."""
    n_asked, started = 0, time.monotonic()
    for number in range(n_strikes):
        n_due = min(len(asked), AHEAD + len(asked) * number // n_strikes)
        for one in asked[n_asked:n_due]:
            clients.ask(one)
        n_asked = n_due
        wait()
        time.sleep(chance.uniform(0, STRIKE_SECONDS))
        at = time.monotonic() - started
        say(f"{at:6.1f} s  {number + 1}/{n_strikes}  {target.strike()}")
        if clients.faults:
            return
    for one in asked[n_asked:]:
        clients.ask(one)


def _wait_until_one_runs(database: Database) -> None:
    """Come back when a training runs: looked up past the API, which may be away."""
    deadline = time.monotonic() + IDLE_SECONDS
    query = select(func.count()).where(JobRow.status == "running", JobRow.engine.is_not(None))
    while time.monotonic() < deadline:
        with database.reading() as session:
            if session.scalar(query):
                return
        time.sleep(0.02)


def _wait(clients: Clients, n_jobs: int, say: Say) -> None:
    """Wait until every job has ended, as long as any does now and then."""
    n_ended, since, said = -1, time.monotonic(), 0.0
    while n_ended < n_jobs:
        counts = Counter(clients.statuses().values())
        now, ended = time.monotonic(), n_jobs - counts["queued"] - counts["running"]
        if ended != n_ended:
            n_ended, since = ended, now
        assert now < since + STALL_SECONDS, f"nothing ends any more: {dict(counts)}"
        if now > said + REPORT_SECONDS:
            say(f"  {dict(counts)}")
            said = now
        time.sleep(0.2)


def _outcomes(settings: Settings, job_ids: dict[str, str], say: Say) -> Outcomes:
    with closing(open_database(settings)) as database:
        found = {name: outcome_of(database, job_id) for name, job_id in job_ids.items()}
        with database.reading() as session:
            rows = list(session.execute(select(JobRow.id, JobRow.attempt, JobRow.n_lost_workers)))
            n_versions = session.scalar(select(func.count()).select_from(VersionRow))
            n_checkpoints = session.scalar(select(func.count()).select_from(CheckpointRow))
    assert {row.id for row in rows} == set(job_ids.values()), "a job was lost, or made twice"
    assert (n_versions, n_checkpoints) == (len(rows), 0)
    if isinstance(settings.database_place, Path):
        with closing(sqlite3.connect(settings.database_place)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    attempts = Counter(row.attempt for row in rows)
    lost = max(row.n_lost_workers for row in rows)
    say(f"  all succeeded; jobs by attempts {dict(sorted(attempts.items()))}, at most {lost} deaths held against one")
    return found
