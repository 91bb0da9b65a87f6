"""GET /jobs/{id}/history and /jobs/{id}/parameters: every epoch of a training, also while it runs."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import PlainTextResponse
from fastapi.responses import Response as AnyResponse
from pydantic import Field

from service.api.dependencies import Reading, Response
from service.api.jobs import JobId
from service.api.problems import describe
from service.parameters import as_json, unflatten
from service.plan import CHEAP_EPOCHS
from service.store import history, jobs

router = APIRouter(prefix="/jobs/{job_id}", tags=["jobs"])

LARGEST_EPOCH = 2**53 - 1
DEFAULT_POINTS = CHEAP_EPOCHS + 1
"""All that `record_every: auto` records: the start, and so many updates."""
LARGEST_ANSWER = 1_000_000
FirstEpoch = Annotated[int, Query(alias="from", ge=0, le=LARGEST_EPOCH, description="First epoch to give.")]
LastEpoch = Annotated[int | None, Query(alias="to", ge=0, le=LARGEST_EPOCH, description="Last epoch to give.")]
WhichEpoch = Annotated[
    int | None, Query(ge=0, le=LARGEST_EPOCH, description="Which epoch; the last one recorded when left out.")
]
MaxPoints = Annotated[
    int, Query(ge=2, le=LARGEST_ANSWER, description="Thin evenly to so many points, first and last included.")
]
Vector = list[float] | list[list[float]]


class HistoryResponse(Response):
    """Recorded epochs, a column each."""

    epoch: list[int] = Field(description="Updates of the full batch, or passes over the data; 0 is the start.")
    train_loss: list[float] = Field(description="The loss at the parameters after that many updates.")
    validation_loss: list[float] | None = Field(description="Null: no samples were held out.")
    gradient_norm: list[float] = Field(description="Euclidean norm of the gradient at those parameters.")
    learning_rate: list[float] = Field(description="The learning rate in force.")


class GradientResponse(Response):
    """The gradient of the objective, in the shapes of the parameters."""

    weight: Vector = Field(description="By the weight.")
    bias: float | list[float] = Field(description="By the bias.")


class EpochParametersResponse(Response):
    """Parameters and gradient at one epoch."""

    epoch: int = Field(description="Updates of the full batch, or passes over the data, so far.")
    weight: Vector = Field(description="n_features numbers for one output; rows of them for several.")
    bias: float | list[float] = Field(description="A number for one output; a list for several.")
    gradient: GradientResponse = Field(description="Of the objective (loss and penalties) there; 0 where frozen.")


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
    columns = {
        "epoch": found.epoch.tolist(),
        "train_loss": found.train_loss.tolist(),
        "gradient_norm": found.gradient_norm.tolist(),
        "learning_rate": found.learning_rate.tolist(),
    }
    if _prefers_csv(request):
        return _csv(columns)
    # Serialised at once: the values are floats already, and validating ten thousand of them would take longer.
    body = HistoryResponse.model_construct(**columns, validation_loss=None)
    return AnyResponse(body.model_dump_json(), media_type="application/json", headers={"Vary": "Accept"})


@router.get("/parameters", response_description="Weight, bias and gradient.", responses=describe(404))
def get_parameters(
    session: Reading,
    job_id: JobId,
    epoch: WhichEpoch = None,
) -> EpochParametersResponse:
    """Give parameters and gradient at an epoch."""
    job = jobs.get(session, job_id)
    found = history.read_epoch(session, job, epoch)
    (layer,) = unflatten(found.parameters, job.layout)
    (gradient,) = unflatten(found.gradient, job.layout)
    return EpochParametersResponse(epoch=found.epoch, **as_json(layer), gradient=GradientResponse(**as_json(gradient)))


def _prefers_csv(request: Request) -> bool:
    """Weigh what the Accept header says of CSV and of JSON; the first of equals wins (RFC 9110, 12.5.1)."""
    best, weight = "application/json", 0.0
    for part in request.headers.get("accept", "").lower().split(","):
        kind, *parameters = (piece.strip() for piece in part.split(";"))
        quality = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        if re.fullmatch(r"[01](\.[0-9]*)?", quality) and float(quality) > weight:
            best, weight = kind, float(quality)
    return best == "text/csv"


def _csv(columns: dict[str, list[Any]]) -> PlainTextResponse:
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(",".join(map(repr, row)) for row in rows)]
    return PlainTextResponse("\n".join(lines) + "\n", media_type="text/csv", headers={"Vary": "Accept"})
