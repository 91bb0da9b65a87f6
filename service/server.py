"""The API process: `python -m service.server`, on a socket that its supervisor listens on."""

import argparse
import socket

import uvicorn

from service.app import create_app
from service.log import configure_logging
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
    config = uvicorn.Config(
        create_app(settings),
        log_config=None,
        access_log=settings.log_level == "debug",
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=arguments.socket)])


if __name__ == "__main__":
    main()
