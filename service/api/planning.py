"""What POST /train, /train/check and /jobs/{id}/retry share: a training checked as a whole before it is queued."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.api.bounds import bound_faults, size_faults, within_seconds
from service.data.fitting import is_large
from service.data.outlines import outline_of
from service.dataset import Dataset, Label, Outline, Schema
from service.encoding import ColumnEncoding, Encoding, is_plain
from service.errors import Fault, Finding, InvalidDataset, InvalidHyperparameters, InvalidRequest, NotFound, counted
from service.hyperparameters import Hyperparameters, StartModel
from service.library import KeptTable, encoded, kept_table, while_files_are_there
from service.log import request_at_hand
from service.parameters import Layout, flatten
from service.plan import Plan
from service.selection import Selection
from service.settings import Settings
from service.store import aliases, datasets, jobs, models
from service.store.database import Database, Session
from service.store.jobs import Job
from service.store.models import TrainedModel
from service.store.ownership import owner_of
from service.tasks import TRAITS, Task
from service.training.examination import plan_of

SHOWN_LABELS = 5


@dataclass(frozen=True)
class Planned:
    """A training that may be queued.

    `dataset` is an outline where columns of one that is kept, `kept`, are trained on, as `selection` says: it is not
    read before that. `about_dataset` are findings that go before those of the plan. `requested` are the hyperparameters
    that were given, with the seed that was drawn and the version of the model that is started from; `trained` are that
    model's parameters in original units, a flat vector.
    """

    plan: Plan
    dataset: Dataset | Outline
    requested: dict[str, Any]
    trained: NDArray[np.float64] | None
    about_dataset: tuple[Finding, ...] = ()
    kept: KeptTable | None = None
    selection: Selection | None = None


def plan_stored(
    database: Database,
    settings: Settings,
    task: Task,
    dataset_id: str,
    selection: Selection,
    given: Hyperparameters,
) -> Planned:
    """Check that a training on a stored dataset can be, as far as its outline tells; see `plan_training`.

    Raises:
        NotFound: when there is no such dataset, or it is deleted meanwhile.
        InvalidDataset, InvalidHyperparameters: with every fault; they point into a request's body.
    """
    with while_files_are_there(dataset_id), in_dataset():
        with database.reading() as session:
            kept = kept_table(session, settings.datasets_path, dataset_id)
        outlined = outline_of(kept.table, selection, task)
    outline = outlined.outline
    in_files = kept.folder is not None and is_large(outline.n_samples, outline.n_features)
    try:
        planned = plan_training(database, settings, task, replace(outline, in_files=in_files), given)
    except InvalidDataset as invalid:
        raise invalid.moved(lambda pointer: pointer.replace("/dataset/targets", "/dataset/target")) from None
    return replace(planned, about_dataset=tuple(outlined.warnings), kept=kept, selection=selection)


def read(database: Database, settings: Settings, planned: Planned) -> Dataset:
    """Give the dataset of a planned training: as it is, or read and encoded now.

    Raises:
        InvalidDataset: when it cannot be read, or is deleted meanwhile; faults point into a request's body.
        StorageFull: when there is no space for what is encoded.
    """
    if isinstance(planned.dataset, Dataset):
        return planned.dataset
    kept, selection, plan = planned.kept, planned.selection, planned.plan
    assert kept is not None
    assert selection is not None
    with known_dataset(), while_files_are_there(kept.dataset_id), in_dataset():
        return encoded(database, settings, kept, selection, plan.task, plan.hyperparameters)


@contextmanager
def known_dataset() -> Iterator[None]:
    """Take a dataset that is not there for a fault of a request's body, which names it."""
    try:
        yield
    except NotFound as unknown:
        raise InvalidDataset([Fault("/dataset/id", unknown.detail)]) from None


@contextmanager
def in_dataset() -> Iterator[None]:
    """Let faults of a dataset point into a request's body."""
    try:
        yield
    except InvalidDataset as invalid:
        raise invalid.moved(lambda pointer: f"/dataset{pointer}") from None


def plan_training(
    database: Database,
    settings: Settings,
    task: Task,
    dataset: Dataset | Outline,
    given: Hyperparameters,
) -> Planned:
    """Check that a training can be, that it is within the limits, and that the model it starts from is there and fits.

    Raises:
        InvalidDataset, InvalidHyperparameters: with every fault; they point into a request's body.
        InvalidRequest: when it is beyond the limits of this installation.
    """
    _refuse(bound_faults(dataset, given, settings))
    try:
        trained = None if not isinstance(given.start, StartModel) else _trained(database, given.start.model)
        if trained is not None:
            given = given.model_copy(update={"start": StartModel(model=f"{trained.model}@{trained.version}")})
        with in_dataset():
            plan = plan_of(task, dataset, within_seconds(given, settings))
        if trained is not None:
            _check_start(trained, plan, dataset.schema)
    except InvalidHyperparameters as invalid:
        raise invalid.moved(lambda pointer: f"/hyperparameters{pointer}") from None
    _refuse(size_faults(plan, dataset, settings))
    seeded = given.model_copy(update={"seed": plan.hyperparameters.seed})
    vector = None if trained is None else flatten(trained.parameters).astype(np.float64)
    return Planned(plan, dataset, seeded.model_dump(mode="json", exclude_unset=True), vector)


def _refuse(faults: list[Fault]) -> None:
    if faults:
        raise InvalidRequest(faults)


def enqueue(
    session: Session,
    planned: Planned,
    *,
    dataset_id: str,
    model: str | None,
    metadata: dict[str, str],
    priority: int,
    retry_of: Job | None = None,
) -> Job:
    """Put a planned training into the queue, of the owner whose job it tries anew, if it does.

    Raises:
        NotFound: when the dataset has been deleted meanwhile.
        InvalidRequest: when the name of the model is another owner's.
        InvalidHyperparameters: when the version that it starts from has been.
    """
    plan, selection = planned.plan, planned.selection
    owner = retry_of.owner if retry_of else owner_of(session)
    if planned.kept is not None or retry_of is not None:  # else it came along, and has just been kept
        datasets.hold(session, dataset_id, owner)
    if model is not None:
        aliases.check_name(session, model, owner)
    if isinstance(plan.hyperparameters.start, StartModel):
        with _known_start("/hyperparameters/start/model"):
            aliases.resolve(session, plan.hyperparameters.start.model)
    return jobs.enqueue(
        session,
        model=model,
        task=plan.task,
        dataset_id=dataset_id,
        selection=None if selection is None else selection.model_dump(mode="json"),
        requested=planned.requested,
        resolved=plan.hyperparameters.model_dump(mode="json"),
        layout=plan.layout,
        user_metadata=metadata,
        warnings=[asdict(warning) for warning in (*planned.about_dataset, *plan.warnings)],
        retry_of=retry_of.id if retry_of else None,
        priority=priority,
        request_id=request_at_hand(),
        owner=owner,
    )


def _trained(database: Database, reference: str) -> TrainedModel:
    with _known_start("/start/model"), database.reading() as session:
        return models.load(session, *aliases.resolve(session, reference))


@contextmanager
def _known_start(pointer: str) -> Iterator[None]:
    try:
        yield
    except NotFound as unknown:
        raise InvalidHyperparameters([Fault(pointer, unknown.detail)]) from None


def _check_start(trained: TrainedModel, plan: Plan, schema: Schema) -> None:
    """Refuse a model that a training cannot go on from, by the first thing that sets the two apart."""
    reference = f"{trained.model}@{trained.version}"
    layout: Layout = tuple(layer.weight.shape for layer in trained.parameters)
    names, its_names = schema.feature_names, trained.schema.feature_names
    differing = _differing(trained.schema, schema)
    given, detail = plan.hyperparameters, None
    if trained.task != plan.task:
        detail = f"{reference} is a {trained.task}, and this training is a {plan.task}"
    elif differing is not None:
        its, this = (_described(column) for column in differing)
        detail = f"{reference} takes {its} where this dataset has {this}: choose the same columns, read the same way"
    elif len(its_names) != len(names):
        detail = f"{reference} takes {counted(len(its_names), 'feature')}, and this dataset has {len(names)}"
    elif its_names != names and set(its_names) == set(names):
        detail = f"{reference} takes the features in another order than this dataset has them: put them in its order"
    elif _kinds(trained.schema.classes) != _kinds(schema.classes):
        known, these = _shown(trained.schema.classes), _shown(schema.classes)
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


def _differing(first: Schema, second: Schema) -> tuple[ColumnEncoding | None, ColumnEncoding | None] | None:
    """Give the first columns whose features differ; None where all are alike, or all features are numbers as they are.

    What stands for a missing value, and what becomes of an unseen category, may differ: parameters do not depend on it.
    """
    one, other = _inputs(first), _inputs(second)
    if is_plain(one) and is_plain(other):
        return None
    return next((pair for pair in zip_longest(one, other) if pair[0] != pair[1]), None)


def _inputs(schema: Schema) -> Encoding:
    encoding = schema.encoding or tuple(ColumnEncoding(name, "number") for name in schema.feature_names)
    return tuple(replace(column, fill=None, unseen="refuse") for column in encoding)


def _described(column: ColumnEncoding | None) -> str:
    if column is None:
        return "nothing"
    values: tuple[Label, ...] = column.categories or column.parts
    of_these = f" of {_shown(values)}" if values else ""
    return f"{column.column!r} ({column.kind}{of_these}{', or missing' if column.has_indicator else ''})"


def _kinds(classes: tuple[Label, ...] | None) -> list[tuple[bool, Label]]:
    """Tell true from 1, which Python takes as equal."""
    return [(isinstance(label, bool), label) for label in classes or ()]


def _shown(classes: tuple[Label, ...] | None) -> str:
    given = classes or ()
    return ", ".join(repr(label) for label in given[:SHOWN_LABELS]) + (", …" if len(given) > SHOWN_LABELS else "")


def _sizes(layout: Layout) -> str:
    """Write a layout as what goes in, the hidden units, and what comes out."""
    return " → ".join(str(size) for size in (layout[0][1], *(n_outputs for n_outputs, _ in layout)))
