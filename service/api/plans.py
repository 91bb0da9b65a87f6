"""What was decided about a request, for requests of its kind: a prediction takes less time than to decide again."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic_core import to_json
from starlette.types import Scope

from service.api.access import Principal
from service.api.credentials import is_from_here
from service.api.headers import Pairs
from service.api.predict import Query
from service.api.predicting import predict
from service.keys import sha256_of
from service.parameters import n_parameters
from service.prediction.line import Line
from service.store.models import TrainedModel
from service.tasks import TRAITS

MOST_PLANS = 4000
"""So many are kept; then all are dropped, for one is made in the time of a few predictions."""
MOST_BYTES = 2000
MOST_PARAMETERS = 1000
"""For longer queries, and larger models, there are none."""

_LENGTH = b"content-length"
_UNPLANNED = frozenset({_LENGTH, b"transfer-encoding", b"if-none-match"})
_NUMBER = re.compile(rb"(?<=[=,])(-?[0-9]{1,39}(?:\.[0-9]{1,39})?(?:[eE]-[0-9]{1,3})?)(?=[&,]|\Z)")
"""A number as most are written, below `service.prediction.line.LARGEST`."""

Kind = tuple[object, ...]
"""All that an answer goes by, but the numbers in the query, the first part being all of the query but these."""


@dataclass(frozen=True)
class Answer:
    """What is sent, and to whom."""

    principal: Principal
    status: int
    headers: Pairs
    content: bytes


class Plan:
    """How requests of a kind are answered.

    Args:
        principal: who asks.
        trained: the version that answers.
        places: the place of each feature's number among those of the query.
        headers: of an answer.
    """

    def __init__(self, principal: Principal, trained: TrainedModel, places: Sequence[int], headers: Pairs) -> None:
        self.principal = principal
        self.trained = trained
        self.n_commits = 0
        """How often something had been committed when the decisions were last made."""
        self._places = places
        self._headers = [pair for pair in headers if pair[0] != _LENGTH]
        self._head = to_json({"model": trained.model, "version": trained.version, "predictions": []})[:-2]
        is_linear = len(trained.parameters) == 1 and not TRAITS[trained.task].classifies
        line = Line(trained.parameters[0], trained.ranges) if is_linear else None
        self._line = line if line is not None and line.never_overflows() else None

    def answer(self, numbers: Sequence[bytes]) -> Answer:
        """Predict for the numbers of a query, in its order."""
        sample = [float(numbers[place]) for place in self._places]
        found = None if self._line is None else self._line.outputs(sample)
        if found is None:
            content = predict(self.trained, np.array([sample]))
        else:
            content = b"%b%b]}" % (self._head, to_json(found[0] if len(found) == 1 else found))
        return Answer(self.principal, 200, [*self._headers, (_LENGTH, b"%d" % len(content))], content)


class Plans:
    """The plans of one process, by the kinds of requests that they are for.

    They hold until something is committed: who asks may be refused from then on, or a name mean something else.
    """

    def __init__(self) -> None:
        self._plans: dict[Kind, Plan] = {}

    def find(self, kind: Kind, n_commits: int) -> Plan | None:
        """Give the plan for a kind of requests, if it holds after so many commits."""
        plan = self._plans.get(kind)
        return plan if plan is not None and plan.n_commits == n_commits else None

    def note(self, kind: Kind, n_commits: int, principal: Principal, trained: TrainedModel, headers: Pairs) -> None:
        """Take note of what was decided about a request of a kind after so many commits."""
        plan = self._plans.get(kind)
        if plan is None or plan.trained is not trained or plan.principal != principal:
            places = _places(kind, trained)
            if places is None:
                return
            plan = Plan(principal, trained, places, headers)
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            self._plans[kind] = plan
        plan.n_commits = n_commits


def kind_of(scope: Scope) -> tuple[Kind | None, list[bytes]]:
    """Tell what a request is like, and the numbers of its query; there is no plan for those of the kind None."""
    given = dict(scope["headers"])
    query = scope["query_string"]
    if not _UNPLANNED.isdisjoint(given) or len(given) < len(scope["headers"]) or len(query) > MOST_BYTES:
        return None, []
    parts = _NUMBER.split(query)
    authorization, api_key = given.get(b"authorization"), given.get(b"x-api-key")
    secrets = None
    if authorization is not None or api_key is not None:
        secrets = sha256_of(f"{authorization!r} {api_key!r}")  # kept in place of them
    return (tuple(parts[::2]), secrets, given.get(b"host"), is_from_here(scope)), parts[1::2]


def _places(kind: Kind, trained: TrainedModel) -> list[int] | None:
    """Learn which number of a query is which feature's, by reading their places as if they were the numbers.

    None where the numbers are not just those of the features, or these are made of other values.
    """
    shape = kind[0]
    assert isinstance(shape, tuple)
    n_numbers = len(shape) - 1
    is_small = n_parameters(tuple(layer.weight.shape for layer in trained.parameters)) <= MOST_PARAMETERS
    if trained.schema.encoding is not None or n_numbers != len(trained.schema.feature_names) or not is_small:
        return None
    text = b"".join(part + b"%d" % place for place, part in enumerate(shape[:-1])) + shape[-1]
    places = [int(place) for place in Query(text).sample(trained.schema)[0]]
    return places if sorted(places) == list(range(n_numbers)) else None
