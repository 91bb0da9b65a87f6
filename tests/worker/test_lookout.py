from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.worker.lookout import HEARTBEATS, Lookout

LEASE_SECONDS = 10.0
HEARTBEAT_SECONDS = LEASE_SECONDS / HEARTBEATS
START = datetime(2026, 11, 22, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def lookout_heard(*seconds: float) -> Lookout:
    """A lookout since `START` whose worker was heard of at these moments."""
    lookout = Lookout(LEASE_SECONDS, START)
    for moment in seconds:
        lookout.heard(after(moment))
    return lookout


@pytest.mark.parametrize("heard", [(2, 4, 6), (7, 14), (6,)])
def test_a_worker_that_is_heard_of_in_time_may_take_others_for_dead(heard: tuple[float, ...]) -> None:
    lookout = lookout_heard(*heard)
    assert lookout.is_clear(after(heard[-1] + 2))
    assert lookout.is_clear(after(heard[-1] + 7.9))


def test_one_that_has_just_come_may_not() -> None:
    assert [lookout_heard(2, 4).is_clear(after(seconds)) for seconds in (0, 2, 4.9, 5)] == [False, False, False, True]


@pytest.mark.parametrize("gap", [8, 60, 1e6])
def test_one_that_was_late_may_not_until_the_others_had_half_a_lease_to_be_heard_of(gap: float) -> None:
    lookout = lookout_heard(5, 8)
    for tried in (gap, gap + 0.1):  # nothing was committed, so that it was not heard of
        assert not lookout.is_clear(after(8 + tried))
    lookout.heard(after(8 + gap))
    assert [lookout.is_clear(after(8 + gap + seconds)) for seconds in (0, 2, 4.9, 5)] == [False, False, False, True]


def test_one_that_is_late_again_waits_again() -> None:
    lookout = lookout_heard(20, 40)
    assert not lookout.is_clear(after(44))
    assert lookout.is_clear(after(45))


def test_a_clock_that_is_set_back_is_no_delay() -> None:
    assert lookout_heard(5, 7, -3600).is_clear(after(-3598))


@given(st.floats(0, HEARTBEAT_SECONDS), st.floats(0, HEARTBEAT_SECONDS), st.floats(0, 100))
def test_what_keeps_all_up_lets_no_worker_be_taken_for_dead(mine: float, another: float, lock: float) -> None:
    """Each was heard of one heartbeat before at the most, and this one is again when the lock is over."""
    lookout = lookout_heard(6, 12 - mine)
    has_run_out = another + lock > LEASE_SECONDS
    assert not (has_run_out and lookout.is_clear(after(12 + lock)))
