"""Uploading a table and having it understood, end to end over HTTP, beside polars alone reading the same file.

What is understood are types and statistics of every column, so the peer is polars reading the file and describing it;
and beside an upload with its conversion, which the first training does, polars that writes a float32 table as well.
The service runs as users run it, in processes of its own; the file is sent from this one.
"""

import atexit
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.measuring import Goal, Subject, Way
from benchmarks.service import WATCH_SECONDS, Service
from benchmarks.tables import regression

PART_BYTES = 2**20
WITHIN = 1.3
"""The goal: so many times polars' time."""
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

    def upload() -> str:
        answer = service.http.post("/datasets", content=_parts(path), headers=headers)
        assert answer.status_code == 201, answer.text
        assert answer.json()["n_samples"] == n_samples
        return answer.headers["Location"]

    def upload_and_delete() -> None:
        service.http.delete(upload()).raise_for_status()

    def describe() -> None:
        READERS[kind](path).describe()

    def convert() -> None:
        frame = READERS[kind](path)
        frame.describe()
        with tempfile.TemporaryFile() as file:
            np.save(file, frame.cast(pl.Float32).to_numpy())

    headers = {"Content-Type": MEDIA_TYPES[kind], "Content-Length": str(path.stat().st_size)}
    n_rounds = 5 if n_samples <= 1_000_000 else 3
    notes = [*_memory(service, upload), *_conversion(service, upload, convert, n_rounds)]
    ways = [
        Way("Descent: POST /datasets, and DELETE", upload_and_delete),
        Way("polars: reads it into memory and describes it", describe, Goal("within", WITHIN)),
        Way("polars: reads it into memory", lambda: _nothing(READERS[kind](path))),
        Way("reading the bytes of the file", lambda: _nothing(sum(map(len, _parts(path))))),
    ]
    title = f"{kind} of {n_samples:,} x {N_FEATURES + 1} numbers, {path.stat().st_size / 2**20:.0f} MiB, uploaded"
    return Subject(title, ways, 0, n_rounds, 2, notes=notes)


def _memory(service: Service, upload: Callable[[], str]) -> list[str]:
    """Upload once, and train; tell how much memory that took at most."""
    with service.watched() as idle:
        time.sleep(3 * WATCH_SECONDS)
    with service.watched() as uploading:
        place = upload()
    with service.watched() as training:
        _train(service, place)
    service.http.delete(place).raise_for_status()
    moments = {"idle": idle, "during the upload": uploading, "during trainings": training}
    return [
        f"the {process}'s peak memory, MiB: "
        + ", ".join(f"{found.get(process, 0) / 2**20:.0f} {moment}" for moment, found in moments.items())
        for process in ("API", "worker")
    ]


def _conversion(
    service: Service, upload: Callable[[], str], convert: Callable[[], None], n_rounds: int
) -> Iterator[str]:
    """Upload, and train one epoch twice, of which the first has to convert the dataset; tell of it beside polars."""
    rounds = []
    for _ in range(n_rounds):
        times = [time.perf_counter()]
        place = upload()
        for work in (partial(_train, service, place), partial(_train, service, place), convert):
            times.append(time.perf_counter())
            work()
        times.append(time.perf_counter())
        service.http.delete(place).raise_for_status()
        uploading, first, second, polars = np.diff(times)
        rounds.append((uploading + first - second, first - second, second, polars))
    whole, conversion, epoch, polars = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median(ours / theirs for ours, _, _, theirs in rounds)
    yield f"an epoch takes {epoch:.2f} s, and the conversion before the first {conversion:.2f} s"
    yield (
        f"upload and conversion {whole:.2f} s; polars reads, describes and writes a float32 table in {polars:.2f} s: "
        f"Descent within {WITHIN:.2f} x of it: {ratio:.2f} x, {'met' if ratio <= WITHIN else 'MISSED'}"
    )


def _train(service: Service, place: str) -> None:
    """Train for one epoch in mini-batches, and wait for its end."""
    body = {
        "task": "linear_regression",
        "dataset": {"id": place.removeprefix("/datasets/"), "target": "y"},
        "hyperparameters": {"epochs": 1, "batch_size": 256, "learning_rate": 0.001, "seed": 0},
    }
    answer = service.http.post("/train", json=body, headers={"Prefer": "wait=60"}).raise_for_status()
    its_place, job = answer.headers["Location"], answer.json()
    while not job["terminal"]:
        time.sleep(0.05)
        job = service.http.get(its_place).json()
    assert job["status"] == "succeeded", job
    service.http.delete(its_place).raise_for_status()  # which would keep the dataset


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
    atexit.register(shutil.rmtree, folder)
    return path


def _parts(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(PART_BYTES):
            yield part
