"""Strike a service again and again, and see that nothing comes of it: `python -m tests.faults`.

Trainings of every kind are asked for while workers, API and supervisor are killed and frozen at random moments; the
service is started again when its supervisor dies. At the end every job has succeeded, once, with a history that has no
gap and nothing twice; and all of it, the parameters in every bit, is that of the same trainings left in peace. What is
drawn comes from the seed; when it happens the machine has a say in.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import SecretStr

from service.settings import Settings
from tests.databases import fresh_urls
from tests.faults.campaign import compare, run
from tests.faults.trainings import trainings


def main() -> None:
    """Run both, and compare."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--jobs", type=int, default=50, help="trainings (default 50)")
    parser.add_argument("--kills", type=int, default=100, help="processes that are killed or frozen (default 100)")
    parser.add_argument("--seed", type=int, action="append", help="of all draws (default 0); several run in turn")
    parser.add_argument("--postgresql", action="store_true", help="on a PostgreSQL server of its own, not on SQLite")
    given = parser.parse_args()
    with fresh_urls(on_postgresql=given.postgresql) as url:
        for seed in given.seed or [0]:
            _campaign(given.jobs, given.kills, seed, url)


def _campaign(n_jobs: int, n_strikes: int, seed: int, url: Callable[[], str]) -> None:
    started = time.monotonic()
    asked = trainings(n_jobs, seed)
    with tempfile.TemporaryDirectory(prefix="descent-faults-", ignore_cleanup_errors=True) as folder:
        peace, strikes = (
            Settings(data_dir=Path(folder) / name / "data", database_url=SecretStr(url()))
            for name in ("peace", "strikes")
        )
        say(f"seed {seed}: {n_jobs} trainings, left in peace")
        expected = run(peace, asked, 0, seed, say)
        say(f"seed {seed}: the same under {n_strikes} strikes")
        compare(run(strikes, asked, n_strikes, seed, say), expected)
    say(f"seed {seed}: all the same in every bit, after {time.monotonic() - started:.0f} s")


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
