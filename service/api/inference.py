"""/v2…: the Open Inference Protocol, which clients of Triton, KServe and MLServer speak, on the same models."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response as AnyResponse
from pydantic import BaseModel, Field

from service import __version__
from service.api.access import needs
from service.api.bodies import WholeBody, request_body, validated
from service.api.dependencies import Reading, Response, TheDatabase
from service.api.dialects import INFERENCE
from service.api.infer_request import HEADER_LENGTH, InferInput, InferOutput, InferRequest, features_of, read
from service.api.infer_response import InferResponse, answer, describe_inputs, describe_outputs, requested
from service.api.inference_examples import INDEXED
from service.api.model_cache import ModelCache
from service.api.observing import ENDING
from service.api.predicting import outcomes
from service.api.problems import describe, problem
from service.api.references import Named, ReferenceInPath
from service.api.routes import LateRoute
from service.api.tensors import Datatype
from service.errors import Fault, InvalidRequest
from service.hyperparameters import FROZEN_VALUES
from service.store import models
from service.store.database import Session
from service.store.models import TrainedModel
from service.store.revision import is_migrated

router = APIRouter(prefix="/v2", tags=["open inference protocol"], route_class=LateRoute)

VersionText = Annotated[str, Path(description="The version's number.", max_length=20, examples=["1"])]
JSON, BINARY = "application/json", "application/octet-stream"
_UNKNOWN = describe(404, dialect=INFERENCE)


class Live(Response):
    """The process lives."""

    live: bool = Field(description="Always true; otherwise the answer is an error.")


class Ready(Response):
    """It is ready to predict."""

    name: str | None = Field(default=None, description="The model, where it was asked for one.")
    ready: bool = Field(description="Always true; otherwise the answer is an error.")


class ServerMetadata(Response):
    """What serves here."""

    name: str = Field(description="Always `descent`.", examples=["descent"])
    version: str = Field(description="Of Descent.", examples=["0.1.0"])
    extensions: list[str] = Field(description="Those of the protocol that are understood.")


class MetadataTensor(Response):
    """A tensor that a model takes or gives."""

    name: str = Field(description="Its name.", examples=["features"])
    datatype: Datatype = Field(description="What its values are.", examples=["FP64"])
    shape: list[int] = Field(description="Its shape; -1 is the number of samples.")
    parameters: dict[str, Any] | None = Field(
        default=None,
        description="`feature_names`, `target_names` or `class_names`: of its columns; `type` and `categories` of one.",
    )


class ModelMetadata(Response):
    """What a model takes and gives."""

    name: str = Field(description="The model's name.", examples=["exam-scores"])
    versions: list[str] = Field(description="All of its versions, oldest first.")
    platform: str = Field(description="Always `descent`.")
    inputs: list[MetadataTensor] = Field(
        description="What a request brings. In place of one tensor of all features there may be one of each."
    )
    outputs: list[MetadataTensor] = Field(description="What comes back.")


class IndexRequest(BaseModel):
    """Which models to list."""

    model_config = FROZEN_VALUES

    ready: bool = Field(default=False, description="Only those that are ready, which all are.", examples=[True])


class IndexedModel(Response):
    """A version of a model in the list of all."""

    name: str = Field(description="The model's name.", examples=["exam-scores"])
    version: str = Field(description="The version.", examples=["1"])
    state: str = Field(description="Always `READY`.")
    reason: str = Field(description="Why it is not ready: always empty.")


SCHEMAS = (InferRequest, InferInput, InferOutput, IndexRequest)
"""Of the bodies that are read here, as the protocol has more in them than JSON, or leaves their media type out."""


async def _pinned(request: Request, database: TheDatabase, name: ReferenceInPath, version: VersionText) -> TrainedModel:
    cache: ModelCache = request.app.state.models
    return await cache.find(database, f"{name}@{version}")


Pinned = Annotated[TrainedModel, Depends(_pinned)]


@router.get("/health/live", response_description="The process lives.")
def live() -> Live:
    """Tell that the process lives."""
    return Live(live=True)


@router.get(
    "/health/ready", response_model=Ready, response_model_exclude_none=True, response_description="Models are served."
)
def ready(request: Request, database: TheDatabase) -> object:
    """Tell whether predictions will be served: the database is there, and the process is not about to end.

    That a worker lives, which trainings need, GET /readyz tells.
    """
    if request.app.state.ending:
        return problem(request, 503, ENDING)
    if not is_migrated(database):
        return problem(request, 503, "the database is not migrated: start the service once with `descent serve`")
    return Ready(ready=True)


@router.get("", response_description="What serves here.")
def server_metadata() -> ServerMetadata:
    """Tell what serves here, and which extensions of the protocol it understands."""
    return ServerMetadata(name="descent", version=__version__, extensions=["binary_tensor_data", "model_repository"])


def _metadata(session: Session, model: TrainedModel) -> ModelMetadata:
    return ModelMetadata(
        name=model.model,
        versions=[str(number) for _, number in models.version_numbers(session, model.model)],
        platform="descent",
        inputs=[MetadataTensor(**head) for head in describe_inputs(model)],
        outputs=[MetadataTensor(**head) for head in describe_outputs(model)],
    )


def _infer(request: Request, content: bytes, model: TrainedModel) -> AnyResponse:
    asked, tensors = read(content, request.headers.get(HEADER_LENGTH))
    wanted = requested(asked, model)
    features = features_of(model.schema, asked.inputs, tensors)
    return answer(asked.id, model, wanted, outcomes(model, features))


_METADATA: dict[str, Any] = {
    "response_model_exclude_none": True,
    "response_description": "What the model takes and gives.",
    "responses": _UNKNOWN,
}
_READY: dict[str, Any] = {"response_description": "The model is ready.", "responses": _UNKNOWN}
_INFER: dict[str, Any] = {
    "response_model": InferResponse,
    "response_description": "What the model says, in JSON; with tensors in bytes behind it, if they were asked for.",
    "responses": {
        200: {"content": {BINARY: {"schema": {"type": "string", "format": "binary"}}}},
        **describe(404, 413, 415, dialect=INFERENCE),
    },
    "openapi_extra": {
        "requestBody": request_body(
            InferRequest,
            f"Tensors in JSON. With the header `{HEADER_LENGTH}` so many bytes of it are JSON, and behind it are the "
            "bytes of the tensors that say `binary_data_size`. Its media type is not looked at.",
            BINARY,
        ),
    },
}


@router.get("/models/{name}", **_METADATA)
def model_metadata(session: Reading, model: Named) -> ModelMetadata:
    """Tell which tensors a model takes and gives."""
    return _metadata(session, model)


@router.get("/models/{name}/versions/{version}", **_METADATA)
def version_metadata(session: Reading, model: Pinned) -> ModelMetadata:
    """Tell which tensors a version of a model takes and gives."""
    return _metadata(session, model)


@router.get("/models/{name}/ready", **_READY)
def model_ready(model: Named) -> Ready:
    """Tell that a model is ready to predict, as all are that there are."""
    return Ready(name=model.model, ready=True)


@router.get("/models/{name}/versions/{version}/ready", **_READY)
def version_ready(model: Pinned) -> Ready:
    """Tell that a version of a model is ready to predict, as all are that there are."""
    return Ready(name=model.model, ready=True)


@router.post("/models/{name}/infer", **_INFER)
@needs("read")
def infer(request: Request, content: WholeBody, model: Named) -> Any:
    """Predict for samples that are given as tensors: one of all features, or one of each."""
    return _infer(request, content, model)


@router.post("/models/{name}/versions/{version}/infer", **_INFER)
@needs("read")
def infer_by_version(request: Request, content: WholeBody, model: Pinned) -> Any:
    """Predict by a certain version of a model for samples that are given as tensors."""
    return _infer(request, content, model)


@router.post(
    "/repository/index",
    response_description="All versions of all models.",
    responses={
        200: {"content": {JSON: {"example": [INDEXED]}}},
        **describe(413, 415, dialect=INFERENCE),
    },
    openapi_extra={"requestBody": {**request_body(IndexRequest, "Which to list; all without it."), "required": False}},
)
@needs("read")
def repository_index(session: Reading, content: WholeBody) -> list[IndexedModel]:
    """List all versions of all models."""
    if content:
        validated(IndexRequest, content)
    return [
        IndexedModel(name=name, version=str(number), state="READY", reason="")
        for name, number in models.version_numbers(session)
    ]


@router.post(
    "/repository/models/{name}/load", response_description="The model is ready, as it was.", responses=_UNKNOWN
)
@needs("read")
def load(model: Named) -> Ready:
    """Load a model: all are loaded when they are needed, so that nothing is left to do."""
    return Ready(name=model.model, ready=True)


@router.post("/repository/models/{name}/unload", response_description="Never.", responses=_UNKNOWN)
@needs("read")
def unload(model: Named) -> Ready:
    """Refuse to unload a model, for what there is is served."""
    detail = f"models are loaded and unloaded as they are used: DELETE /models/{model.model} takes this one away"
    raise InvalidRequest([Fault("", detail)])
