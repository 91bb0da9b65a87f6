from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from service.store.clock import WINDOW_SECONDS, Clock

START = datetime(2026, 1, 1, tzinfo=UTC)
EXACT = timedelta(microseconds=10)
"""As exact as seconds since 1970 are written."""


class Elsewhere:
    """A machine whose clock is ahead of ours, and the way to it."""

    def __init__(self) -> None:
        self.here = 1000.0
        self.ahead = timedelta(0)
        self.clock = Clock(lambda: self.here)

    @property
    def time(self) -> datetime:
        return START + self.ahead + timedelta(seconds=self.here)

    def tell(self, seconds_under_way: float) -> datetime:
        told = self.time
        self.here += seconds_under_way
        self.clock.note(told)
        return told


def test_a_clock_that_was_told_nothing_goes_by_this_machine() -> None:
    before = datetime.now(UTC)
    assert before <= Clock().now() <= datetime.now(UTC)


@given(
    ahead=st.timedeltas(-timedelta(days=900), timedelta(days=900)),
    told=st.lists(st.tuples(st.floats(0, 30), st.floats(0, 2)), min_size=1, max_size=30),
)
def test_what_was_told_is_never_before_it_was_and_never_after_the_other_clock(
    ahead: timedelta, told: list[tuple[float, float]]
) -> None:
    there = Elsewhere()
    there.ahead = ahead
    for passed, under_way in told:
        there.here += passed
        moment = there.tell(under_way)
        assert moment - EXACT <= there.clock.now() <= there.time + EXACT


def test_a_clock_that_was_set_back_is_followed_after_a_while() -> None:
    there = Elsewhere()
    there.tell(0.1)
    there.ahead = timedelta(hours=-1)
    for _ in range(5):
        there.here += WINDOW_SECONDS / 2
        there.tell(0.1)
    assert there.time - timedelta(seconds=0.2) <= there.clock.now() <= there.time


def test_a_clock_that_was_set_on_is_followed_at_once() -> None:
    there = Elsewhere()
    there.tell(0.1)
    there.ahead = timedelta(hours=1)
    there.tell(0.1)
    assert there.clock.now() >= there.time - timedelta(seconds=0.2)
