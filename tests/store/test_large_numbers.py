"""Numbers that a request may name, larger than any that is kept, mean what they say in both database systems."""

from datetime import UTC, datetime

import numpy as np
import pytest

from service.errors import NotFound
from service.store import audit, changes, history
from service.store.changes import Moment
from service.store.database import Database
from service.store.jobs import Job
from service.store.tables import AuditRow
from tests.store.queueing import claim, enqueue
from tests.store.recording import record

pytestmark = pytest.mark.both_systems

LARGE = (2**31, 2**53 - 1)
"""The first that is more than 32 bits hold, and the largest epoch that may be asked for."""

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture
def job(database: Database) -> Job:
    """A job that has recorded epochs 0 and 1, the parameter being the epoch."""
    with database.writing() as session:
        enqueue(session)
        job = claim(session)
        vectors = np.arange(2.0)[:, None]
        record(session, job, vectors, vectors)
    return job


@pytest.mark.parametrize("large", LARGE)
def test_epochs_beyond_all_are_none_and_up_to_one_are_all(database: Database, job: Job, large: int) -> None:
    with database.reading() as session:
        for read in (history.read, history.read_trajectory):
            assert read(session, job, first=0, last=large, max_points=9).epoch.tolist() == [0, 1]
            assert read(session, job, first=large, last=None, max_points=9).epoch.tolist() == []
        with pytest.raises(NotFound, match="the last one recorded before it is 1"):
            history.read_epoch(session, job, large)


@pytest.mark.parametrize("large", LARGE)
def test_the_audit_before_an_entry_beyond_all_is_all_of_it(database: Database, large: int) -> None:
    with database.writing() as session:
        session.add(AuditRow(at=LONG_AGO, owner="alice", action="POST /train", objects="job_1"))
    with database.reading() as session:
        entries, _ = audit.page(session, limit=9, after=large)
    assert [entry.objects for entry in entries] == ["job_1"]


@pytest.mark.parametrize("large", LARGE)
def test_nothing_has_changed_since_a_job_beyond_all_of_its_moment(database: Database, job: Job, large: int) -> None:
    with database.reading() as session:
        moment = changes.latest(session)
        assert moment is not None
        assert [found.id for found in changes.since(session, Moment(LONG_AGO, large), None, 9)] == [job.id]
        assert changes.since(session, Moment(moment.time, large), None, 9) == []
