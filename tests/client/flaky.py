"""A server that answers what a test has told it to, also what a service says only when something is wrong."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Flaky(ThreadingHTTPServer):
    """Answers what is in its list, one after the other, and keeps what it was asked."""

    def __init__(self, answers: list[tuple[int, dict[str, str], Any]]) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.answers = answers
        self.asked: list[tuple[str, Any]] = []


class _Answer(BaseHTTPRequestHandler):
    server: Flaky

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((body.decode(), self.headers))
        status, headers, content = self.server.answers.pop(0)
        kind = "application/json" if status < 400 else "application/problem+json"
        written = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(written)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(written)

    do_GET = do_DELETE = do_POST  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def flaky(*answers: tuple[int, dict[str, str], Any]) -> Iterator[tuple[Flaky, str]]:
    with Flaky(list(answers)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
