"""When a worker may take others for dead: not soon after it could not tell of itself, for they could not either."""

from datetime import datetime, timedelta

HEARTBEATS = 5
"""So many times in each lease a worker tells that it lives."""


class Lookout:
    """Tells whether a lease that has run out shows that its worker is dead.

    It does not where this worker was not there, or was late itself: what kept it up, such as a locked database, a full
    disk or a machine that slept, may have kept up all. The others then get half a lease to be heard of.

    Args:
        lease_seconds: how long a worker may be unheard of.
        at: when this worker was first heard of, by the clock that leases run by.
    """

    def __init__(self, lease_seconds: float, at: datetime) -> None:
        lease = timedelta(seconds=lease_seconds)
        self._late_after = lease - lease / HEARTBEATS  # what keeps all up for less lets no lease run out
        self._patience = lease / 2
        self._heard_at = self._late_at = at

    def is_clear(self, at: datetime) -> bool:
        """Tell whether others may be taken for dead at a moment, in which this worker is heard of."""
        was_late = self._late_at <= at < self._late_at + self._patience
        return not (was_late or self._is_late(at))

    def heard(self, at: datetime) -> None:
        """Take note that this worker was heard of."""
        if self._is_late(at):
            self._late_at = at
        self._heard_at = at

    def _is_late(self, at: datetime) -> bool:
        return at >= self._heard_at + self._late_after
