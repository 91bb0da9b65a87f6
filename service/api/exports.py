"""What of a version goes elsewhere: its parameters, all of it as JSON, and as an ONNX file."""

import importlib
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response as AnyResponse
from pydantic import Field
from pydantic_core import to_json

from service.api.dependencies import Reading, Response
from service.api.models import ModelName, VersionNumber
from service.api.portable import PortableModel, as_portable
from service.api.preference import preferred
from service.api.problems import describe
from service.api.routes import LateRoute
from service.api.shapes import LayerResponse, ParametersResponse, as_json_response, shaped
from service.data.labels import label_keys
from service.errors import ExtraMissing
from service.parameters import from_bytes, parameters_as_json, scaled_from_bytes, with_metadata
from service.scaling import Scaling
from service.store import models
from service.store.models import TrainedModel

router = APIRouter(prefix="/models", tags=["models"], route_class=LateRoute)

SAFETENSORS = "application/vnd.safetensors"
ONNX = "application/vnd.onnx"
_FILE = {"schema": {"type": "string", "format": "binary"}}


class ColumnScaling(Response):
    """How a column was brought to scale: (value - mean) / scale."""

    mean: float = Field(description="What is taken away; 0 when it is not centred.")
    scale: float = Field(description="What is then divided by; 1 when it is not.")


class ScalingResponse(Response):
    """The scaling that a training learned from its samples."""

    features: dict[str, ColumnScaling] = Field(description="Of each feature, by its name.")
    targets: dict[str, ColumnScaling] = Field(description="Of each target, by its name.")


class ModelParametersResponse(ParametersResponse):
    """What a version has learned, in original units."""

    model: str = Field(description="The model's name.")
    version: int = Field(description="The version's number.")
    feature_names: list[str] = Field(
        description="What the numbers of the (first) weight belong to, in order: encoded, where there is an encoding."
    )
    scaled: ParametersResponse | None = Field(
        description="The same model in scaled units, those of the descent; null when nothing was scaled."
    )
    scaling: ScalingResponse | None = Field(description="From original to scaled units; null when nothing was scaled.")


@router.get(
    "/{name}/versions/{version}/parameters",
    response_model=ModelParametersResponse,
    response_description="Weight and bias, or those of each layer.",
    responses={
        200: {"content": {SAFETENSORS: _FILE}},
        **describe(404),
    },
)
def get_model_parameters(request: Request, session: Reading, name: ModelName, version: VersionNumber) -> Any:
    """Give what was learned; as a safetensors file when that is what the Accept header asks for.

    The tensors of the file are `weight` and `bias`, or `0.weight`, `0.bias`, `1.weight` … of each layer, in original
    units; those in scaled units, if any, are beside them under the same names after `scaled.`. The entry `model` of its
    metadata is, as JSON, what GET …/export gives without the parameters: both are enough to predict.
    """
    found = models.get_version(session, name, version)
    content = models.parameter_bytes(session, name, version)
    if preferred(request, ("application/json", SAFETENSORS)) == SAFETENSORS:
        trained = models.load(session, name, version)
        told = as_portable(trained, scaled_from_bytes(content), found.user_metadata, with_parameters=False)
        content = with_metadata(content, {"model": to_json(told, inf_nan_mode="null").decode()})
        return AnyResponse(
            content, media_type=SAFETENSORS, headers=_as_file(name, version, "safetensors", Vary="Accept")
        )
    scaled = scaled_from_bytes(content)
    answer = shaped(
        ModelParametersResponse,
        LayerResponse,
        parameters_as_json(from_bytes(content)),
        model=name,
        version=version,
        feature_names=found.dataset_schema["feature_names"],
        scaled=None if scaled is None else shaped(ParametersResponse, LayerResponse, parameters_as_json(scaled)),
        scaling=None if found.scaling is None else _scaling(found.scaling, found.dataset_schema),
    )
    return as_json_response(answer, Vary="Accept")


def _scaling(content: dict[str, Any], schema: dict[str, Any]) -> ScalingResponse:
    scaling = Scaling.from_json(content)
    features = zip(schema["feature_names"], scaling.feature_mean, scaling.feature_scale, strict=True)
    targets = zip(schema["target_names"], scaling.target_mean, scaling.target_scale, strict=True)
    return ScalingResponse(
        features={name: ColumnScaling(mean=mean, scale=scale) for name, mean, scale in features},
        targets={name: ColumnScaling(mean=mean, scale=scale) for name, mean, scale in targets},
    )


@router.get(
    "/{name}/versions/{version}/export",
    response_model=PortableModel,
    response_description="All that predictions take.",
    responses=describe(404),
)
def export_model(session: Reading, name: ModelName, version: VersionNumber) -> Any:
    """Give a version as one JSON document that stands alone; POST /models makes a version of it, in every bit the same.

    A larger body than `DESCENT_MAX_BODY_BYTES` is not taken there: that is some million parameters.
    """
    found = models.get_version(session, name, version)
    scaled = scaled_from_bytes(models.parameter_bytes(session, name, version))
    told = as_portable(models.load(session, name, version), scaled, found.user_metadata)
    content = to_json(told, inf_nan_mode="null")
    return AnyResponse(content, media_type="application/json", headers=_as_file(name, version, "json"))


@router.get(
    "/{name}/versions/{version}/onnx",
    response_class=AnyResponse,
    response_description="The file.",
    responses={200: {"content": {ONNX: _FILE}}, **describe(404, 501)},
)
def export_onnx(session: Reading, name: ModelName, version: VersionNumber) -> AnyResponse:
    """Give a version as an ONNX file, with its encoding, its scaling and its labels inside.

    Inputs are float32 or float64 as the parameters are: `features` of shape (n, n_features), or for a model with an
    encoding a column of shape (n, 1) by its name: numbers, and booleans as 1 and 0, NaN where one is missing;
    categories as text, empty where one is missing; dates as int64, microseconds since 1970 in UTC, NaT where one is
    missing. Outputs are `variable` (n, n_targets) of a regression, `label` (n,) and `probabilities` (n, n_classes) of
    a classifier; labels are int64 when all are whole numbers, else text. The file's metadata tell names, labels and
    encoding.
    """
    trained = models.load(session, name, version)
    return AnyResponse(_onnx_file(trained), media_type=ONNX, headers=_as_file(name, version, "onnx"))


def _onnx_file(trained: TrainedModel) -> bytes:
    try:
        # Now only, for it takes most of a second, and need not be there.
        graph = importlib.import_module("service.prediction.onnx_graph")
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] != "onnx":
            raise
        detail = "ONNX files are written by an extra that is not installed here: pip install 'descent[onnx]'"
        raise ExtraMissing(detail) from None
    keys = label_keys(trained.schema.classes or ())
    content: bytes = graph.onnx_file(
        trained.model,
        trained.version,
        trained.task,
        trained.schema,
        trained.parameters,
        trained.activation,
        keys,
    )
    return content


def _as_file(name: str, version: int, ending: str, **headers: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}-{version}.{ending}"', **headers}
