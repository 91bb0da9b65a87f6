"""POST /models: a model that was trained elsewhere, or whose parameters are simply known."""

from typing import Any

from fastapi import APIRouter
from fastapi import Response as HttpResponse

from service.api.bounds import model_faults
from service.api.dependencies import TheDatabase, TheSettings
from service.api.importing import imported_model
from service.api.models import VersionResponse, version_response
from service.api.portable import PortableModel
from service.api.problems import describe
from service.api.routes import LateRoute
from service.errors import InvalidRequest
from service.store import imports

router = APIRouter(prefix="/models", tags=["models"], route_class=LateRoute)

_HEADERS: dict[str, Any] = {
    "Location": {
        "schema": {"type": "string"},
        "description": "The version.",
        "example": "/models/exam-scores/versions/1",
    }
}


@router.post(
    "",
    status_code=201,
    response_description="The version that it has become.",
    responses={201: {"headers": _HEADERS}, **describe(413, 415, 507)},
)
def import_model(
    response: HttpResponse, database: TheDatabase, settings: TheSettings, body: PortableModel
) -> VersionResponse:
    """Make a version of given parameters, ready to predict: those that GET …/export gave, or your own.

    `{"name": "line", "task": "linear_regression", "parameters": {"weight": [2], "bias": 1}}` is enough for a model of
    one feature, `x`.
    """
    given = imported_model(body)
    faults = model_faults(tuple(layer.weight.shape for layer in given.parameters), settings)
    if faults:
        raise InvalidRequest(faults)
    with database.writing() as session:
        try:
            version = imports.add(session, given)
        except InvalidRequest as taken:
            raise taken.moved(lambda _: "/name") from None
    answer = version_response(version)
    response.headers["Location"] = answer.links.self
    return answer
