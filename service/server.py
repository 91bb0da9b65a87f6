"""The API process: `python -m service.server`, on a socket that its supervisor listens on."""

import argparse
import socket
from types import FrameType

import uvicorn

from service.api.waiting import JobWatch
from service.app import create_app
from service.log import configure_logging
from service.room import keep_files_in
from service.settings import read_settings
from service.supervisor import end_with_supervisor

STOP_SECONDS = 3
"""Answers under way get so long to finish when the process is to end."""


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m service.server", description=__doc__)
    parser.add_argument("--socket", type=int, required=True, help="file descriptor of the listening socket")
    parser.add_argument("--lifeline", type=int, default=None, help="file descriptor that closes with the supervisor")
    arguments = parser.parse_args()
    settings = read_settings()
    configure_logging(settings.log_level, "api")
    end_with_supervisor(arguments.lifeline)
    app = create_app(settings)
    keep_files_in(settings.scratch_path)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=settings.log_level == "debug",
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    _Server(config, app.state.watch).run(sockets=[socket.socket(fileno=arguments.socket)])


class _Server(uvicorn.Server):
    """Answers those who wait for a job before it ends."""

    def __init__(self, config: uvicorn.Config, watch: JobWatch) -> None:
        super().__init__(config)
        self._watch = watch

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle SIGTERM and SIGINT."""
        self._watch.close()
        super().handle_exit(sig, frame)


if __name__ == "__main__":
    main()
