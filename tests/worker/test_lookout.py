from datetime import UTC, datetime, timedelta

import pytest

from service.worker.lookout import Lookout

LEASE_SECONDS = 10.0
START = datetime(2026, 11, 22, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def lookout_heard(*seconds: float) -> Lookout:
    """A lookout since `START` whose worker was heard of at these moments."""
    lookout = Lookout(LEASE_SECONDS, START)
    for moment in seconds:
        lookout.heard(after(moment))
    return lookout


@pytest.mark.parametrize("heard", [(), (2, 4, 6), (5, 10)])
def test_a_worker_that_is_heard_of_in_time_may_take_others_for_dead(heard: tuple[float, ...]) -> None:
    lookout = lookout_heard(*heard)
    last = heard[-1] if heard else 0
    assert lookout.is_clear(after(last + 2))
    assert lookout.is_clear(after(last + 5))


@pytest.mark.parametrize("gap", [5.1, 60, 1e6])
def test_one_that_was_late_may_not_until_the_others_had_half_a_lease_to_be_heard_of(gap: float) -> None:
    lookout = lookout_heard(2)
    for tried in (gap, gap + 0.1):  # nothing was committed, so that it was not heard of
        assert not lookout.is_clear(after(2 + tried))
    lookout.heard(after(2 + gap))
    assert [lookout.is_clear(after(2 + gap + seconds)) for seconds in (0, 2, 4.9, 5)] == [False, False, False, True]


def test_one_that_is_late_again_waits_again() -> None:
    lookout = lookout_heard(20, 40)
    assert not lookout.is_clear(after(44))
    assert lookout.is_clear(after(45))


def test_a_clock_that_is_set_back_is_no_delay() -> None:
    assert lookout_heard(2, -3600).is_clear(after(-3598))
