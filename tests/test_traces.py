"""FastAPI's own OpenTelemetry, as the extra `opentelemetry` and its environment variables switch it on."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import serving
from tests.processes import wait_until

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the extra opentelemetry")


@contextmanager
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """A collector of traces at this URL, and the paths and bodies that it was sent."""
    sent: list[tuple[str, bytes]] = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the inherited signature
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", sent
        finally:
            server.shutdown()
            thread.join()


def test_requests_are_traced_by_their_route_when_a_collector_is_named(tmp_path: Path) -> None:
    with (
        collector() as (url, sent),
        serving(
            tmp_path / "data",
            "--no-worker",
            FASTAPI_OTEL_AUTO_CONFIGURE="true",
            OTEL_EXPORTER_OTLP_ENDPOINT=url,
            OTEL_EXPORTER_OTLP_COMPRESSION="none",
            OTEL_SERVICE_NAME="descent-of-the-test",
            OTEL_BSP_SCHEDULE_DELAY="100",
        ) as service,
    ):
        assert service.http.get("/jobs/job_1").status_code == 404
        wait_until(lambda: b"/jobs/{job_id}" in b"".join(body for path, body in sent if path == "/v1/traces"))
    assert any(b"descent-of-the-test" in body for path, body in sent if path == "/v1/traces")
