"""What can go wrong, in Descent's own words. No HTTP here: `service.api.problems` turns these into answers.

DescentError
├── InvalidRequest              what was asked for cannot be done as it stands; lists every fault found
│   ├── InvalidDataset          the features and targets do not make a dataset
│   ├── InvalidHyperparameters  the hyperparameters do not fit together, or not the task or the dataset
│   └── InvalidFeatures         a prediction was asked for with features that the model does not take
├── ScopeTooNarrow              a key may not be used for what is asked for
├── NotFound                    something was named that is not there, or is another's
├── JobEnded                    a job cannot be cancelled, paused or resumed, for it has ended
├── JobNotEnded                 a job cannot be retried or deleted, for it has not ended
├── QueueFull                   so many jobs are queued that no other may be; tells when to ask again
├── DatasetInUse                a dataset cannot be deleted, for a queued or running job needs it
├── ExtraMissing                something is asked for that needs a package which is not installed
├── DatasetTooLarge             a file is a table that takes more than a dataset may
├── StorageFull                 a dataset would take more of the disk than there is for it
├── TrainingFailed              a training ends without a model; its code goes into the job
│   ├── TrainingDiverged        a loss or its gradient is not finite, or has left its start behind; has the diagnosis
│   ├── DeviceUnavailable       a device was asked for that this worker does not have
│   └── NameTaken               the name of a model has become another owner's meanwhile
├── DatabaseUnavailable         the database cannot be read or written at the moment
│   └── DatabaseFull            the database cannot be written, for its disk is full
├── LeaseLost                   a worker writes for a job that is no longer its own
├── UnreadableFile              a file that is to be sent or kept cannot be read or written
├── InvalidSettings             an environment variable or an option sets what cannot be
├── NeverStarted                a process of the service ends again and again before it is ready to work
├── ServiceUnreachable          a client finds no service at its address
├── ServiceRefused              a client's request was answered with a problem; carries it
├── JobFailed                   a job that a client waited for ended without a model; carries it
└── UnsendableData              what a client was given is no table that can be sent
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Self, TypeVar

Wrong = TypeVar("Wrong")

MAX_FAULTS = 100
"""So many faults are told of at once; more help nobody."""


def escape(name: str) -> str:
    """Write a name as a part of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def counted(number: int, noun: str) -> str:
    """Write how many there are of something, by a noun that is regular: `1 weight`, `2 weights`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a request: where (a JSON pointer relative to what was given) and what."""

    pointer: str
    detail: str


def first_of(wrong: Iterable[Wrong], fault: Callable[[Wrong], Fault]) -> tuple[list[Fault], int]:
    """Give the faults that are told of what is wrong, the first, and how many there are."""
    given = iter(wrong)
    told = list(map(fault, islice(given, MAX_FAULTS)))
    return told, len(told) + sum(1 for _ in given)


@dataclass(frozen=True)
class Finding:
    """Something worth knowing about a training: a code, a sentence, the evidence in numbers, and what to change.

    `suggestion` holds hyperparameters by name, and is empty when there is nothing to suggest; `epoch` is the one that
    the finding is about, if any.
    """

    code: str
    detail: str
    evidence: dict[str, Any] = field(default_factory=dict)
    suggestion: dict[str, Any] = field(default_factory=dict)
    epoch: int | None = None


class DescentError(Exception):
    """Everything that a user can cause or must know of."""

    @property
    def detail(self) -> str:
        """The whole message, for a person."""
        return str(self)


class InvalidRequest(DescentError):
    """Raised with every fault found, so that one answer is enough to mend the request.

    `faults` are the first hundred of them; `n_faults` tells how many were found, of which there may be more still.
    """

    def __init__(self, faults: Sequence[Fault], n_faults: int | None = None) -> None:
        self.faults = tuple(faults[:MAX_FAULTS])
        self.n_faults = len(faults) if n_faults is None else n_faults
        super().__init__("; ".join(fault.detail for fault in self.faults))

    def moved(self, place: Callable[[str], str]) -> Self:
        """Give the same with its pointers put elsewhere."""
        faults = [Fault(place(fault.pointer), fault.detail) for fault in self.faults]
        return type(self)(faults, self.n_faults)


class InvalidDataset(InvalidRequest):
    """Raised when features and targets do not make a dataset: empty, ragged, of unequal length, not finite."""


class InvalidHyperparameters(InvalidRequest):
    """Raised when hyperparameters contradict each other, the task or the dataset."""


class InvalidFeatures(InvalidRequest):
    """Raised when a prediction names a feature wrongly, twice or not at all, or gives a value that is no number."""


class ScopeTooNarrow(DescentError):
    """Raised when a key is good, and what is asked for needs one of a wider scope."""


class NotFound(DescentError):
    """Raised when a job, model, version or epoch is named that is not there."""


class EpochNotRecorded(NotFound):
    """Raised when an epoch is named that a training has gone through without recording it."""


class JobEnded(DescentError):
    """Raised when a job is to be cancelled that has succeeded or failed, or paused or resumed that has ended."""


class JobNotEnded(DescentError):
    """Raised when something is asked of a queued or running job that only an ended one can do."""


class QueueFull(DescentError):
    """Raised when as many jobs are queued as may be; asking again makes sense after `retry_seconds`, at least 1."""

    def __init__(self, detail: str, retry_seconds: int) -> None:
        super().__init__(detail)
        self.retry_seconds = retry_seconds


class DatasetInUse(DescentError):
    """Raised when a dataset is to be deleted that a queued or running job trains on."""


class VersionInUse(DescentError):
    """Raised when a version is to be deleted that an alias names, or a queued or running job starts from."""


class ExtraMissing(DescentError):
    """Raised when something is asked for that takes an extra of this package, which is not installed."""


class DatasetTooLarge(DescentError):
    """Raised before a file is read whose table would take more, unpacked, than a dataset may."""


class StorageFull(DescentError):
    """Raised when a dataset does not fit on the disk, into what all may take together, or into what must stay free."""


class TrainingFailed(DescentError):
    """Raised when a training cannot give a model; `code` is for machines."""

    code = "training_failed"


class TrainingDiverged(TrainingFailed):
    """Raised when the loss or its gradient is no longer finite, or has left its start behind; `finding` tells why."""

    code = "diverged"

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.detail)
        self.finding = finding


class DeviceUnavailable(TrainingFailed):
    """Raised when `device` names hardware that the worker does not have."""

    code = "device_unavailable"


class NameTaken(TrainingFailed):
    """Raised when a model cannot be published under its name, which another owner's model has."""

    code = "name_taken"


class DatabaseUnavailable(DescentError):
    """Raised when the database cannot be used: locked for long, damaged, gone.

    `reason` is the driver's word for it, which is for logs and operators only.
    """

    sentence = "the database cannot be used at the moment; the service's log tells why"

    def __init__(self, reason: str) -> None:
        super().__init__(self.sentence)
        self.reason = reason


class DatabaseFull(DatabaseUnavailable):
    """Raised when the database cannot be written, because its disk is full; what is there can be read."""

    sentence = "the disk of the service is full, so nothing was changed: its operator has to make space there"


class LeaseLost(DescentError):
    """Raised when a worker's write is refused, because the job was taken over, cancelled or deleted."""


class UnreadableFile(DescentError):
    """Raised when a file is not there, is not what it must be, or cannot be written."""


class InvalidSettings(DescentError):
    """Raised at start for a setting that is out of bounds or does not exist."""


class NeverStarted(DescentError):
    """Raised when a process of the service has ended several times, and not once was ready to work."""


class ServiceUnreachable(DescentError):
    """Raised in a client when no service answers at its address."""


SHOWN_FAULTS = 5
"""So many faults of a refused request are shown to a person."""


class ServiceRefused(DescentError):
    """Raised in a client when the service answers with an error; `problem` is the answer (RFC 9457)."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(problem["detail"])
        self.problem = problem

    @property
    def detail(self) -> str:
        """The problem's faults, one a line, or its detail when it lists none."""
        faults = self.problem.get("errors") or []
        # What is wrong with a request as a whole has no place.
        places = [f"{place}: " if (place := fault["pointer"].removesuffix("#")) else "" for fault in faults]
        lines = [f"{place}{fault['detail']}" for place, fault in zip(places, faults[:SHOWN_FAULTS], strict=False)]
        more = [f"… and {len(faults) - SHOWN_FAULTS} more"] if len(faults) > SHOWN_FAULTS else []
        return "\n".join(lines + more) or str(self)


class JobFailed(DescentError):
    """Raised in a client when a job that was waited for has failed or was cancelled; `job` is the job."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        error = job["error"]
        super().__init__(f"{job['id']} {job['status']}: {error['detail'] if error else job['stop_reason']}")
        self.job = job


class UnsendableData(DescentError, ValueError):
    """Raised in a client for features or targets that are no table of values that can be sent."""
