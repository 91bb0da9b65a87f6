"""Keeping processes alive: starts them, starts them again when they die, and ends them together."""

import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from service.errors import DatabaseUnavailable, NeverStarted

logger = logging.getLogger(__name__)

STOP_SECONDS = 4.0
"""How long a process may take to end after SIGTERM before it is killed."""
POLL_SECONDS = 0.05
LONG_LIFE_SECONDS = 2.0
"""A child that was ready for so long is started again without a pause."""
MAX_PAUSE_SECONDS = 10.0
AS_ASKED = (0, -signal.SIGTERM)
"""The exit codes of a child that was sent SIGTERM, as it is to start one of them anew."""
MAX_FAILED_STARTS = 4
"""A child that ended so many times and was never ready will not be: an import fails, say, or a file cannot be read.

SIGKILL tells nothing of the kind: it comes from somebody else, or for want of memory, which may pass.
"""


@dataclass(frozen=True)
class Death:
    """How a process ended by force.

    Args:
        command: what it ran.
        by_itself: it died; False where it had to be killed because it did not stop in time.
        exit_code: minus the number of the signal, where it was one.
        peak_bytes: the most memory that it had.
    """

    command: list[str]
    by_itself: bool
    exit_code: int
    peak_bytes: int

    def __str__(self) -> str:
        how = f"with exit code {self.exit_code}"
        if self.exit_code < 0:
            names = {number.value: number.name for number in signal.Signals}
            how = f"by {names.get(-self.exit_code, f'signal {-self.exit_code}')}"
        return f"{how}, having had up to {self.peak_bytes / 2**20:,.0f} MiB of memory"


@dataclass
class Child:
    """A process to keep alive.

    Args:
        name: for the logs.
        command: gives the command of the next start; `{lifeline}` in it becomes the number of the lifeline, and
            `{ready}` that of a file descriptor on which the process tells that it is ready (`tell_ready`).
        on_death: called when a process has ended by force.
        inherited: file descriptors that the process gets.
        environment: variables that it gets beside those that all get.
    """

    name: str
    command: Callable[[], list[str]]
    on_death: Callable[[Death], None] = lambda _: None
    inherited: tuple[int, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: threading.Event = field(default_factory=threading.Event, init=False)  # at least once
    tells_ready: bool = field(default=False, init=False)
    n_failed_starts: int = field(default=0, init=False)
    readiness: int | None = field(default=None, init=False)  # the end that is read, while it is waited for
    pause: float = field(default=0.0, init=False)
    started_at: float = field(default=0.0, init=False)
    ready_at: float | None = field(default=None, init=False)  # in this life
    peak_bytes: int = field(default=0, init=False)  # known when it has ended
    restart_at: float | None = field(default=None, init=False)
    running: list[str] = field(default_factory=list, init=False)
    process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)


class Supervisor:
    """Runs children until it is stopped. Should it die itself, they notice (`end_with_supervisor`) and end too.

    Args:
        children: the processes to keep alive.
        environment: variables that they get beside those of this process.
    """

    def __init__(self, children: list[Child], environment: dict[str, str] | None = None) -> None:
        self._children = children
        self._environment = {**os.environ, **(environment or {})}
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._failure: NeverStarted | None = None
        self._lifeline, self._held_end = os.pipe()
        self._monitor = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        """Start every child, and watch them from a thread."""
        for child in self._children:
            self._spawn(child)
        self._monitor.start()

    def wait_until_ready(self, child: Child) -> None:
        """Come back when a child is ready for the first time; raises NeverStarted when one never will be."""
        while not child.ready.wait(POLL_SECONDS):
            if self._failure is not None:
                raise self._failure

    def wait(self) -> None:
        """Wait for ever, or for a signal whose handler raises; raises NeverStarted when a child will never be ready."""
        self._ended.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End every child: SIGTERM, and SIGKILL for those that have not ended after `STOP_SECONDS`."""
        self._stopping.set()
        self._monitor.join()
        alive = [child for child in self._children if child.process and child.process.poll() is None]
        for child in alive:
            self._process(child).terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for child in alive:
            try:
                self._process(child).wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                logger.warning("%s did not end in time and is killed", child.name)
                self._process(child).kill()
                while (code := _exit_code(child)) is None:
                    time.sleep(POLL_SECONDS)
                self._clean_up(child, code, by_itself=False)
        for readiness in [child.readiness for child in self._children if child.readiness is not None]:
            os.close(readiness)
        os.close(self._held_end)
        os.close(self._lifeline)

    def _watch(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            for child in self._children:
                code = _exit_code(child)
                self._note_readiness(child)
                if code is None:
                    continue
                if child.restart_at is None:
                    self._plan_restart(child, code)
                elif time.monotonic() >= child.restart_at:
                    self._restart(child)

    def _note_readiness(self, child: Child) -> None:
        if child.readiness is None or not select.select([child.readiness], [], [], 0)[0]:
            return
        if os.read(child.readiness, 1):
            child.ready_at = time.monotonic()
            child.ready.set()
        os.close(child.readiness)  # it is ready, or it has ended without
        child.readiness = None

    def _plan_restart(self, child: Child, code: int) -> None:
        """Clean up after a death; start again at once, or after a pause that grows while the lives are short."""
        now = time.monotonic()
        known = {"exit_code": code, "lived_seconds": now - child.started_at, "peak_bytes": child.peak_bytes}
        if code in AS_ASKED:
            logger.info("%s ended and is started again", child.name, extra=known)
        else:
            logger.warning("%s died and is started again", child.name, extra=known)
        self._clean_up(child, code, by_itself=True)
        child.n_failed_starts += code != -signal.SIGKILL
        if child.tells_ready and not child.ready.is_set() and child.n_failed_starts >= MAX_FAILED_STARTS:
            self._give_up(child, code)
        was_ready_at = child.ready_at if child.tells_ready else child.started_at
        lived_long = was_ready_at is not None and now > was_ready_at + LONG_LIFE_SECONDS
        child.pause = 0.0 if lived_long else _longer(child.pause)
        child.restart_at = time.monotonic() + child.pause

    def _give_up(self, child: Child, code: int) -> None:
        times = f"ended {child.n_failed_starts} times before it was ready, the last time with exit code {code}"
        self._failure = NeverStarted(f"{child.name} {times}; what it said last is above")
        self._ended.set()

    def _restart(self, child: Child) -> None:
        try:
            self._spawn(child)
        except OSError:  # no memory or no process to be had: that may pass
            logger.exception("%s cannot be started; the next try follows", child.name)
            child.pause = _longer(child.pause)
            child.restart_at = time.monotonic() + child.pause

    @staticmethod
    def _clean_up(child: Child, exit_code: int, *, by_itself: bool) -> None:
        try:
            child.on_death(Death(child.running, by_itself, exit_code, child.peak_bytes))
        except DatabaseUnavailable:  # in the log already
            logger.warning("%s could not be cleaned up after; its lease will run out instead", child.name)
        except Exception:
            logger.exception("cleaning up after %s failed; its lease will run out instead", child.name)

    def _spawn(self, child: Child) -> None:
        given = child.command()
        child.tells_ready = "{ready}" in given
        readiness, told = os.pipe()
        command = [part.format(lifeline=self._lifeline, ready=told) for part in given]
        child.running, child.started_at, child.restart_at, child.ready_at = command, time.monotonic(), None, None
        # A session of its own, so that Ctrl-C in the terminal reaches the supervisor only.
        try:
            child.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                env={**self._environment, **child.environment},
                pass_fds=(self._lifeline, told, *child.inherited),
                start_new_session=True,
            )
        except OSError:
            os.close(readiness)
            raise
        finally:
            os.close(told)
        child.readiness = readiness
        logger.info("%s started", child.name, extra={"pid": child.process.pid})

    @staticmethod
    def _process(child: Child) -> "subprocess.Popen[bytes]":
        assert child.process is not None
        return child.process


def _exit_code(child: Child) -> int | None:
    """Tell how a child has ended, None while it lives; note what `Popen.poll` does not tell, how much memory it had."""
    process = child.process
    assert process is not None
    if process.returncode is None:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            child.peak_bytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return process.returncode


def _longer(pause: float) -> float:
    return min(MAX_PAUSE_SECONDS, 2 * pause + 0.1)


def end_with_supervisor(lifeline: int | None) -> None:
    """In a child: send this process SIGTERM as soon as the supervisor is gone, however it went.

    Only the supervisor holds the other end of the lifeline, so reading it returns when the supervisor's process ends.
    """
    if lifeline is None:
        return

    def wait() -> None:
        os.read(lifeline, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def tell_ready(ready: int | None) -> None:
    """In a child: tell the supervisor that this process is ready to work."""
    if ready is not None:
        os.write(ready, b"1")
        os.close(ready)
