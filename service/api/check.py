"""POST /train/check: what would be trained, computed before anything is queued."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from service.api.access import needs
from service.api.dependencies import Response, TheDatabase, TheSettings
from service.api.jobs import JobWarning
from service.api.learning_rate import ConditionNumber, LearningRateCheck, learning_rate_of
from service.api.planning import in_dataset, read
from service.api.problems import describe
from service.api.routes import LateRoute
from service.api.train import TrainRequest, plan_request
from service.hyperparameters import Hyperparameters
from service.parameters import n_parameters
from service.rules import part_sizes
from service.tasks import EngineName, Task
from service.training.examination import examine, memory_bytes
from service.training.spectrum import TOLERANCE

router = APIRouter(tags=["train"], route_class=LateRoute)

Tolerance = Annotated[
    float,
    Query(
        description="The share of the way to the lowest point that may be left, for `epochs_to_tolerance`.", gt=0, lt=1
    ),
]


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
    condition_number: ConditionNumber
    warnings: list[JobWarning] = Field(description="What is worth knowing before the training.")


@router.post(
    "/train/check",
    response_description="What would be trained, with warnings.",
    responses=describe(413, 415, 507),
)
@needs("read")
def check_training(
    body: TrainRequest, database: TheDatabase, settings: TheSettings, tolerance: Tolerance = TOLERANCE
) -> CheckResponse:
    """Tell what a training would do: its engine, its size, and which learning rate the data allows. Queues nothing."""
    planned = plan_request(database, settings, body)
    dataset = read(database, settings, planned)
    with in_dataset():
        examination = examine(body.task, dataset, planned.plan.hyperparameters, planned.trained)
    plan, advice = examination.plan, examination.advice_as_json(tolerance)
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
        learning_rate=learning_rate_of(advice, body.hyperparameters.learning_rate),
        condition_number=advice["condition_number"],
        warnings=[JobWarning.model_validate(warning) for warning in (*planned.about_dataset, *plan.warnings)],
    )
