"""POST /train/check: what would be trained, computed before anything is queued."""

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field

from service.api.access import needs
from service.api.dependencies import Response, TheDatabase, TheSettings
from service.api.jobs import JobWarning
from service.api.planning import in_dataset, read
from service.api.problems import describe
from service.api.routes import LateRoute
from service.api.train import TrainRequest, plan_request
from service.hyperparameters import Hyperparameters
from service.parameters import n_parameters
from service.rules import part_sizes
from service.tasks import EngineName, Task
from service.training.advice import rule_of
from service.training.examination import Examination, examine, memory_bytes

router = APIRouter(tags=["train"], route_class=LateRoute)

Rate = Annotated[float | None, Field(examples=[4.2e-5])]


class LearningRateCheck(Response):
    """What the data says of the learning rate."""

    requested: float | Literal["auto"] = Field(description="As given.")
    limit: Rate = Field(
        description="Up to which the descent is known to converge; null when nothing of the kind is known."
    )
    kind: Literal["exact", "guarantee", "estimate", "guidance"] = Field(
        description="What the limit is worth: `exact` for a quadratic objective (beyond it the descent diverges), "
        "`guarantee` for logistic and softmax, `estimate` for perceptrons, `guidance` for mini-batches, other "
        "optimizers than sgd, l1, clipping and schedules."
    )
    suggested: float = Field(
        description="What `auto` takes. For a perceptron with a random start it is measured at another start, drawn "
        "alike, so that the job's may differ a little."
    )
    fastest: Rate = Field(description="With which a quadratic objective is brought down fastest; null for others.")
    scaled_limit: Rate = Field(description="The limit that `scale: standard` would give; null when it is not known.")
    epochs_to_tolerance: int | None = Field(
        description="Epochs at a constant learning rate, that of `hyperparameters`, until the objective has come down "
        "to its lowest point but for a millionth of the way; null when that is not known, or never."
    )
    detail: str = Field(description="Where the numbers come from, for a person.")


class CheckResponse(Response):
    """What would be trained. Nothing is queued."""

    task: Task = Field(description="What would be trained.")
    engine: EngineName = Field(description="How epochs would be had.")
    n_samples: int = Field(description="Samples of the dataset.")
    n_train: int = Field(description="Samples to train on.")
    n_validation: int = Field(description="Samples held out for the validation loss.")
    n_test: int = Field(description="Samples held out for the test metrics.")
    n_features: int = Field(description="Features of a sample.")
    n_targets: int = Field(description="Targets of a sample.")
    n_parameters: int = Field(description="How many numbers would be learned.")
    memory_bytes: int = Field(
        description="What the training would hold in memory, estimated, without what lies in files."
    )
    hyperparameters: Hyperparameters = Field(
        description="All of them, resolved, the learning rate included; only the device is left to the worker."
    )
    learning_rate: LearningRateCheck = Field(description="What the data says of the learning rate.")
    condition_number: float | None = Field(
        description="Largest by smallest curvature of a quadratic objective: the larger, the slower the descent. Null "
        "when it is not known, or without bound."
    )
    warnings: list[JobWarning] = Field(description="What is worth knowing before the training.")


@router.post(
    "/train/check",
    response_description="What would be trained, with warnings.",
    responses=describe(413, 415, 507),
)
@needs("read")
def check_training(body: TrainRequest, database: TheDatabase, settings: TheSettings) -> CheckResponse:
    """Tell what a training would do: its engine, its size, and which learning rate the data allows. Queues nothing."""
    planned = plan_request(database, settings, body)
    dataset = read(database, settings, planned)
    with in_dataset():
        examination = examine(body.task, dataset, planned.plan.hyperparameters, planned.trained)
    plan = examination.plan
    n_train, n_validation, n_test = part_sizes(dataset, plan.hyperparameters)
    return CheckResponse(
        task=plan.task,
        engine=plan.engine,
        n_samples=dataset.n_samples,
        n_train=n_train,
        n_validation=n_validation,
        n_test=n_test,
        n_features=dataset.n_features,
        n_targets=dataset.n_targets,
        n_parameters=n_parameters(plan.layout),
        memory_bytes=memory_bytes(plan, dataset),
        hyperparameters=plan.hyperparameters,
        learning_rate=_learning_rate(body.hyperparameters.learning_rate, examination),
        condition_number=examination.advice.condition_number,
        warnings=[JobWarning.model_validate(warning) for warning in (*planned.about_dataset, *plan.warnings)],
    )


def _learning_rate(requested: float | Literal["auto"], examination: Examination) -> LearningRateCheck:
    advice, settled = examination.advice, examination.plan.hyperparameters
    return LearningRateCheck(
        requested=requested,
        limit=advice.limit,
        kind=advice.kind,
        suggested=advice.suggested,
        fastest=advice.fastest,
        scaled_limit=advice.scaled_limit,
        epochs_to_tolerance=advice.epochs_to_tolerance(float(settled.learning_rate), rule_of(settled)),
        detail=advice.detail,
    )
