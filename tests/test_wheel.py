"""Installed as a wheel, with no checkout around."""

import os
import subprocess
import sys
from pathlib import Path

from tests.compiling import compiles
from tests.conftest import serving
from tests.databases import place_of

ROOT = Path(__file__).parents[1]


def test_the_wheel_serves_trains_and_predicts_from_an_empty_folder(tmp_path: Path) -> None:
    wheels, site, empty = tmp_path / "wheels", tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", ROOT, "--no-deps", "--no-build-isolation", "--wheel-dir", wheels], check=True)
    (wheel,) = wheels.iterdir()
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", site, wheel], check=True)
    assert (site / "service" / "_alembic" / "env.py").is_file()
    is_compiled = compiles()
    assert (site / "service" / "training" / "native" / "libsweep.so").is_file() == is_compiled
    assert wheel.name.endswith("-py3-none-any.whl") != is_compiled
    where = [sys.executable, "-c", "import service; print(service.__file__)"]
    found = subprocess.run(where, cwd=empty, env={"PYTHONPATH": str(site)}, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()).is_relative_to(site)
    place_of(empty / "data", migrated=False)  # for the wheel to migrate
    with serving(empty / "data", cwd=empty, PYTHONPATH=str(site)) as live:
        body = {"task": "linear_regression", "model": "twice", "dataset": {"features": [1, 2, 3], "targets": [2, 4, 6]}}
        job = live.train(body).json()
        assert job["status"] == "succeeded"
        assert (job["environment"]["sweep"] != "numpy") == is_compiled
        answer = live.http.get("/predict", params={"model": "twice", "x": 4}).json()
        assert abs(answer["predictions"][0] - 8) < 0.1


def test_without_a_compiler_the_wheel_is_for_every_platform(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    environment = {**os.environ, "CC": "no-such-compiler"}
    built = subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert [wheel.name.endswith("-py3-none-any.whl") for wheel in tmp_path.iterdir()] == [True]
    assert "NumPy and torch will do its work: there is no C compiler no-such-compiler" in built.stdout + built.stderr
