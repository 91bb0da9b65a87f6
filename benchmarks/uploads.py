"""Uploading a table and having it understood, end to end over HTTP, beside polars alone reading the same file.

What is understood are types and statistics of every column, so the peer is polars reading the file and describing it.
The service runs as users run it, in processes of its own; the file is sent from this one.
"""

import atexit
import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.measuring import Goal, Subject, Way
from benchmarks.service import Service
from benchmarks.tables import regression

PART_BYTES = 2**20
N_FEATURES = 20
MEDIA_TYPES = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
READERS: dict[str, Callable[[Path], pl.DataFrame]] = {"csv": pl.read_csv, "parquet": pl.read_parquet}


def csv(quick: bool) -> Subject:
    """Set up a CSV file."""
    return _subject("csv", 100_000 if quick else 1_000_000)


def parquet(quick: bool) -> Subject:
    """Set up a Parquet file."""
    return _subject("parquet", 100_000 if quick else 1_000_000)


def long_csv(quick: bool) -> Subject:
    """Set up a CSV file ten times as long."""
    return _subject("csv", 200_000 if quick else 10_000_000)


def long_parquet(quick: bool) -> Subject:
    """Set up a Parquet file ten times as long."""
    return _subject("parquet", 200_000 if quick else 10_000_000)


def _subject(kind: str, n_samples: int) -> Subject:
    path = _write(kind, n_samples)
    service = Service()
    before = service.peaks()
    numbers = itertools.count()

    def upload() -> None:
        # What is told of the file makes it another dataset, or the service would know it.
        params: dict[str, Any] = {"missing": f"round {next(numbers)}"} if kind == "csv" else {"name": "table"}
        answer = service.http.post("/datasets", content=_parts(path), headers=headers, params=params)
        assert answer.status_code == 201, answer.text
        assert answer.json()["n_samples"] == n_samples
        if kind != "csv":
            service.http.delete(answer.headers["Location"])

    def describe() -> None:
        READERS[kind](path).describe()

    headers = {"Content-Type": MEDIA_TYPES[kind], "Content-Length": str(path.stat().st_size)}
    upload()
    after = service.peaks()
    n_rounds = 5 if n_samples <= 1_000_000 else 3
    ways = [
        Way("Descent: POST /datasets, from sending to the answer", upload),
        Way("polars: reads it into memory and describes it", describe, Goal("within", 1.3)),
        Way("polars: reads it into memory", lambda: _nothing(READERS[kind](path))),
        Way("reading the bytes of the file", lambda: _nothing(sum(map(len, _parts(path))))),
    ]
    said = f"the API's peak memory: {before['API'] / 2**20:.0f} MiB before, {after['API'] / 2**20:.0f} MiB after one"
    title = f"{kind} of {n_samples:,} x {N_FEATURES + 1} numbers, {path.stat().st_size / 2**20:.0f} MiB, uploaded"
    return Subject(title, ways, 0, n_rounds, 2, notes=[said])


def _nothing(_: object) -> None:
    return None


def _write(kind: str, n_samples: int) -> Path:
    """Write features and a target with float32's digits to a file that goes when this process ends."""
    folder = tempfile.mkdtemp()
    path = Path(folder) / f"table.{kind}"
    features, targets = regression(n_samples, N_FEATURES)
    names = [f"x{number}" for number in range(1, N_FEATURES + 1)]
    frame = pl.DataFrame(np.column_stack([features, targets]), schema=[*names, "y"], orient="row")
    if kind == "csv":
        frame.write_csv(path)
    else:
        frame.write_parquet(path)
    atexit.register(lambda: (path.unlink(), path.parent.rmdir()))
    return path


def _parts(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(PART_BYTES):
            yield part
