"""What this installation takes of a training: the limits that its settings set, lower than those that are built in."""

from service.dataset import Dataset, Outline
from service.errors import Fault
from service.hyperparameters import Hyperparameters
from service.parameters import Layout, n_parameters
from service.plan import Plan
from service.settings import Settings
from service.training.examination import memory_bytes


def within_seconds(given: Hyperparameters, settings: Settings) -> Hyperparameters:
    """Let a training stop when it has lasted as long as one may."""
    most, asked = settings.max_job_seconds, given.stop.max_seconds
    if not most or (asked is not None and asked <= most):
        return given
    return given.model_copy(update={"stop": given.stop.model_copy(update={"max_seconds": most})})


def bound_faults(dataset: Dataset | Outline, given: Hyperparameters, settings: Settings) -> list[Fault]:
    """Find what of a request is beyond the limits before it is planned; pointers are into the request's body."""
    found = [
        _fault("/dataset", "samples", dataset.n_samples, settings.max_samples, "max_samples", "use a part of them"),
        _fault(
            "/dataset/features", "features", dataset.n_features, settings.max_features, "max_features", "choose fewer"
        ),
        _fault("/hyperparameters/epochs", "epochs", given.epochs, settings.max_epochs, "max_epochs", "ask for fewer"),
    ]
    return [fault for fault in found if fault]


def size_faults(plan: Plan, dataset: Dataset | Outline, settings: Settings) -> list[Fault]:
    """Find what a plan comes to beyond the limits: parameters, memory; pointers are into the request's body."""
    memory, size = memory_bytes(plan, dataset), n_parameters(plan.layout)
    place = "/hyperparameters/hidden_layers" if len(plan.layout) > 1 else "/dataset/features"
    ways = "use fewer units" if len(plan.layout) > 1 else "choose fewer features"
    fewer = "use fewer samples, features or parameters"
    found = [
        _fault(place, "parameters", size, settings.max_parameters, "max_parameters", ways),
        _fault("/dataset", "bytes of memory, estimated", memory, settings.max_memory_bytes, "max_memory_bytes", fewer),
    ]
    return [fault for fault in found if fault]


def model_faults(layout: Layout, settings: Settings) -> list[Fault]:
    """Find what of a model that is given is beyond the limits; pointers are into the request's body."""
    at, what = "/parameters", "model"
    sizes = layout[0][1], n_parameters(layout)
    found = [
        _fault(at, "features", sizes[0], settings.max_features, "max_features", "give a smaller model", what),
        _fault(at, "parameters", sizes[1], settings.max_parameters, "max_parameters", "give a smaller model", what),
    ]
    return [fault for fault in found if fault]


def _fault(
    pointer: str, what: str, value: int, limit: int, setting: str, way_out: str, whose: str = "training"
) -> Fault | None:
    if not limit or value <= limit:
        return None
    said = f"the {whose} would take {value} {what}, and {limit} is the limit here"
    return Fault(pointer, f"{said} (setting DESCENT_{setting.upper()}): {way_out}")
