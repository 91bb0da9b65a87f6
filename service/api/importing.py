"""A model that is given, checked to be one: shapes, names, labels and encoding go together."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from service.api.portable import Dtype, Layers, PortableColumn, PortableModel, PortableRanges, PortableScaled
from service.data.labels import encode_labels
from service.data.names import MOST_COLUMNS, check_names
from service.dataset import Label, Schema, default_names, is_unicode
from service.encoding import ColumnEncoding, Encoding, feature_names
from service.errors import MAX_FAULTS, Fault, InvalidDataset, InvalidRequest, counted
from service.hyperparameters import LayerValues
from service.parameters import Layer, Parameters
from service.ranges import FeatureRanges
from service.rules import as_array
from service.scaling import Scaling
from service.store.imports import ImportedModel
from service.tasks import TRAITS, Task

MOST_HIDDEN_LAYERS = 20
MOST_UNITS = 10_000
_Array = NDArray[np.float64]


def imported_model(given: PortableModel) -> ImportedModel:
    """Check a model that is given, and put it into the form in which it is kept.

    Raises:
        InvalidRequest: with every fault, as far as it can be told; pointers are into the request's body.
    """
    parameters = _parameters(given.task, given.parameters, given.dtype, "/parameters")
    n_features, n_outputs = parameters[0].weight.shape[1], len(parameters[-1].bias)
    classes = _classes(given, n_outputs)
    encoding = None if given.encoding is None else _encoding(given.encoding)
    faults = [*_name_faults(given, encoding, n_features, 1 if classes is not None else n_outputs)]
    if faults:
        raise InvalidRequest(faults)
    names = feature_names(encoding) if encoding is not None else given.feature_names or default_names("x", n_features)
    n_targets = 1 if classes is not None else n_outputs
    schema = Schema(tuple(names), tuple(given.target_names or default_names("y", n_targets)), classes, encoding)
    scaled = scaling = None
    if given.scaled is not None:
        scaling = _scaling(given.scaled, n_features, n_targets)
        scaled = _parameters(given.task, given.scaled.parameters, given.scaled.dtype, "/scaled/parameters")
        if _layout(scaled) != _layout(parameters):
            raise InvalidRequest([Fault("/scaled/parameters", "the scaled parameters must be as many as the others")])
    return ImportedModel(
        given.name,
        given.task,
        schema,
        parameters,
        given.activation,
        scaled,
        scaling,
        None if given.ranges is None else _ranges(given.ranges, schema),
        given.metadata,
    )


def _layout(parameters: Parameters) -> list[tuple[int, ...]]:
    return [layer.weight.shape for layer in parameters]


def _parameters(task: Task, given: Layers, dtype: Dtype, pointer: str) -> Parameters:
    """Bring layers as they are reported into arrays, and see that one takes what the one before gives."""
    alone = isinstance(given, LayerValues)
    layers = [given] if isinstance(given, LayerValues) else given
    if TRAITS[task].is_perceptron and not 2 <= len(layers) <= MOST_HIDDEN_LAYERS + 1:
        detail = f"a perceptron has 1 to {MOST_HIDDEN_LAYERS} hidden layers and one more, and these are {len(layers)}"
        raise InvalidRequest([Fault(pointer, f"{detail} in all: give a list of layers with weight and bias")])
    if not TRAITS[task].is_perceptron and len(layers) > 1:
        raise InvalidRequest(
            [Fault(pointer, f"a {task} has one layer, and these are {len(layers)}: give weight and bias")]
        )
    found, faults = [], list[Fault]()
    for number, values in enumerate(layers):
        layer, wrong = _layer(values, dtype, pointer if alone else f"{pointer}/{number}")
        found.append(layer)
        faults += wrong
    if not faults:
        for number, (before, after) in enumerate(pairwise(found), start=1):
            n_units = len(before.bias)
            if after.weight.shape[1] != n_units:
                taken = counted(after.weight.shape[1], "number")
                detail = f"layer {number} takes {taken}, and the one before gives {n_units}"
                faults.append(Fault(f"{pointer}/{number}/weight", detail))
            if n_units > MOST_UNITS:
                detail = f"a hidden layer has at most {MOST_UNITS} units, and this one {n_units}"
                faults.append(Fault(f"{pointer}/{number - 1}", detail))
    if faults:
        raise InvalidRequest(faults)
    return tuple(found)


def _layer(values: LayerValues, dtype: Dtype, pointer: str) -> tuple[Layer, list[Fault]]:
    weight, bias = as_array(values.weight), np.atleast_1d(as_array(values.bias))
    if weight.ndim < 2:
        weight = weight.reshape(1, -1)
    if weight.ndim > 2 or not weight.size:
        detail = "the weight must be a list of numbers, at least one, or rows of them, all equally long"
        return Layer(weight, bias), [Fault(f"{pointer}/weight", detail)]
    if bias.shape != (len(weight),) and values.bias == 0.0:
        bias = np.zeros(len(weight))
    faults = []
    if bias.shape != (len(weight),):
        counts = f"the bias has {counted(len(bias), 'number')}, and the weight {counted(len(weight), 'row')}"
        detail = f"{counts}: give one for each output"
        faults.append(Fault(f"{pointer}/bias", detail))
    with np.errstate(over="ignore"):
        layer = Layer(weight.astype(dtype), bias.astype(dtype))
    for name, array in (("weight", layer.weight), ("bias", layer.bias)):
        if not np.isfinite(array).all():
            detail = f"a number of the {name} is beyond the largest {dtype}: give dtype float64"
            faults.append(Fault(f"{pointer}/{name}", detail))
    return layer, faults


def _classes(given: PortableModel, n_outputs: int) -> tuple[Label, ...] | None:
    """Check the labels: as many as the outputs tell apart, and all different."""
    if not TRAITS[given.task].classifies:
        if given.classes is not None:
            raise InvalidRequest([Fault("/classes", f"a {given.task} predicts numbers: leave the classes out")])
        return None
    if given.classes is None:
        raise InvalidRequest([Fault("/classes", f"a {given.task} needs the labels that it tells apart")])
    try:
        different, _ = encode_labels(given.classes)
    except InvalidDataset as invalid:
        raise InvalidRequest(invalid.faults).moved(lambda at: at.replace("/targets", "/classes")) from None
    n_classes = len(given.classes)
    if len(different) < n_classes:
        raise InvalidRequest([Fault("/classes", "a label stands twice among the classes: they must differ")])
    expected = 1 if given.task == "logistic_regression" else n_classes
    if n_classes < 2 or (n_classes > 2 and given.task == "logistic_regression"):
        many = "exactly 2" if given.task == "logistic_regression" else "at least 2"
        raise InvalidRequest([Fault("/classes", f"a {given.task} tells {many} labels apart, not {n_classes}")])
    if n_outputs != expected:
        outputs = counted(expected, "output")
        detail = f"a {given.task} of {n_classes} labels has {outputs}, and these parameters have {n_outputs}"
        raise InvalidRequest([Fault("/parameters", detail)])
    return tuple(given.classes)


def _name_faults(given: PortableModel, encoding: Encoding | None, n_features: int, n_targets: int) -> Iterator[Fault]:
    names = given.feature_names
    if encoding is not None:
        encoded = list(feature_names(encoding))
        if names is not None and names != encoded:
            yield Fault("/feature_names", "the encoding gives other feature names: leave them out")
        names = encoded
    if n_features > MOST_COLUMNS and encoding is None:
        yield Fault("/parameters", f"{n_features:,} features: {MOST_COLUMNS:,} is the most")
    where = "/feature_names" if encoding is None else "/encoding"
    yield from _differing(names, n_features, "feature", where)
    yield from _differing(given.target_names, n_targets, "target", "/target_names")


def _differing(names: Sequence[str] | None, expected: int, what: str, pointer: str) -> Iterator[Fault]:
    if names is None:
        return
    if len(names) != expected:
        yield Fault(
            pointer, f"{counted(len(names), f'{what} name')}, and the parameters are of {expected}: give one for each"
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    broken = [name for name in names if not is_unicode(name)]
    for name in twice[:MAX_FAULTS]:
        yield Fault(pointer, f"{name!r} stands twice among the {what} names: names must differ")
    for name in broken[:MAX_FAULTS]:
        yield Fault(pointer, f"the name {name!r} is not valid Unicode")


def _encoding(given: Sequence[PortableColumn]) -> Encoding:
    faults = [
        Fault(f"/encoding/{number}{at}", detail)
        for number, column in enumerate(given)
        for at, detail in _column_faults(column)
    ]
    if not given:
        faults.append(Fault("/encoding", "an encoding has at least one column; leave it out where there is none"))
    try:
        check_names([column.column for column in given], "the encoding")  # as those of a file, which they are for
    except InvalidDataset as invalid:
        faults += invalid.moved(lambda pointer: pointer.replace("/columns", "/encoding") or "/encoding").faults
    if faults:
        raise InvalidRequest(faults)
    return tuple(
        ColumnEncoding(
            one.column,
            one.type,
            tuple(one.categories),
            tuple(one.parts),
            float(one.fill) if isinstance(one.fill, int | float) else one.fill,
            one.has_indicator,
            one.unseen,
        )
        for one in given
    )


def _column_faults(column: PortableColumn) -> Iterator[tuple[str, str]]:
    """Give each fault of a column with the place inside of it."""
    for name, kind in (("categories", "category"), ("parts", "date")):
        values: Sequence[str] = getattr(column, name)
        if values and column.type != kind:
            yield f"/{name}", f"a {column.type} has no {name}: leave them out"
        if len(set(values)) < len(values):
            yield f"/{name}", f"the {name} of column {column.column!r} must differ"
    if not all(map(is_unicode, (column.column, *column.categories))):
        yield "", "a text of this column is not valid Unicode"
    if column.type == "date" and not column.parts:
        yield "/parts", f"the date {column.column!r} needs the parts that are features"
    if column.fill is not None and not _can_fill(column):
        fitting = {
            "number": "a number",
            "boolean": "1 or 0",
            "category": "one of the categories",
            "date": "a date or date-time without a zone, as 2026-01-31",
        }
        yield "/fill", f"what stands for a missing {column.type} must be {fitting[column.type]}, not {column.fill!r}"


def _can_fill(column: PortableColumn) -> bool:
    fill = column.fill
    if column.type == "category":
        return fill in column.categories
    if column.type != "date":
        return isinstance(fill, int | float) and (column.type == "number" or fill in (0, 1))
    try:
        return datetime.fromisoformat(str(fill)).tzinfo is None
    except ValueError:
        return False


def _scaling(given: PortableScaled, n_features: int, n_targets: int) -> Scaling:
    sizes = {"feature": n_features, "target": n_targets}
    found = {
        f"{what}_{name}": _numbers(getattr(given, f"{what}_{name}"), size, f"/scaled/{what}_{name}")
        for what, size in sizes.items()
        for name in ("mean", "scale")
    }
    faults = [
        Fault(f"/scaled/{what}_scale", f"what a {what} is divided by must be above 0")
        for what in sizes
        if not (found[f"{what}_scale"] > 0).all()
    ]
    if faults:
        raise InvalidRequest(faults)
    return Scaling(**found)


def _ranges(given: PortableRanges, schema: Schema) -> FeatureRanges:
    n_features = len(schema.feature_names)
    lowest, highest, mean = (
        _numbers(getattr(given, name), n_features, f"/ranges/{name}") for name in ("lowest", "highest", "mean")
    )
    categories = {column.column for column in schema.encoding or () if column.kind == "category"}
    faults = [
        Fault(f"/ranges/known/{number}", f"{name!r} is no column of categories")
        for number, name in enumerate(given.known)
        if name not in categories
    ]
    wrong = np.flatnonzero(lowest > highest)[:MAX_FAULTS]
    faults += [Fault(f"/ranges/lowest/{at}", f"{lowest[at]} is above the highest, {highest[at]}") for at in wrong]
    if faults:
        raise InvalidRequest(faults)
    return FeatureRanges(lowest, highest, mean, frozenset(given.known))


def _numbers(given: Sequence[float], expected: int, pointer: str) -> _Array:
    if len(given) != expected:
        raise InvalidRequest(
            [Fault(pointer, f"{counted(len(given), 'number')}, and {expected} are needed: give one for each")]
        )
    return np.array(given, dtype=np.float64)
