import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from service import copies
from service.copies import Copies
from service.errors import StorageFull

WRITING = """
import sys
from pathlib import Path
from service.copies import Copies

with Copies(Path(sys.argv[1]), 10**6, 0).held("key") as place:
    part = place.with_suffix(".part")
    part.mkdir()
    (part / "features.npy").write_bytes(bytes(500))
    print("writing", flush=True)
    sys.stdin.readline()
    part.rename(place)
"""


def of(datasets: Path, name: str = "ds_a", max_bytes: int = 1000, min_free_bytes: int = 0) -> Copies:
    (datasets / name).mkdir(exist_ok=True)
    return Copies(datasets / name, max_bytes, min_free_bytes)


def make(its: Copies, key: str, n_bytes: int) -> None:
    with its.held(key) as place, its.room(n_bytes):
        place.mkdir()
        (place / "features.npy").write_bytes(bytes(n_bytes))


def there(datasets: Path) -> list[str]:
    return sorted(f"{path.parent.parent.name}/{path.name}" for path in datasets.glob("*/encoded/*"))


def test_copies_of_all_datasets_stay_within_their_space_and_the_one_not_used_for_longest_gives_way(
    tmp_path: Path,
) -> None:
    make(of(tmp_path), "old", 400)
    make(of(tmp_path), "older", 300)
    make(of(tmp_path, "ds_b"), "new", 300)
    with of(tmp_path).held("old"):  # used again
        pass
    make(of(tmp_path, "ds_b"), "newer", 300)
    assert there(tmp_path) == ["ds_a/old", "ds_b/new", "ds_b/newer"]
    assert (copies.bytes_of(tmp_path / "ds_a"), copies.bytes_of(tmp_path / "ds_b")) == (400, 600)
    make(of(tmp_path), "all", 1000)
    assert there(tmp_path) == ["ds_a/all"]


def test_a_copy_that_does_not_fit_is_refused_with_the_numbers(tmp_path: Path) -> None:
    with pytest.raises(StorageFull, match=r"takes 1,001 bytes in files, of 1,000 .* DESCENT_MAX_STORAGE_BYTES"):
        make(of(tmp_path), "key", 1001)
    with pytest.raises(StorageFull, match=r"bytes free, of which 1,152,921,504,606,846,976 stay so"):
        make(of(tmp_path, min_free_bytes=2**60), "key", 1)
    assert there(tmp_path) == []


def test_a_copy_that_was_removed_is_whole_for_those_who_have_mapped_it(tmp_path: Path) -> None:
    its = of(tmp_path, max_bytes=10_000)
    with its.held("key") as place:
        place.mkdir()
        np.save(place / "features.npy", np.arange(1000))
    mapped = np.load(place / "features.npy", mmap_mode="r")
    make(its, "other", 10_000)
    assert there(tmp_path) == ["ds_a/other"]
    assert mapped.sum() == 499_500


def test_one_who_needs_what_another_writes_waits_and_a_sweep_leaves_it_alone(tmp_path: Path) -> None:
    its = of(tmp_path)
    command = [sys.executable, "-c", WRITING, str(its.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
        found = []

        def wait() -> None:
            with its.held("key") as place:
                found.append(place.is_dir())

        waiting = threading.Thread(target=wait)
        waiting.start()
        copies.sweep(tmp_path)
        copies.trim(tmp_path, 0)
        assert there(tmp_path) == ["ds_a/key.lock", "ds_a/key.part"]
        assert copies.bytes_of(its.folder) == 500
        with pytest.raises(StorageFull, match="others that are being written 500"):
            make(its, "other", 600)
        time.sleep(0.05)
        assert found == []
        writer.communicate("\n")
        waiting.join()
    assert found == [True]
    assert there(tmp_path) == ["ds_a/key"]


def test_what_a_writer_that_was_killed_has_left_is_swept_away(tmp_path: Path) -> None:
    its = of(tmp_path)
    make(its, "whole", 10)
    command = [sys.executable, "-c", WRITING, str(its.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
    assert there(tmp_path) == ["ds_a/key.lock", "ds_a/key.part", "ds_a/whole"]
    copies.sweep(tmp_path)
    assert there(tmp_path) == ["ds_a/whole"]


def test_a_copy_of_a_dataset_that_is_gone_cannot_be_held(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), Copies(tmp_path / "ds_gone", 10, 0).held("key"):
        pass
