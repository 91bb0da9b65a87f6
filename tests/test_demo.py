import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression

from service.store import models
from service.store.database import Database
from tests.databases import environment_of, place_of

FLOWER = [[6.1, 2.8, 4.7]]


@contextmanager
def demo(tmp_path: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    command = [str(Path(sys.executable).with_name("descent")), "demo", "--port", "0"]
    with (tmp_path / "errors").open("w") as errors:
        process = subprocess.Popen(
            [*command, "--data-dir", str(tmp_path / "data"), *options],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment_of(tmp_path / "data", PYTHONUNBUFFERED="1"),
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def read_until(process: "subprocess.Popen[str]", line: str) -> str:
    """Read what a process says, up to a line."""
    assert process.stdout
    text = ""
    for said in process.stdout:
        text += said
        if said.strip() == line:
            return text
    raise AssertionError(f"it ended with {process.wait(10)} and without {line!r}: {text}")


def url_in(story: str) -> str:
    found = re.search(r"Descent serves at (http://127\.0\.0\.1:\d+)", story)
    assert found
    return found.group(1)


def test_the_demo_tells_its_story_once_and_leaves_nothing_running(tmp_path: Path) -> None:
    with demo(tmp_path, "--once") as process:
        story, _ = process.communicate(timeout=90)
    assert process.returncode == 0, (story, (tmp_path / "errors").read_text())
    assert "2000/2000 epochs" in story
    assert len(re.findall("[\u2801-\u28ff]", story)) > 30
    assert re.search(
        r"iris-petals@1: train_loss 0\.0\d+, mse 0\.0\d+, mae 0\.\d+, r2 0\.9\d* \(epochs_completed\)", story
    )
    predicted = re.search(r"→ petal_width (\d+\.\d\d) cm", story)
    assert predicted
    iris = load_iris().data
    expected = LinearRegression().fit(iris[:, :3], iris[:, 3]).predict(np.array(FLOWER))
    assert float(predicted.group(1)) == pytest.approx(expected[0], abs=0.1)
    database = Database(place_of(tmp_path / "data"))
    with database.reading() as session:
        assert models.latest_version(session, "iris-petals") == 1
    database.close()
    assert "Try it when `descent serve` has started the service again:" in story
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url_in(story)}/healthz")


def test_the_demo_s_three_commands_work_as_printed_and_sigterm_ends_it_well(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        story = read_until(process, "Serving until Ctrl-C.")
        assert "Try it yourself:" in story
        commands = [line for line in story.splitlines() if line.startswith("curl ")]
        assert len(commands) == 3
        answers = [
            json.loads(subprocess.run(command, shell=True, capture_output=True, check=True, timeout=30).stdout)
            for command in commands
        ]
        prediction, history, training = answers
        assert f"{prediction['predictions'][0]:.2f} cm" in story
        assert history["epoch"] == [0, 500, 1000, 1500, 2000]
        assert (training["status"], training["model"], training["version"]) == ("succeeded", "line", 1)
        line = httpx.get(f"{url_in(story)}/predict?model=line&x=5").json()["predictions"]
        assert line == pytest.approx(np.polyval(np.polyfit([1, 2, 3, 4], [2.1, 3.9, 6.2, 7.8], 1), [5]), rel=1e-3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url_in(story)}/healthz")
