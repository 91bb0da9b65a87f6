"""What hyperparameters must not ask for together, or of this task, or of this dataset: one function a subject."""

import numpy as np
from numpy.typing import NDArray

from service.dataset import Dataset, Outline, PartSizes
from service.errors import Fault, InvalidHyperparameters, counted
from service.hyperparameters import Hyperparameters, LayerValues, StartLayers
from service.parameters import Layer, Layout, Parameters, n_parameters, names, slices
from service.schedules import floor_of, schedule_of
from service.tasks import TRAITS, Task

StartValues = LayerValues | StartLayers | list[LayerValues]
"""Explicit parameters to start from."""

PLAIN = Hyperparameters()


def part_sizes(dataset: Dataset | Outline, hyperparameters: Hyperparameters) -> PartSizes:
    """Give how many samples are for training, validation and test; a part that is asked for has at least one."""
    if dataset.part_sizes is not None:
        return dataset.part_sizes
    n_samples = dataset.n_samples
    n_validation, n_test = (
        max(1, round(fraction * n_samples)) if fraction else 0
        for fraction in (hyperparameters.validation_fraction, hyperparameters.test_fraction)
    )
    return n_samples - n_validation - n_test, n_validation, n_test


def is_full_batch(n_train: int, hyperparameters: Hyperparameters) -> bool:
    """Tell whether every step takes all of the training samples."""
    return (hyperparameters.batch_size or n_train) >= n_train


def faults(task: Task, dataset: Dataset | Outline, hyperparameters: Hyperparameters, layout: Layout) -> list[Fault]:
    """List everything that does not go together."""
    return [
        *_of_task(task, hyperparameters),
        *_of_optimizer(hyperparameters),
        *_of_schedule(hyperparameters),
        *_of_batches(dataset, hyperparameters),
        *_of_parts(dataset, hyperparameters),
        *_of_frozen(hyperparameters, layout),
        *_of_intercept(hyperparameters),
        *_of_start(task, hyperparameters, layout),
    ]


def _of_task(task: Task, given: Hyperparameters) -> list[Fault]:
    traits = TRAITS[task]
    found = []
    if given.loss not in (None, *traits.losses):
        allowed = ", ".join(traits.losses)
        found.append(Fault("/loss", f"{task} cannot minimise {given.loss}: it has {allowed}"))
    for name, reason in lacking(task).items():
        if getattr(given, name) != getattr(PLAIN, name):
            found.append(Fault(f"/{name}", reason))
    if given.engine not in ("auto", *traits.engines):
        allowed = ", ".join(traits.engines)
        found.append(Fault("/engine", f"{given.engine} cannot train {task}: use {allowed} or auto"))
    return found


def lacking(task: Task) -> dict[str, str]:
    """Tell the hyperparameters that a task has not, which have to stay at their defaults, and why it has not."""
    traits = TRAITS[task]
    found: dict[str, str] = {}
    if not traits.is_perceptron:
        said = f"{task} has no hidden layers: leave it out, or train an mlp_regressor or mlp_classifier"
        found |= dict.fromkeys(("hidden_layers", "activation", "dropout"), said)
    if traits.classifies:
        found["scale_targets"] = f"the targets of {task} are labels, which have no scale: use none"
    else:
        found["class_weight"] = f"the targets of {task} are numbers, not classes: use null"
    return found


def _of_optimizer(given: Hyperparameters) -> list[Fault]:
    found = []
    if given.optimizer != "sgd":
        for name in ("momentum", "nesterov", "dampening"):
            if getattr(given, name):
                detail = f"{name} belongs to sgd, and the optimizer is {given.optimizer}: leave it out or use sgd"
                found.append(Fault(f"/{name}", detail))
    else:
        if given.nesterov and not given.momentum:
            found.append(Fault("/nesterov", "nesterov looks ahead along the velocity: give a momentum above 0"))
        if given.dampening and not given.momentum:
            found.append(Fault("/dampening", "dampening acts on the velocity: give a momentum above 0"))
        if given.nesterov and given.dampening:
            found.append(Fault("/dampening", "nesterov and dampening do not go together, as in torch: drop one"))
    if given.optimizer == "lbfgs":
        if given.clip_gradient_norm is not None:
            detail = "the line search of lbfgs needs the gradient as it is: leave out clip_gradient_norm"
            found.append(Fault("/clip_gradient_norm", detail))
        if given.dropout:
            found.append(Fault("/dropout", "the line search of lbfgs needs a loss that stays: use dropout 0, or adam"))
    if given.stop.min_delta and given.stop.patience is None:
        found.append(Fault("/stop/min_delta", "min_delta says what counts for patience: give a patience too"))
    return found


def _of_schedule(given: Hyperparameters) -> list[Fault]:
    name, floor = floor_of(schedule_of(given.schedule))
    if given.learning_rate == "auto" or floor <= given.learning_rate:
        return []
    detail = (
        f"{name} {floor:g} is above the learning rate {given.learning_rate:g}, from which the schedule falls: "
        f"{given.learning_rate:g} is the limit; use less, or a larger learning_rate"
    )
    return [Fault(f"/schedule/{name}", detail)]


def _of_batches(dataset: Dataset | Outline, given: Hyperparameters) -> list[Fault]:
    n_train, *_ = part_sizes(dataset, given)
    if given.optimizer == "lbfgs" and not is_full_batch(n_train, given):
        return [Fault("/batch_size", "lbfgs takes the full batch, for its line search needs a loss that stays: null")]
    return []


def _of_parts(dataset: Dataset | Outline, given: Hyperparameters) -> list[Fault]:
    n_train, n_validation, n_test = part_sizes(dataset, given)
    if dataset.part_sizes is not None:
        said = "the dataset has a split column: leave it out"
        asked = [name for name in ("validation_fraction", "test_fraction") if getattr(given, name)]
        return [Fault(f"/{name}", said) for name in asked]
    if n_train >= 1:
        return []
    field = "/validation_fraction" if given.validation_fraction else "/test_fraction"
    held_out = f"{n_validation} for validation and {n_test} for test"
    detail = f"of {dataset.n_samples} samples {held_out} leave none to train on: hold out less"
    return [Fault(field, detail)]


def _of_frozen(given: Hyperparameters, layout: Layout) -> list[Fault]:
    every = [name for pair in names(layout) for name in pair]
    unknown = [name for name in given.frozen if name not in (*every, "weight", "bias")]
    if unknown:
        said = f"there is no parameter {unknown[0]!r} to freeze: there are {', '.join(every)}"
        return [Fault("/frozen", said if len(layout) == 1 else f"{said}, and weight and bias for those of all layers")]
    learning = [name for name in every if not is_frozen(given, name)]
    if not learning:
        fixed = "frozen" if given.fit_intercept else "frozen, or without an intercept"
        return [Fault("/frozen", f"weight and bias are {fixed}, so there is nothing to train: free one")]
    return []


def is_frozen(given: Hyperparameters, name: str) -> bool:
    """Tell whether a parameter, `weight` or `0.bias`, stays as it starts."""
    kind = name.rpartition(".")[2]
    return name in given.frozen or kind in given.frozen or (kind == "bias" and not given.fit_intercept)


def frozen_mask(hyperparameters: Hyperparameters, layout: Layout) -> NDArray[np.bool_] | None:
    """Mark the entries of the flat vector that never learn, or give None when all of them do."""
    if not hyperparameters.frozen and hyperparameters.fit_intercept:
        return None
    mask = np.zeros(n_parameters(layout), dtype=bool)
    for pair, parts in zip(names(layout), slices(layout), strict=True):
        for name, part in zip(pair, parts, strict=True):
            mask[part] = is_frozen(hyperparameters, name)
    return mask


def _of_intercept(given: Hyperparameters) -> list[Fault]:
    if given.fit_intercept:
        return []
    detail = (
        "centred numbers have a bias in original units, and fit_intercept is false: use standard, which only divides"
    )
    return [Fault(f"/{name}", detail) for name in ("scale", "scale_targets") if getattr(given, name) == "center"]


def _of_start(task: Task, given: Hyperparameters, layout: Layout) -> tuple[Fault, ...] | list[Fault]:
    start = given.start
    if isinstance(start, str) and start not in TRAITS[task].starts:
        detail = "from zeros all units of a hidden layer stay alike, so it cannot learn: use torch or uniform"
        return [Fault("/start", detail)]
    if not isinstance(start, LayerValues | StartLayers | list):
        return []
    try:
        layers = start_layers(start, layout)
    except InvalidHyperparameters as invalid:
        return invalid.faults
    if given.fit_intercept:
        return []
    detail = "the start has a bias, and fit_intercept is false: leave one of them out"
    with_places = zip(layers, _placed_layers(start), strict=True)
    return [Fault(f"{pointer}/bias", detail) for layer, (pointer, _) in with_places if layer.bias.any()]


def start_layers(start: StartValues, layout: Layout) -> Parameters:
    """Bring explicit start values into the layout's shapes, as float64.

    Raises:
        InvalidHyperparameters: when the shapes differ.
    """
    given = _placed_layers(start)
    if len(given) != len(layout):
        detail = (
            f"the start has {counted(len(given), 'layer')} and the model {len(layout)}: give weight and bias of each"
        )
        raise InvalidHyperparameters([Fault("/start", detail)])
    found, layers = [], []
    for (pointer, values), shape in zip(given, layout, strict=True):
        layer, wrong = _start_layer(values, pointer, shape)
        layers.append(layer)
        found += wrong
    if found:
        raise InvalidHyperparameters(found)
    return tuple(layers)


def _placed_layers(start: StartValues) -> list[tuple[str, LayerValues]]:
    """Give each layer of a start with the pointer to it."""
    if isinstance(start, LayerValues):
        return [("/start", start)]
    layers, place = (start, "/start") if isinstance(start, list) else (start.parameters, "/start/parameters")
    return [(f"{place}/{number}", layer) for number, layer in enumerate(layers)]


def _start_layer(values: LayerValues, pointer: str, shape: tuple[int, int]) -> tuple[Layer, list[Fault]]:
    n_outputs, n_inputs = shape
    found = []
    weight = as_array(values.weight)
    if n_outputs == 1 and weight.ndim == 1:
        weight = weight.reshape(1, -1)
    if weight.ndim == 0 and n_inputs == n_outputs == 1:
        weight = weight.reshape(1, 1)
    if weight.shape != shape:
        numbers = counted(n_inputs, "number")
        expected = numbers if n_outputs == 1 else f"{n_outputs} rows of {numbers}"
        found.append(Fault(f"{pointer}/weight", f"the start's weight must have {expected}, one for each feature"))
    bias = np.atleast_1d(as_array(values.bias))
    if bias.shape != (n_outputs,) and values.bias == 0.0:
        bias = np.zeros(n_outputs)
    if bias.shape != (n_outputs,):
        detail = f"the start's bias must have {counted(n_outputs, 'number')}, one for each output"
        found.append(Fault(f"{pointer}/bias", detail))
    return Layer(weight, bias), found


def as_array(values: float | list[float] | list[list[float]]) -> NDArray[np.float64]:
    """Give values of parameters as an array; with three axes, which none has, where rows are not equally long."""
    try:
        return np.array(values, dtype=np.float64)
    except ValueError:  # rows of unequal length; no layout has this shape
        return np.empty((0, 0, 0))
