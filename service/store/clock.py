"""The time by which everything in the database is dated: that of the database's server, where there is one.

Workers and API processes may run on machines whose clocks differ, and what one of them dates is compared with what
another one does: leases run out, and what happened to jobs is told in the order of its time.
"""

import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

WINDOW_SECONDS = 10.0
"""What was learned so long ago, or up to twice as long, counts no more: one of the clocks may have been set since."""


class Clock:
    """Another clock, as it is known by what it once told: it never runs ahead of it.

    What it tells has been under way for a while when it arrives, so that each time that is told is a lower bound. The
    highest of them counts: so the time of one who was told something is never before what he was told.

    Args:
        local: gives seconds that nobody sets.
    """

    def __init__(self, local: Callable[[], float] = time.monotonic) -> None:
        self._local = local
        self._lock = threading.Lock()
        self._began = -math.inf
        self._ahead = self._ahead_before = -math.inf  # of ours in seconds: in this window, and in the one before

    def note(self, told: datetime) -> None:
        """Take note of what the other clock has just told."""
        with self._lock:
            here = self._local()
            if here > self._began + WINDOW_SECONDS:
                is_next = here <= self._began + 2 * WINDOW_SECONDS
                self._ahead_before = self._ahead if is_next else -math.inf
                self._began, self._ahead = here, -math.inf
            self._ahead = max(self._ahead, told.timestamp() - here)

    def now(self) -> datetime:
        """Give the time that it is by the other clock; by this machine's own as long as the other has told nothing."""
        with self._lock:
            ahead = max(self._ahead, self._ahead_before)
            return datetime.now(UTC) if ahead == -math.inf else datetime.fromtimestamp(self._local() + ahead, UTC)


OF_THE_DATABASE = Clock()
"""A process has one database, whose server tells its time with every write; with SQLite it is this machine's."""
