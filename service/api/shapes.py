"""The shapes of parameters on the wire: a weight and a bias, or for perceptrons a list of such layers."""

from typing import Any, TypeVar, cast

from fastapi.responses import Response as AnyResponse
from pydantic import Field

from service.api.dependencies import Response

Vector = list[float] | list[list[float]]
Shape = TypeVar("Shape", bound=Response)


class LayerResponse(Response):
    """Weight and bias of one layer, or a gradient by them."""

    weight: Vector = Field(description="A number for each input for one output; rows of them for several.")
    bias: float | list[float] = Field(description="A number for one output; a list for several.")


class ParametersResponse(Response):
    """Parameters, or a gradient by them: `weight` and `bias` of a single layer, or a list of such layers."""

    weight: Vector | None = Field(
        default=None, description="For one layer: n_features numbers for one output; rows of them for several."
    )
    bias: float | list[float] | None = Field(
        default=None, description="For one layer: a number for one output; a list for several."
    )
    parameters: list[LayerResponse] | None = Field(
        default=None, description="For perceptrons, in place of `weight` and `bias`: each layer, the first first."
    )


def shaped(kind: type[Shape], layer: type[Response], content: dict[str, Any], **more: Any) -> Shape:
    """Make an answer of what `service.parameters` gives as JSON.

    Nothing is validated, for the values are floats already, and there may be millions.

    Args:
        kind: of the answer; its fields that are not given stay unset.
        layer: the kind of the entries of `parameters`, if there are such.
        content: `weight` and `bias`, or `parameters`.
        more: other fields of the answer.
    """
    if "parameters" in content:
        content = {"parameters": [layer.model_construct(**one) for one in content["parameters"]]}
    return cast(Shape, kind.model_construct(**content, **more))


def as_json_response(body: Response, **headers: str) -> AnyResponse:
    """Serialise an answer at once, without what is not set; what is beyond the largest number becomes null."""
    return AnyResponse(body.model_dump_json(exclude_unset=True), media_type="application/json", headers=headers)
