import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from service.errors import NeverStarted
from service.supervisor import (
    LONG_LIFE_SECONDS,
    MAX_FAILED_STARTS,
    MAX_PAUSE_SECONDS,
    STOP_SECONDS,
    Child,
    Death,
    Supervisor,
)
from tests.logs import logged
from tests.processes import wait_until

APPEND_TIME = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).open('a').write(str(time.monotonic()) + chr(10))"
LIVE = f"{APPEND_TIME}; time.sleep(600)"
IGNORE_SIGTERM = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {LIVE}"


class Program:
    """A small program as a child, which notes each of its starts in a file."""

    def __init__(self, file: Path, code: str, fail_on_death: bool = False) -> None:
        self.file = file
        self.deaths: list[tuple[str, bool]] = []
        self.last_death: Death | None = None
        self.n_commands = 0
        self.fail_on_death = fail_on_death
        self.child = Child(file.stem, self.command(code), self.on_death)

    def command(self, code: str) -> Callable[[], list[str]]:
        def next_command() -> list[str]:
            self.n_commands += 1
            return [sys.executable, "-c", code, str(self.file), "{lifeline}", f"start {self.n_commands}"]

        return next_command

    def on_death(self, death: Death) -> None:
        assert death.command[-2].isdigit()
        self.deaths.append((death.command[-1], death.by_itself))
        self.last_death = death
        if self.fail_on_death:
            raise RuntimeError("the database is away")

    @property
    def starts(self) -> list[float]:
        return [float(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []

    @property
    def exit_code(self) -> int | None:
        assert self.child.process is not None
        return self.child.process.poll()


@contextmanager
def supervised(*programs: Program) -> Iterator[Supervisor]:
    """Run programs until the block ends, all of them started once when it begins."""
    supervisor = Supervisor([program.child for program in programs])
    supervisor.start()
    try:
        wait_until(lambda: all(program.starts for program in programs))
        yield supervisor
    finally:
        supervisor.stop()


def test_a_child_that_dies_is_started_again_and_its_death_is_told(tmp_path: Path) -> None:
    program, other = Program(tmp_path / "dies", LIVE), Program(tmp_path / "lives", LIVE)
    with supervised(program, other):
        assert program.child.process is not None
        program.child.process.kill()
        wait_until(lambda: len(program.starts) == 2)
        assert program.exit_code is None
    assert program.deaths == [("start 1", True)]
    assert (len(other.starts), other.deaths) == (1, [])


@pytest.mark.parametrize(
    ("number", "level", "said"),
    [
        (signal.SIGTERM, "info", "asked ended and is started again"),
        (signal.SIGKILL, "warning", "asked died and is started again"),
    ],
)
def test_a_child_that_was_asked_to_end_is_started_anew_without_a_warning(
    tmp_path: Path, number: signal.Signals, level: str, said: str
) -> None:
    program = Program(tmp_path / "asked", LIVE)
    with logged() as lines, supervised(program):
        assert program.child.process is not None
        program.child.process.send_signal(number)
        wait_until(lambda: len(program.starts) == 2)
    assert [line["level"] for line in lines.of(said)] == [level]


@pytest.mark.parametrize(
    ("end", "exit_code", "said"),
    [
        ("os.kill(os.getpid(), 9)", -signal.SIGKILL, "by SIGKILL"),
        ("os.kill(os.getpid(), 35)", -35, "by signal 35"),
        ("sys.exit(3)", 3, "with exit code 3"),
    ],
)
def test_of_a_death_it_is_told_how_it_came_and_how_much_memory_was_taken(
    tmp_path: Path, end: str, exit_code: int, said: str
) -> None:
    taking = f"import os, sys; taken = bytearray(b'1') * (100 * 2**20); {end}"
    program = Program(tmp_path / "dies", f"{APPEND_TIME}; {taking}")
    with supervised(program):
        wait_until(lambda: program.last_death)
    death = program.last_death
    assert death is not None
    assert death.exit_code == exit_code
    assert death.peak_bytes > 100 * 2**20
    assert str(death) == f"{said}, having had up to {death.peak_bytes / 2**20:,.0f} MiB of memory"


def test_each_start_gets_a_new_command_with_the_lifeline_in_it(tmp_path: Path) -> None:
    program = Program(tmp_path / "short", APPEND_TIME)
    with supervised(program):
        wait_until(lambda: len(program.starts) >= 3)
    assert program.deaths[:2] == [("start 1", True), ("start 2", True)]


def test_a_child_that_keeps_dying_is_started_after_growing_pauses(tmp_path: Path) -> None:
    program = Program(tmp_path / "short", f"{APPEND_TIME}; sys.exit(3)")
    with supervised(program):
        wait_until(lambda: len(program.starts) >= 4)
    starts = program.starts
    pauses = [later - earlier for earlier, later in pairwise(starts)]
    assert all(pause >= least for pause, least in zip(pauses, (0.1, 0.3, 0.7), strict=False))


def test_a_child_is_started_again_though_cleaning_up_after_it_fails(tmp_path: Path) -> None:
    program = Program(tmp_path / "short", APPEND_TIME, fail_on_death=True)
    with supervised(program):
        wait_until(lambda: len(program.starts) >= 2)
    assert program.deaths


def test_stopping_ends_children_by_sigterm_and_starts_none_again(tmp_path: Path) -> None:
    programs = [Program(tmp_path / name, LIVE) for name in ("one", "two")]
    with supervised(*programs):
        pass
    assert [program.exit_code for program in programs] == [-signal.SIGTERM] * 2
    time.sleep(0.3)
    assert [(len(program.starts), program.deaths) for program in programs] == [(1, [])] * 2


def test_stopping_kills_children_that_ignore_sigterm_and_tells_their_deaths(tmp_path: Path) -> None:
    deaf = [Program(tmp_path / name, IGNORE_SIGTERM, fail_on_death=True) for name in ("deaf", "too")]
    polite = Program(tmp_path / "polite", LIVE)
    with supervised(*deaf, polite):
        before = time.monotonic()
    assert time.monotonic() - before > STOP_SECONDS - 0.5
    assert [program.exit_code for program in deaf] == [-signal.SIGKILL] * 2
    assert [program.deaths for program in deaf] == [[("start 1", False)]] * 2
    assert (polite.exit_code, polite.deaths) == (-signal.SIGTERM, [])


def test_a_child_that_keeps_dying_does_not_keep_another_from_being_started_again(tmp_path: Path) -> None:
    dying, other = Program(tmp_path / "dying", APPEND_TIME), Program(tmp_path / "other", LIVE)
    dying.child.pause = 10.0  # as if it had died often
    with supervised(dying, other):
        wait_until(lambda: dying.child.restart_at)
        due_at = dying.child.restart_at
        assert due_at is not None
        assert other.child.process is not None
        other.child.process.kill()
        wait_until(lambda: len(other.starts) == 2)
        assert other.child.started_at < due_at


def test_a_child_that_was_ready_for_long_is_started_again_without_a_pause(tmp_path: Path) -> None:
    program = ready_program(tmp_path / "lives", f"import time; {READY}; {LIVE}")
    program.child.pause = 5.0
    with supervised(program) as supervisor:
        supervisor.wait_until_ready(program.child)
        time.sleep(LONG_LIFE_SECONDS + 0.1)
        assert program.child.process is not None
        program.child.process.kill()
        wait_until(lambda: len(program.starts) == 2)
        assert program.child.pause == 0


def test_stopping_does_not_wait_for_the_pause_of_a_child_that_keeps_dying(tmp_path: Path) -> None:
    program = Program(tmp_path / "short", APPEND_TIME)
    program.child.pause = MAX_PAUSE_SECONDS  # as if it had died often
    with supervised(program):
        wait_until(lambda: program.child.restart_at)
    assert program.child.restart_at is not None
    assert time.monotonic() < program.child.restart_at


def test_a_start_that_fails_is_tried_again_and_keeps_no_other_child_from_its_own(tmp_path: Path) -> None:
    program, other = Program(tmp_path / "fails", APPEND_TIME), Program(tmp_path / "dies", APPEND_TIME)
    given = program.child.command

    def command() -> list[str]:
        made = given()
        return ["/no/such/program"] if program.n_commands in (2, 3) else made

    program.child.command = command
    with supervised(program, other):
        wait_until(lambda: len(program.starts) >= 2 and len(other.starts) >= 2)
    assert program.n_commands >= 4


READY = "import os, sys; os.write(int(sys.argv[4]), b'1')"


def ready_program(file: Path, code: str) -> Program:
    """A program that may tell that it is ready, on the file descriptor that it is given for that."""
    program = Program(file, code)
    given = program.child.command
    program.child.command = lambda: [*given(), "{ready}"]
    return program


def test_a_child_is_waited_for_until_it_tells_that_it_is_ready(tmp_path: Path) -> None:
    program = ready_program(tmp_path / "slow", f"import time; time.sleep(0.5); {READY}; {LIVE}")
    with supervised(program) as supervisor:
        supervisor.wait_until_ready(program.child)
        assert time.monotonic() - program.child.started_at >= 0.5
        assert program.exit_code is None


def test_a_child_that_ends_again_and_again_before_it_is_ready_is_given_up(tmp_path: Path) -> None:
    program = ready_program(tmp_path / "short", f"{APPEND_TIME}; sys.exit(3)")
    with supervised(program) as supervisor:
        with pytest.raises(NeverStarted, match=f"^short ended {MAX_FAILED_STARTS} times before it was ready.*code 3"):
            supervisor.wait_until_ready(program.child)
        with pytest.raises(NeverStarted):
            supervisor.wait()


def test_a_child_that_is_killed_again_and_again_before_it_is_ready_is_not_given_up(tmp_path: Path) -> None:
    last = f"start {MAX_FAILED_STARTS + 1}"
    killed = f"import os, sys; sys.argv[3] == {last!r} and os.write(int(sys.argv[4]), b'1'); {APPEND_TIME}"
    program = ready_program(tmp_path / "short", f"{killed}; os.kill(os.getpid(), 9)")
    with supervised(program) as supervisor:
        supervisor.wait_until_ready(program.child)
        assert len(program.starts) >= MAX_FAILED_STARTS


def test_a_child_that_was_ready_once_is_never_given_up(tmp_path: Path) -> None:
    once = f"import os, sys; sys.argv[3] == 'start 1' and os.write(int(sys.argv[4]), b'1'); {APPEND_TIME}"
    program = ready_program(tmp_path / "short", once)
    program.child.pause = 0.0
    with supervised(program) as supervisor:
        supervisor.wait_until_ready(program.child)
        wait_until(lambda: len(program.starts) > MAX_FAILED_STARTS + 1)
        waiting = threading.Thread(target=supervisor.wait, daemon=True)  # which would raise at once
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
