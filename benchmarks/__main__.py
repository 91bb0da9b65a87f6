"""What is fast, measured beside what one would use instead: `python -m benchmarks` (or `make bench`).

Times are medians; a ratio is another way's time over Descent's, the median of those in the same round. Nothing fails
for being slow, but every way must give the same result first.
"""

import argparse
import atexit
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack

import numpy as np
import threadpoolctl
import torch

from benchmarks import (
    aliases,
    linear,
    load,
    logistic,
    logistic_large,
    mapped,
    mini_batches,
    perceptron,
    predictions,
    start,
    trajectory,
    uploads,
    watchers,
)
from benchmarks.measuring import Subject, check, measure
from benchmarks.report import table
from service.settings import PREFIX
from tests import postgres
from tests.databases import fresh_urls

SUBJECTS: dict[str, Callable[[bool], Subject]] = {
    "trajectory": trajectory.points,
    "trajectory-diabetes": trajectory.diabetes,
    "linear-wide": linear.wide,
    "linear-long": linear.long,
    "logistic": logistic.subject,
    "logistic-mini-batches": mini_batches.logistic,
    "softmax-mini-batches": mini_batches.softmax,
    "mini-batches-mapped": mapped.subject,
    "logistic-large": logistic_large.subject,
    "perceptron": perceptron.full_batch,
    "perceptron-mini-batches": perceptron.mini_batches,
    "predict": predictions.many,
    "predict-one-connection": predictions.one,
    "predict-rows": predictions.rows,
    "predict-many-models": predictions.models,
    "predict-moving-alias": aliases.subject,
    "start": start.subject,
    "upload-csv": uploads.csv,
    "upload-parquet": uploads.parquet,
    "upload-long-csv": uploads.long_csv,
    "upload-long-parquet": uploads.long_parquet,
    "load": load.load,
    "wait": load.wait,
    "watchers": watchers.subject,
}


def main() -> None:
    """Measure what was asked for, one subject after another."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure Descent beside its peers.")
    parser.add_argument(
        "--only", action="append", choices=SUBJECTS, metavar="NAME", help=f"one of {', '.join(SUBJECTS)}"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything works")
    parser.add_argument(
        "--postgresql", action="store_true", help="services on a PostgreSQL server of its own, set as it comes: durable"
    )
    given = parser.parse_args()
    until_the_end = ExitStack()
    atexit.register(until_the_end.close)  # after the services, which are registered later
    url = until_the_end.enter_context(fresh_urls(on_postgresql=given.postgresql, settings=postgres.PRIVATE))
    blas = {pool["internal_api"]: pool["num_threads"] for pool in threadpoolctl.threadpool_info()}
    say(f"{os.cpu_count()} cores, load average {load_average()}; NumPy {np.__version__}, torch {torch.__version__}")
    say(f"threads: {', '.join(f'{name} {n}' for name, n in blas.items())}; torch's as the worker sets them, said below")
    for name in given.only or SUBJECTS:
        os.environ[f"{PREFIX}DATABASE_URL"] = url()  # which the services of the subject inherit
        run(name, SUBJECTS[name](given.quick))


def run(name: str, subject: Subject) -> None:
    """Check, measure and print one subject."""
    torch.set_num_threads(subject.threads)
    check(subject)
    before = load_average()
    rows = measure(subject)
    say(f"\n{name}: {subject.title}")
    say(
        f"  torch threads {subject.threads}, at most {subject.rounds} rounds, load average {before} to {load_average()}"
    )
    for line in [*table(rows), *(f"  {note}." for note in subject.notes)]:
        say(line)


def load_average() -> str:
    """Write the load average of the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
