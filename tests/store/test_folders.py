import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from service.errors import DatasetInUse, NotFound, StorageFull
from service.settings import Settings
from service.store import control, datasets, folders
from service.store.database import Database
from tests.databases import migrated_database, settings_of
from tests.store.queueing import TWICE, enqueue
from tests.store.test_datasets import IN_FILES

WORKING = """
import sys
from pathlib import Path
from service.settings import Settings
from service.store.folders import workspace

with workspace(Settings(data_dir=Path(sys.argv[1]))) as folder:
    (folder / "upload").write_text("half of it")
    print(folder, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_of(tmp_path, min_free_bytes=0)


@pytest.fixture
def migrated(settings: Settings) -> Iterator[Database]:
    database = migrated_database(settings.database_place)
    yield database
    database.close()


def files_in(settings: Settings) -> set[str]:
    """Everything in the folders of datasets and uploads but the lock of the latter."""
    places = (settings.datasets_path, settings.uploads_path)
    found = {path.relative_to(settings.data_dir).as_posix() for place in places for path in place.rglob("*")}
    return found - {"uploads/lock"}


def keep(database: Database, settings: Settings, identifier: str = "ds_a", text: str = "1") -> bool:
    """Keep a table as an upload does."""
    with folders.workspace(settings) as folder:
        table = folder / "table"
        table.mkdir()
        (table / "table-00000.arrow").write_text(text)
        stored = replace(IN_FILES, id=identifier)
        found, is_new = folders.keep_table(database, settings, stored, table, folder / "aside")
        assert found == stored
        return is_new


def test_a_workspace_is_gone_at_its_end_whatever_happens_in_it(settings: Settings) -> None:
    def work() -> None:
        with folders.workspace(settings) as folder:
            (folder / "deep" / "er").mkdir(parents=True)
            (folder / "deep" / "file").write_text("x")
            assert folder.parent == settings.uploads_path
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert files_in(settings) == set()


def test_a_table_is_moved_to_its_place_and_kept_once(migrated: Database, settings: Settings) -> None:
    assert keep(migrated, settings, text="first")
    assert not keep(migrated, settings, text="second")
    assert files_in(settings) == {"datasets/ds_a", "datasets/ds_a/table-00000.arrow"}
    assert (settings.datasets_path / "ds_a" / "table-00000.arrow").read_text() == "first"


def test_a_folder_that_belongs_to_nobody_gives_way_to_the_one_that_is_kept(
    migrated: Database, settings: Settings
) -> None:
    left_over = settings.datasets_path / "ds_a" / "encoded"
    left_over.mkdir(parents=True)
    assert keep(migrated, settings)
    assert files_in(settings) == {"datasets/ds_a", "datasets/ds_a/table-00000.arrow"}


def test_of_many_that_keep_the_same_at_once_one_has_the_new_dataset(migrated: Database, settings: Settings) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: keep(migrated, settings), range(8)))
    assert sorted(found) == [False] * 7 + [True]
    assert files_in(settings) == {"datasets/ds_a", "datasets/ds_a/table-00000.arrow"}


def test_what_does_not_fit_is_refused_with_the_numbers_and_the_largest_to_delete(
    migrated: Database, settings: Settings
) -> None:
    tight = settings.model_copy(update={"max_storage_bytes": 1999})
    assert keep(migrated, tight, "ds_a")
    with pytest.raises(StorageFull, match=r"take 1,000 of 1,999 bytes .* take 1,000 or more.* ds_a \(1,000 bytes\)"):
        keep(migrated, tight, "ds_b")
    with migrated.reading() as session:
        assert datasets.kept_among(session, {"ds_a", "ds_b"}) == {"ds_a"}
    assert files_in(settings) == {"datasets/ds_a", "datasets/ds_a/table-00000.arrow"}
    folders.delete(migrated, tight, "ds_a")
    assert keep(migrated, tight, "ds_b")


def test_so_much_of_the_disk_stays_free(migrated: Database, settings: Settings) -> None:
    greedy = settings.model_copy(update={"min_free_bytes": 2**60})
    with pytest.raises(StorageFull, match=r"bytes free, of which 1,152,921,504,606,846,976 stay so"):
        keep(migrated, greedy)
    assert files_in(settings) == set()


def test_a_deleted_dataset_has_no_folder_and_comes_back_when_it_is_kept_again(
    migrated: Database, settings: Settings
) -> None:
    keep(migrated, settings, text="first")
    folders.delete(migrated, settings, "ds_a")
    assert files_in(settings) == set()
    with pytest.raises(NotFound, match="was deleted"):
        folders.delete(migrated, settings, "ds_a")
    assert keep(migrated, settings, text="second")
    assert (settings.datasets_path / "ds_a" / "table-00000.arrow").read_text() == "second"


def test_a_dataset_is_not_deleted_while_a_queued_or_running_job_needs_it(
    migrated: Database, settings: Settings
) -> None:
    with migrated.writing() as session:
        identifier = datasets.keep(session, TWICE)
        needing = [enqueue(session).id for _ in range(7)]
    with pytest.raises(DatasetInUse) as refused:
        folders.delete(migrated, settings, identifier)
    assert all(job in refused.value.detail for job in needing[:5])
    assert "and 2 more" in refused.value.detail
    with migrated.writing() as session:
        assert datasets.load(session, identifier).content == TWICE.content
        for job in needing:
            control.request_cancel(session, job)
    folders.delete(migrated, settings, identifier)
    with migrated.reading() as session, pytest.raises(NotFound):
        datasets.get(session, identifier)


def test_a_sweep_removes_what_the_dead_left_and_nothing_of_the_living(migrated: Database, settings: Settings) -> None:
    keep(migrated, settings)
    (settings.datasets_path / "ds_orphan").mkdir()
    (settings.datasets_path / "ds_orphan" / "table.parquet").write_text("x")
    command = [sys.executable, "-c", WORKING, str(settings.data_dir)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as living, subprocess.Popen(command, **pipes) as dying:  # type: ignore[call-overload]
        its_folder, left_over = (Path(process.stdout.readline().strip()) for process in (living, dying))
        dying.kill()
        dying.wait()
        assert (left_over / "upload").exists()
        with folders.workspace(settings) as mine:
            (mine / "upload").write_text("mine")
            folders.sweep(migrated, settings)
            assert (mine / "upload").read_text() == "mine"
            assert (its_folder / "upload").read_text() == "half of it"
            assert not left_over.exists()
        living.communicate("\n")
        assert living.returncode == 0
    assert files_in(settings) == {"datasets/ds_a", "datasets/ds_a/table-00000.arrow"}


def test_sweeps_and_uploads_at_once_do_not_harm_each_other(migrated: Database, settings: Settings) -> None:
    stopping = threading.Event()

    def sweep() -> None:
        while not stopping.is_set():
            folders.sweep(migrated, settings)

    with ThreadPoolExecutor(6) as threads:
        sweeping = [threads.submit(sweep) for _ in range(2)]
        new = list(threads.map(lambda number: keep(migrated, settings, f"ds_{number}"), range(40)))
        stopping.set()
        for one in sweeping:
            one.result()
    assert all(new)
    assert len(os.listdir(settings.datasets_path)) == 40
    assert os.listdir(settings.uploads_path) == ["lock"]


def test_a_sweep_of_nothing_makes_nothing(migrated: Database, settings: Settings) -> None:
    folders.sweep(migrated, settings)
    assert not settings.uploads_path.exists()
    assert not settings.datasets_path.exists()
