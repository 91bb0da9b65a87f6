import http.server
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.hyperparameters import Hyperparameters
from tests.conftest import Command

COMMANDS = ("serve", "worker", "demo", "train", "retry", "predict", "jobs", "datasets")
SCRIPT = str(Path(sys.executable).with_name("descent"))


@pytest.fixture
def nobody() -> Iterator[str]:
    """The URL of a port that nobody listens on, though it is taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize("arguments", [["jobs"], ["predict", "m", "x=1"], ["train", "iris-petals"]])
def test_without_a_service_a_command_ends_with_1_and_a_hint(
    descent: Command, nobody: str, arguments: list[str]
) -> None:
    outcome = descent(*arguments, "--url", nobody)
    assert outcome.code == 1
    assert f"no service answers at {nobody}" in outcome.err
    assert "is `descent serve` running there?" in outcome.err


@contextmanager
def stranger(status: int) -> Iterator[str]:
    """A web server that is no Descent service, at this URL."""

    class Stranger(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"<html>Welcome</html>")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the inherited signature
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("status", [200, 404, 500])
def test_another_service_at_the_address_is_told_from_descent(descent: Command, status: int) -> None:
    with stranger(status) as url:
        outcome = descent("jobs", "--url", url)
    assert outcome.code == 1
    assert f"{url} is no Descent service" in outcome.err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_its_options(descent: Command, command: str) -> None:
    outcome = descent(command, "--help")
    assert outcome.code == 0
    listed = descent("--help").out
    assert re.search(rf"{command} +[A-Z]", listed)
    options = re.findall(r"^│ +(--[a-z0-9-]+) (.*)│$", outcome.out, re.MULTILINE)
    assert options
    assert [name for name, rest in options if not re.search(r" [A-Z]?[a-z]+ .*[.:]", rest)] == []


def test_the_help_of_train_names_each_hyperparameter_with_its_sentence_and_default(descent: Command) -> None:
    text = " ".join(re.sub("[│╭╮╰╯─]", " ", descent("train", "--help").out).split())
    for name, field in Hyperparameters.model_fields.items():
        assert f"--{name.replace('_', '-')} " in text
        assert field.description
        first_words = " ".join(field.description.replace("`", "").split()[:4])
        assert first_words in text.replace("`", "")
    assert text.count("default: (auto)") == 5
    assert "default: (1000)" in text


def test_a_port_that_is_taken_ends_serve_with_1_and_the_option_to_choose_another(nobody: str, tmp_path: Path) -> None:
    port = nobody.rpartition(":")[2]
    command = [SCRIPT, "serve", "--port", port, "--data-dir", str(tmp_path / "data")]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert found.returncode == 1
    assert found.stderr.startswith(f"descent: cannot listen on 127.0.0.1:{port}: ")
    assert found.stderr.endswith("--port or DESCENT_PORT\n")
