"""GET /jobs/{id}/history, …/parameters and …/trajectory: every epoch of a training, also while it runs."""

from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import PlainTextResponse
from numpy.typing import NDArray
from pydantic import Field

from service.api.dependencies import Reading, Response, TheDatabase, TheSettings
from service.api.jobs import JobId
from service.api.preference import preferred
from service.api.problems import describe
from service.api.routes import LateRoute
from service.api.shapes import LayerResponse, ParametersResponse, as_json_response, shaped
from service.dataset import Dataset
from service.errors import EpochNotRecorded, NotFound
from service.hyperparameters import Hyperparameters
from service.library import encoded, kept_table, while_files_are_there
from service.parameters import Layout, n_parameters, parameters_as_json, trajectory_as_json, unflatten
from service.plan import CHEAP_EPOCHS
from service.scaling import Scaling
from service.selection import Selection
from service.settings import Settings
from service.store import datasets, history, jobs
from service.store.database import Database
from service.store.jobs import Job
from service.training.path import evaluate_epoch

router = APIRouter(prefix="/jobs/{job_id}", tags=["jobs"], route_class=LateRoute)

LARGEST_EPOCH = 2**53 - 1
DEFAULT_POINTS = CHEAP_EPOCHS + 1
"""All that `record_every: auto` records: the start, and so many updates."""
LARGEST_ANSWER = 1_000_000
"""So many points of the history at the most; so many numbers of a trajectory."""
FirstEpoch = Annotated[int, Query(alias="from", ge=0, le=LARGEST_EPOCH, description="First epoch to give.")]
LastEpoch = Annotated[int | None, Query(alias="to", ge=0, le=LARGEST_EPOCH, description="Last epoch to give.")]
WhichEpoch = Annotated[
    int | None, Query(ge=0, le=LARGEST_EPOCH, description="Which epoch; the last one recorded when left out.")
]
MaxPoints = Annotated[
    int, Query(ge=2, le=LARGEST_ANSWER, description="Thin evenly to so many points, first and last included.")
]
TrajectoryPoints = Annotated[
    int,
    Query(
        ge=2,
        le=LARGEST_ANSWER,
        description="Thin evenly to so many points, first and last included, or to 1,000,000 numbers in all.",
    ),
]
Point = TypeVar("Point", bound="PointResponse")


class HistoryResponse(Response):
    """Recorded epochs, a column each. Losses are means per sample, of scaled targets where the targets are scaled."""

    epoch: list[int] = Field(description="Updates of the full batch, or passes over the data; 0 is the start.")
    train_loss: list[float] = Field(description="The loss at the parameters after that many updates.")
    validation_loss: list[float] | None = Field(
        description="The same on the samples held out for validation; null when there are none."
    )
    gradient_norm: list[float] = Field(
        description="Euclidean norm of the objective's gradient at those parameters, in units of the descent."
    )
    learning_rate: list[float] = Field(description="The learning rate of the step from there to the next epoch.")


class PointResponse(ParametersResponse):
    """Parameters, and the gradient there."""

    gradient: ParametersResponse = Field(
        description="Of the objective (loss and penalties), by the parameters beside it; 0 where frozen."
    )


class EpochParametersResponse(PointResponse):
    """Parameters and gradient at one epoch, in original units."""

    epoch: int = Field(description="Updates of the full batch, or passes over the data, so far.")
    recorded: bool = Field(
        description="Whether the training recorded it. Else it was evaluated for this answer, as the exact engine can "
        "any epoch, and may differ from what that would have recorded by rounding."
    )
    scaled: PointResponse | None = Field(
        description="The same in scaled units, those of the descent; null when nothing was scaled."
    )


class LayerTrajectory(Response):
    """Weight and bias of one layer at every epoch."""

    weight: list[list[float]] | list[list[list[float]]] = Field(description="The weight at each epoch.")
    bias: list[float] | list[list[float]] = Field(description="The bias at each epoch.")


class TrajectoryResponse(Response):
    """The parameters at every recorded epoch, a column each, in original units."""

    epoch: list[int] = Field(description="Updates of the full batch, or passes over the data; 0 is the start.")
    weight: list[list[float]] | list[list[list[float]]] | None = Field(
        default=None, description="For one layer: the weight at each epoch."
    )
    bias: list[float] | list[list[float]] | None = Field(
        default=None, description="For one layer: the bias at each epoch."
    )
    parameters: list[LayerTrajectory] | None = Field(
        default=None, description="For perceptrons, in place of `weight` and `bias`: such columns of each layer."
    )


@router.get(
    "/history",
    response_model=HistoryResponse,
    response_description="The recorded epochs.",
    responses={
        200: {"content": {"text/csv": {"example": "epoch,train_loss,gradient_norm,learning_rate\n0,18.7,20.3,0.01\n"}}},
        **describe(404),
    },
)
def get_history(
    request: Request,
    session: Reading,
    job_id: JobId,
    first: FirstEpoch = 0,
    last: LastEpoch = None,
    max_points: MaxPoints = DEFAULT_POINTS,
) -> Any:
    """Give the loss at every recorded epoch; as CSV when the Accept header prefers text/csv."""
    found = history.read(session, jobs.get(session, job_id), first=first, last=last, max_points=max_points)
    columns: dict[str, Any] = {
        name: None if column is None else column.tolist() for name, column in vars(found).items()
    }
    if preferred(request, ("application/json", "text/csv")) == "text/csv":
        return _csv({name: column for name, column in columns.items() if column is not None})
    # The values are floats already, and validating ten thousand of them would take longer than all else.
    return as_json_response(HistoryResponse.model_construct(**columns), Vary="Accept")


@router.get(
    "/parameters",
    response_model=EpochParametersResponse,
    response_description="Weight, bias and gradient.",
    responses=describe(404, 507),
)
def get_parameters(database: TheDatabase, settings: TheSettings, job_id: JobId, epoch: WhichEpoch = None) -> Any:
    """Give parameters and gradient at an epoch, in original units, and in scaled ones where the training had such.

    Of the exact engine it may be any epoch that the training has gone through: one that was not recorded is evaluated,
    which takes a pass over the data.
    """
    with database.reading() as session:
        job = jobs.get(session, job_id)
        try:
            found, is_recorded = history.read_epoch(session, job, epoch), True
        except EpochNotRecorded:
            if job.hyperparameters.get("engine") != "exact":  # jobs of the first version have no such key
                raise
            found, is_recorded = history.read_epoch(session, job, 0), False
    if epoch is not None and not is_recorded:
        found = _evaluated(database, settings, job, found.parameters, epoch)
    parameters, gradient, scaled = found.parameters, found.gradient, None
    if job.scaling is not None:
        scaling = Scaling.from_json(job.scaling)
        scaled = _point(PointResponse, job.layout, parameters, gradient)
        parameters = scaling.to_original(parameters, job.layout)
        gradient = scaling.gradient_to_original(gradient, job.layout)
    about = {"epoch": found.epoch, "recorded": is_recorded, "scaled": scaled}
    answer = _point(EpochParametersResponse, job.layout, parameters, gradient, **about)
    return as_json_response(answer)


@router.get(
    "/trajectory",
    response_model=TrajectoryResponse,
    response_description="The parameters at every recorded epoch.",
    responses=describe(404),
)
def get_trajectory(
    session: Reading,
    job_id: JobId,
    first: FirstEpoch = 0,
    last: LastEpoch = None,
    max_points: TrajectoryPoints = LARGEST_ANSWER,
) -> Any:
    """Give the way that the parameters took, in original units; also while the training runs.

    The answer holds 1,000,000 numbers at most (though always the first and the last epoch), and is thinned evenly to
    that if need be.
    """
    job = jobs.get(session, job_id)
    n_points = min(max_points, max(2, LARGEST_ANSWER // (1 + n_parameters(job.layout))))
    found = history.read_trajectory(session, job, first=first, last=last, max_points=n_points)
    vectors = found.parameters
    if job.scaling is not None:
        vectors = Scaling.from_json(job.scaling).to_original(vectors, job.layout)
    content = trajectory_as_json(vectors, job.layout)
    return as_json_response(shaped(TrajectoryResponse, LayerTrajectory, content, epoch=found.epoch.tolist()))


def _point(kind: type[Point], layout: Layout, parameters: NDArray[Any], gradient: NDArray[Any], **more: Any) -> Point:
    """Make an answer of flat vectors."""
    by_parameters = shaped(ParametersResponse, LayerResponse, parameters_as_json(unflatten(gradient, layout)))
    content = parameters_as_json(unflatten(parameters, layout))
    return shaped(kind, LayerResponse, content, gradient=by_parameters, **more)


def _evaluated(
    database: Database, settings: Settings, job: Job, start: NDArray[Any], epoch: int
) -> history.RecordedEpoch:
    """Evaluate an epoch of the exact engine that was not recorded, on what the job was trained on.

    Raises:
        NotFound: when that has been deleted.
        StorageFull: when there is no space for what has to be encoded anew.
    """
    given = Hyperparameters.model_validate(job.hyperparameters)
    try:
        dataset = _dataset(database, settings, job, given)
    except NotFound as gone:
        raise NotFound(f"epoch {epoch} was not recorded, and cannot be evaluated any more: {gone.detail}") from None
    return history.RecordedEpoch(epoch, *evaluate_epoch(job.task, dataset, given, job.layout, start, epoch))


def _dataset(database: Database, settings: Settings, job: Job, given: Hyperparameters) -> Dataset:
    """Read what a job was trained on."""
    if job.selection is None:
        with database.reading_once() as session:
            return datasets.load(session, job.dataset_id)
    with while_files_are_there(job.dataset_id):
        with database.reading() as session:
            kept = kept_table(session, settings.datasets_path, job.dataset_id)
        return encoded(database, settings, kept, Selection.model_validate(job.selection), job.task, given)


def _csv(columns: dict[str, list[Any]]) -> PlainTextResponse:
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(",".join(map(repr, row)) for row in rows)]
    return PlainTextResponse("\n".join(lines) + "\n", media_type="text/csv", headers={"Vary": "Accept"})
