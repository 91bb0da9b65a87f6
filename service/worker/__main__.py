"""The worker process: `python -m service.worker`."""

import argparse

from service.log import configure_logging
from service.room import keep_files_in
from service.settings import read_settings
from service.store.database import open_database
from service.store.identifiers import new_identifier
from service.store.migrations import migrate
from service.supervisor import end_with_supervisor, tell_ready
from service.worker.ending import ending_in_time
from service.worker.work import Worker

STOP_SECONDS = 3.0
"""How long a job's step may take to end after SIGTERM; a supervisor waits a second longer."""


def main() -> None:
    """Work until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m service.worker", description=__doc__)
    parser.add_argument("--id", default=None, help="under which the supervisor knows this worker")
    parser.add_argument("--lifeline", type=int, default=None, help="file descriptor that closes with the supervisor")
    parser.add_argument("--ready", type=int, default=None, help="file descriptor to tell the supervisor on: it works")
    arguments = parser.parse_args()
    settings = read_settings()
    configure_logging(settings.log_level, "worker")
    database = open_database(settings)
    migrate(database)
    keep_files_in(settings.scratch_path)
    worker = Worker(database, settings, arguments.id or new_identifier("worker_"))
    with ending_in_time(worker.stop, worker.leave, STOP_SECONDS):
        end_with_supervisor(arguments.lifeline)
        worker.run(lambda: tell_ready(arguments.ready))
        database.close()


if __name__ == "__main__":
    main()
