from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from service import copies
from service.copies import Copies
from service.dataset import Dataset
from service.errors import StorageFull
from service.settings import Settings
from service.store import datasets, folders
from service.store.database import Database
from service.store.space import keep, reserve_bytes, space
from tests.databases import migrated_database, settings_of
from tests.store.queueing import TWICE
from tests.store.test_folders import keep as keep_table


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_of(tmp_path, min_free_bytes=0, max_storage_bytes=10_000)


@pytest.fixture
def migrated(settings: Settings) -> Iterator[Database]:
    database = migrated_database(settings.database_place)
    yield database
    database.close()


def make_copy(database: Database, settings: Settings, dataset_id: str, n_bytes: int) -> None:
    with database.reading() as session:
        its = Copies(settings.datasets_path / dataset_id, space(session, settings).for_copies, settings.min_free_bytes)
    with its.held("key") as place, its.room(n_bytes):
        place.mkdir()
        (place / "features.npy").write_bytes(bytes(n_bytes))


def test_a_dataset_in_a_request_is_kept_only_where_there_is_space(migrated: Database, settings: Settings) -> None:
    tight = settings.model_copy(update={"max_storage_bytes": len(TWICE.content)})
    other = Dataset([1.0, 2.0], [3.0, 4.0])
    with migrated.writing() as session:
        identifier = keep(session, tight, TWICE, "inline")
    with pytest.raises(StorageFull, match="DESCENT_MAX_STORAGE_BYTES"), migrated.writing() as session:
        keep(session, tight, other, "inline")
    with migrated.writing() as session:
        assert keep(session, tight, TWICE, "inline") == identifier  # it is here already
        assert datasets.total_bytes(session) == len(TWICE.content)


def test_a_dataset_in_a_request_may_take_what_uploads_leave_of_the_disk(migrated: Database, settings: Settings) -> None:
    greedy = settings.model_copy(update={"min_free_bytes": 2**60})
    with migrated.writing() as session, pytest.raises(StorageFull, match="DESCENT_MIN_FREE_BYTES"):
        space(session, greedy).check_disk(0)
    with migrated.writing() as session:
        assert keep(session, greedy, TWICE, "inline")


@pytest.mark.parametrize(("min_free_bytes", "expected"), [(0, 2**16), (2**20, 2**20), (2**30, 2**26)])
def test_trainings_need_little_of_the_disk_and_never_none_of_it(
    settings: Settings, min_free_bytes: int, expected: int
) -> None:
    assert reserve_bytes(settings.model_copy(update={"min_free_bytes": min_free_bytes})) == expected


def test_copies_take_half_of_the_space_at_most_and_no_more_than_tables_leave(
    migrated: Database, settings: Settings
) -> None:
    keep_table(migrated, settings)
    with pytest.raises(StorageFull, match="takes 5,001 bytes in files, of 5,000"):
        make_copy(migrated, settings, "ds_a", 5001)
    make_copy(migrated, settings, "ds_a", 5000)
    with migrated.writing() as session:
        keep(session, settings, Dataset(np.arange(250.0), np.arange(250.0)), "inline")
        assert datasets.total_bytes(session) > 5000
    assert copies.bytes_of(settings.datasets_path / "ds_a") == 0
    with migrated.reading() as session:
        assert space(session, settings).for_copies == 10_000 - datasets.total_bytes(session)


def test_copies_give_way_to_a_table_that_needs_their_space(migrated: Database, settings: Settings) -> None:
    for number in range(5):
        assert keep_table(migrated, settings, f"ds_{number}")  # of 1,000 bytes each
    make_copy(migrated, settings, "ds_0", 4500)
    assert keep_table(migrated, settings, "ds_5")
    assert copies.bytes_of(settings.datasets_path / "ds_0") == 0


def test_a_start_sweeps_half_written_copies_away(migrated: Database, settings: Settings) -> None:
    keep_table(migrated, settings)
    left = settings.datasets_path / "ds_a" / "encoded" / "key.part"
    left.mkdir(parents=True)
    (left / "features.npy").write_text("half of it")
    make_copy(migrated, settings, "ds_a", 100)
    folders.sweep(migrated, settings)
    assert [path.name for path in left.parent.iterdir()] == ["key"]
