"""Installed as a wheel, with no checkout around."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import serving

ROOT = Path(__file__).parents[1]


def test_the_wheel_serves_trains_and_predicts_from_an_empty_folder(tmp_path: Path) -> None:
    wheels, site, empty = tmp_path / "wheels", tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", ROOT, "--no-deps", "--no-build-isolation", "--wheel-dir", wheels], check=True)
    (wheel,) = wheels.iterdir()
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", site, wheel], check=True)
    assert (site / "service" / "_alembic" / "env.py").is_file()
    where = [sys.executable, "-c", "import service; print(service.__file__)"]
    found = subprocess.run(where, cwd=empty, env={"PYTHONPATH": str(site)}, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()).is_relative_to(site)
    with serving(empty / "data", cwd=empty, PYTHONPATH=str(site)) as live:
        body = {"task": "linear_regression", "model": "twice", "dataset": {"features": [1, 2, 3], "targets": [2, 4, 6]}}
        job = live.train(body).json()
        assert job["status"] == "succeeded"
        answer = live.http.get("/predict", params={"model": "twice", "x": 4}).json()
        assert abs(answer["predictions"][0] - 8) < 0.1
    assert (empty / "data" / "descent.sqlite3").is_file()
