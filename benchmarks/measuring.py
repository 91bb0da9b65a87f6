"""Ways of doing the same work, timed side by side, and what is wanted of the first of them, Descent's."""

import operator
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.floating]
Times = dict[str, float]
LEAST_SECONDS = 0.02
"""What is quicker is run several times in a round, or it would be timed with caches that the others have filled."""


@dataclass(frozen=True)
class Goal:
    """How Descent wants to stand beside another way: `at least` so many times as fast, or `within` so many times."""

    kind: Literal["at least", "within"]
    factor: float

    def is_met(self, ratio: float) -> bool:
        """Tell whether a ratio, the other's time over Descent's, is good enough."""
        return ratio >= (self.factor if self.kind == "at least" else 1 / self.factor)


@dataclass(frozen=True)
class Way:
    """One way of doing the work.

    `run` gives what the ways must agree on, or None for a part of the work. Its time is divided by `epochs`. Slow ones
    take part in the first `rounds` only.
    """

    name: str
    run: Callable[[], Values | None]
    goal: Goal | None = None
    epochs: float = 1
    rounds: int = 1000


@dataclass(frozen=True)
class Yardstick:
    """A time that follows from those of several ways in one round."""

    name: str
    seconds: Callable[[Times], float]
    goal: Goal | None = None


@dataclass(frozen=True)
class Subject:
    """Some work, and the ways of doing it.

    Args:
        title: what the work is.
        ways: the first is the one that goals are about.
        tolerance: how far results may lie apart, as a share of the largest number in the first way's.
        rounds: how often each way is timed.
        threads: how many torch may use, as the worker would tell it.
        yardsticks: further rows.
        notes: sentences to print beneath.
    """

    title: str
    ways: Sequence[Way]
    tolerance: float
    rounds: int
    threads: int
    yardsticks: Sequence[Yardstick] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Row:
    """A way's median time, and the median ratio of its time to Descent's in the same round.

    `seconds` are of the clock; those of the processor, of all threads together, are what a busy machine leaves alone.
    """

    name: str
    seconds: float
    ratio: float
    processor_seconds: float
    processor_ratio: float
    goal: Goal | None


def check(subject: Subject) -> None:
    """Run every way once, and hold its result to the first one's; where there is one way, there is nothing to hold.

    Raises:
        AssertionError: when they are further apart than the tolerance.
    """
    if len(subject.ways) == 1:
        return
    first = None
    for way in subject.ways:
        found = way.run()
        if first is None:
            first = found
        elif found is not None:
            tolerance = subject.tolerance * float(np.abs(first).max())
            np.testing.assert_allclose(found, first, rtol=0, atol=tolerance, err_msg=f"{subject.title}: {way.name}")


def measure(subject: Subject) -> list[Row]:
    """Time the ways in turns, so that what else the machine does meets all of them."""
    rounds: list[Times] = []
    processor: list[Times] = []
    for number in range(subject.rounds):
        times, its = {}, {}
        for way in subject.ways:
            if number < way.rounds:
                times[way.name], its[way.name] = _mean_seconds(way)
        rounds.append(times)
        processor.append(its)
    rows: list[Way | Yardstick] = [*subject.ways, *subject.yardsticks]
    return [_row(row, subject.ways[0].name, rounds, processor) for row in rows]


def _mean_seconds(way: Way) -> tuple[float, float]:
    """Run a way for a while, at least once; give what an epoch takes by the clock and on the processor."""
    start, its_start, n_runs = time.perf_counter(), time.process_time(), 0
    while not n_runs or time.perf_counter() < start + LEAST_SECONDS:
        way.run()
        n_runs += 1
    n_epochs = n_runs * way.epochs
    return (time.perf_counter() - start) / n_epochs, (time.process_time() - its_start) / n_epochs


def _row(row: Way | Yardstick, ours: str, rounds: list[Times], processor: list[Times]) -> Row:
    seconds = row.seconds if isinstance(row, Yardstick) else operator.itemgetter(row.name)
    taken = slice(row.rounds if isinstance(row, Way) else None)
    return Row(
        row.name, *_medians(rounds[taken], seconds, ours), *_medians(processor[taken], seconds, ours), goal=row.goal
    )


def _medians(rounds: list[Times], seconds: Callable[[Times], float], ours: str) -> tuple[float, float]:
    """Give the median of some seconds, and of their ratio to Descent's."""
    pairs = [(seconds(times), times[ours]) for times in rounds]
    return statistics.median(its for its, _ in pairs), statistics.median(its / own for its, own in pairs)
