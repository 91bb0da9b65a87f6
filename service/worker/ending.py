"""Ending in time, whatever the main thread is at."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

LEAVE_SECONDS = 0.7
"""How long it may take to leave: the database may be away."""


@contextmanager
def ending_in_time(stop: Callable[[], None], leave: Callable[[], None], seconds: float) -> Iterator[None]:
    """End the block after SIGTERM or SIGINT; where it does not end so soon, end this process, by exit code 0.

    A thread sees to it, for the main one may be in one step for minutes. Python's own handlers of signals wait for the
    end of that step; but a file descriptor is told at once.

    Args:
        stop: asks the block to end.
        leave: called when it has not ended so many seconds later; the process ends after it, or when it takes too long.
    """
    ended = threading.Event()
    told, tells = os.pipe()
    os.set_blocking(tells, False)
    signal.set_wakeup_fd(tells)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)

    def see_to_it() -> None:
        os.read(told, 1)
        stop()
        if ended.wait(seconds):
            return
        logger.warning("what is under way takes too long to end; the process ends without it")
        leaving = threading.Thread(target=leave, daemon=True)
        leaving.start()
        leaving.join(LEAVE_SECONDS)
        os._exit(0)

    threading.Thread(target=see_to_it, name="ending", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
