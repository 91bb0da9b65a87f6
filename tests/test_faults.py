"""The fault test (`python -m tests.faults`), small enough to be run each time."""

from pathlib import Path

import pytest

from tests.databases import settings_of
from tests.faults.campaign import compare, run
from tests.faults.trainings import trainings
from tests.processes import PROC

N_JOBS = 5
N_STRIKES = 5


@pytest.mark.skipif(not (PROC / "self").exists(), reason="children are found in /proc")
def test_whatever_is_killed_or_frozen_every_job_comes_out_as_if_nothing_had_been(tmp_path: Path) -> None:
    said: list[str] = []
    asked = trainings(N_JOBS, seed=3, effort=0.3)
    peace, strikes = (settings_of(tmp_path / name / "data") for name in ("peace", "strikes"))
    expected = run(peace, asked, 0, 3, said.append)
    compare(run(strikes, asked, N_STRIKES, 3, said.append), expected)
    assert len([line for line in said if f"/{N_STRIKES}  " in line]) == N_STRIKES
