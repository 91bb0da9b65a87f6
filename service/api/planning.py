"""What POST /train, /train/check and /jobs/{id}/retry share: a training checked as a whole before it is queued."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.dataset import Dataset, Label
from service.errors import Fault, InvalidDataset, InvalidHyperparameters, NotFound
from service.hyperparameters import Hyperparameters, StartModel
from service.parameters import Layout, flatten
from service.plan import Plan
from service.store import jobs, models
from service.store.database import Database, Session
from service.store.jobs import Job
from service.store.models import TrainedModel
from service.tasks import TRAITS, Task
from service.training.examination import plan_of

SHOWN_LABELS = 5


@dataclass(frozen=True)
class Planned:
    """A training that may be queued.

    `requested` are the hyperparameters that were given, with the seed that was drawn and the version of the model that
    is started from; `trained` are that model's parameters in original units, a flat vector.
    """

    plan: Plan
    dataset: Dataset
    requested: dict[str, Any]
    trained: NDArray[np.float64] | None


def plan_training(database: Database, task: Task, dataset: Dataset, given: Hyperparameters) -> Planned:
    """Check that a training can be, and that the model it starts from is there and fits.

    Raises:
        InvalidDataset, InvalidHyperparameters: with every fault; they point into a request's body.
    """
    try:
        trained = None if not isinstance(given.start, StartModel) else _trained(database, given.start.model)
        if trained is not None:
            given = given.model_copy(update={"start": StartModel(model=f"{trained.model}@{trained.version}")})
        plan = plan_of(task, dataset, given)
        if trained is not None:
            _check_start(trained, plan, dataset)
    except InvalidDataset as invalid:
        raise InvalidDataset([Fault(f"/dataset{fault.pointer}", fault.detail) for fault in invalid.faults]) from None
    except InvalidHyperparameters as invalid:
        faults = [Fault(f"/hyperparameters{fault.pointer}", fault.detail) for fault in invalid.faults]
        raise InvalidHyperparameters(faults) from None
    seeded = given.model_copy(update={"seed": plan.hyperparameters.seed})
    vector = None if trained is None else flatten(trained.parameters).astype(np.float64)
    return Planned(plan, dataset, seeded.model_dump(mode="json", exclude_unset=True), vector)


def enqueue(
    session: Session,
    planned: Planned,
    *,
    dataset_id: str,
    model: str | None,
    metadata: dict[str, str],
    retry_of: str | None = None,
) -> Job:
    """Put a planned training at the end of the queue."""
    plan = planned.plan
    return jobs.enqueue(
        session,
        model=model,
        task=plan.task,
        dataset_id=dataset_id,
        requested=planned.requested,
        resolved=plan.hyperparameters.model_dump(mode="json"),
        layout=plan.layout,
        user_metadata=metadata,
        warnings=[asdict(warning) for warning in plan.warnings],
        retry_of=retry_of,
    )


def _trained(database: Database, reference: str) -> TrainedModel:
    try:
        with database.reading() as session:
            return models.load(session, *models.resolve(session, reference))
    except NotFound as unknown:
        raise InvalidHyperparameters([Fault("/start/model", unknown.detail)]) from None


def _check_start(trained: TrainedModel, plan: Plan, dataset: Dataset) -> None:
    """Refuse a model that a training cannot go on from, by the first thing that sets the two apart."""
    reference = f"{trained.model}@{trained.version}"
    layout: Layout = tuple(layer.weight.shape for layer in trained.parameters)
    names, its_names = dataset.schema.feature_names, trained.schema.feature_names
    given, detail = plan.hyperparameters, None
    if trained.task != plan.task:
        detail = f"{reference} is a {trained.task}, and this training is a {plan.task}"
    elif len(its_names) != len(names):
        detail = f"{reference} takes {len(its_names)} features, and this dataset has {len(names)}"
    elif its_names != names and set(its_names) == set(names):
        detail = f"{reference} takes the features in another order than this dataset has them: put them in its order"
    elif _kinds(trained.schema.classes) != _kinds(dataset.schema.classes):
        known, these = _shown(trained.schema.classes), _shown(dataset.schema.classes)
        detail = f"{reference} tells the labels {known} apart, and this dataset has {these}"
    elif layout != plan.layout:
        hidden = [n_units for n_units, _ in layout[:-1]]
        hint = f": give hidden_layers {hidden}" if hidden and hidden != given.hidden_layers else ""
        detail = f"{reference} has the layers {_sizes(layout)}, and this training {_sizes(plan.layout)}{hint}"
    elif TRAITS[plan.task].is_perceptron and trained.activation != given.activation:
        detail = (
            f"{reference} was trained with activation {trained.activation}, and this training has {given.activation}"
        )
    elif not given.fit_intercept and any(layer.bias.any() for layer in trained.parameters):
        detail = f"{reference} has a bias, and this training has none: leave out fit_intercept"
    if detail:
        raise InvalidHyperparameters([Fault("/start/model", detail)])


def _kinds(classes: tuple[Label, ...] | None) -> list[tuple[bool, Label]]:
    """Tell true from 1, which Python takes as equal."""
    return [(isinstance(label, bool), label) for label in classes or ()]


def _shown(classes: tuple[Label, ...] | None) -> str:
    given = classes or ()
    return ", ".join(repr(label) for label in given[:SHOWN_LABELS]) + (", …" if len(given) > SHOWN_LABELS else "")


def _sizes(layout: Layout) -> str:
    """Write a layout as what goes in, the hidden units, and what comes out."""
    return " → ".join(str(size) for size in (layout[0][1], *(n_outputs for n_outputs, _ in layout)))
