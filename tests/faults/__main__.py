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
from pathlib import Path

from tests.faults.campaign import compare, run
from tests.faults.trainings import trainings


def main() -> None:
    """Run both, and compare."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--jobs", type=int, default=50, help="trainings (default 50)")
    parser.add_argument("--kills", type=int, default=100, help="processes that are killed or frozen (default 100)")
    parser.add_argument("--seed", type=int, action="append", help="of all draws (default 0); several run in turn")
    given = parser.parse_args()
    for seed in given.seed or [0]:
        started = time.monotonic()
        asked = trainings(given.jobs, seed)
        with tempfile.TemporaryDirectory(prefix="descent-faults-", ignore_cleanup_errors=True) as folder:
            for name in ("peace", "strikes"):
                (Path(folder) / name).mkdir()
            say(f"seed {seed}: {given.jobs} trainings, left in peace")
            expected = run(Path(folder) / "peace", asked, 0, seed, say)
            say(f"seed {seed}: the same under {given.kills} strikes")
            compare(run(Path(folder) / "strikes", asked, given.kills, seed, say), expected)
        say(f"seed {seed}: all the same in every bit, after {time.monotonic() - started:.0f} s")


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
