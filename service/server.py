"""The API process: `python -m service.server`, on a socket that its supervisor listens on."""

import gc

if __name__ == "__main__":  # what is imported stays, and to look through it again and again takes a fifth of a start
    gc.disable()

import argparse
import asyncio
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from service.api.waiting import JobWatch
from service.app import create_app
from service.log import configure_logging
from service.room import keep_files_in
from service.settings import read_settings
from service.supervisor import end_with_supervisor, tell_ready

FAREWELL_SECONDS = 0.3
"""A request on a connection that was taken, or kept from the request before, gets so long to come in."""
STOP_SECONDS = 2
"""Answers under way get so long to finish when the process is to end."""


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m service.server", description=__doc__)
    parser.add_argument("--socket", type=int, required=True, help="file descriptor of the listening socket")
    parser.add_argument("--lifeline", type=int, default=None, help="file descriptor that closes with the supervisor")
    parser.add_argument("--ready", type=int, default=None, help="file descriptor to tell the supervisor on: it serves")
    arguments = parser.parse_args()
    settings = read_settings()
    configure_logging(settings.log_level, "api")
    end_with_supervisor(arguments.lifeline)
    app = create_app(settings)
    keep_files_in(settings.scratch_path)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # `service.api.observing` writes it
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    _Server(config, app, arguments.ready).run(sockets=[socket.socket(fileno=arguments.socket)])


class _Server(uvicorn.Server):
    """Answers those who wait for a job before it ends."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, ready: int | None) -> None:
        super().__init__(config)
        self._state = app.state
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        gc.freeze()  # what is there now stays: to look through all of it for garbage takes as long as 1,000 predictions
        gc.enable()
        tell_ready(self._ready)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle SIGTERM and SIGINT."""
        self._state.ending = True
        watch: JobWatch = self._state.watch
        watch.close()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Leave new connections to the process that comes after, and answer those that this one has taken."""
        for server in self.servers:
            server.close()
        await asyncio.sleep(FAREWELL_SECONDS)
        await super().shutdown(sockets)
        if self.server_state.tasks:  # cut off by now; they answer that
            await asyncio.wait(self.server_state.tasks, timeout=FAREWELL_SECONDS)


if __name__ == "__main__":
    main()
