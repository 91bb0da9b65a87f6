"""The whole OpenAPI document against the service, as schemathesis reads it: every endpoint, with and without sense.

By hand, for as long as one likes, against a service and a worker of its own:

    python -m tests.contract --seconds 900 --seed 1
"""

import argparse
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests import postgres
from tests.conftest import serving
from tests.databases import keep_on

CONFIGURATION = Path(__file__).parent / "schemathesis.toml"


def examine(folder: Path, seconds: int, seed: int) -> "subprocess.CompletedProcess[str]":
    """Serve from a folder, and have schemathesis examine what is served: the same seed asks the same, if time allows.

    It fails on an answer with a status of 500 or more, save 507; on a status, media type, header or body that the
    document does not have there; on a request that does not fit the document and is accepted; and on what was deleted
    and is still there. It tells of each failure with a command that asks again, and then ends with exit code 1.
    """
    # What is asked for at random shall keep neither the worker nor the disk from the rest.
    most = str(2**30)
    with serving(folder / "data", DESCENT_MAX_JOB_SECONDS="1", DESCENT_MAX_STORAGE_BYTES=most) as service:
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION)]
        command += ["run", f"{service.url}/openapi.json", "--no-color", "--seed", str(seed), "--max-time", str(seconds)]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def main() -> None:
    """Examine for as long as asked, and print what was found."""
    parser = argparse.ArgumentParser(description="Hold the service to its OpenAPI document.")
    parser.add_argument("--seconds", type=int, default=900)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgresql", action="store_true", help="on a PostgreSQL server of its own, not on SQLite")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        if given.postgresql:
            keep_on(running.enter_context(postgres.serving()), Path(folder))
        found = examine(Path(folder), given.seconds, given.seed)
        sys.stdout.write(found.stdout + found.stderr)
    sys.exit(found.returncode)


if __name__ == "__main__":
    main()
