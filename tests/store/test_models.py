from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray
from sqlalchemy import delete

from service.dataset import Label, Schema
from service.errors import NotFound
from service.parameters import Layer, Parameters
from service.store import models
from service.store.database import Database, Session
from service.store.tables import VersionRow
from tests.store.queueing import claim, enqueue

RESULT = {"train_loss": 0.25, "metrics": {"train": {"r2": None}}}
ODD_BITS = np.array([[-0.0, 5e-324, 0.1, np.nextafter(1, 2), 1.7e308]])


def layer(weight: NDArray[Any], bias: NDArray[Any]) -> Layer:
    return Layer(weight, bias)


def publish(session: Session, model: str, weight: float = 1.0, classes: tuple[Label, ...] | None = None) -> int:
    enqueue(session, model=model, learning_rate=0.1)
    parameters = (layer(np.array([[weight]]), np.zeros(1)),)
    return models.publish(session, claim(session), Schema(("x",), ("y",), classes), parameters, RESULT)


def test_version_numbers_grow_for_each_model_by_itself(database: Database) -> None:
    with database.writing() as session:
        assert [publish(session, name) for name in ("a", "b", "a", "a", "b")] == [1, 1, 2, 3, 2]
        assert [version.version for version in models.versions(session, "a")] == [3, 2, 1]
        assert models.latest_version(session, "a") == 3


def test_the_number_of_a_deleted_version_is_not_given_again(database: Database) -> None:
    with database.writing() as session:
        assert [publish(session, "a"), publish(session, "a")] == [1, 2]
        session.execute(delete(VersionRow).where(VersionRow.version == 2))
        assert publish(session, "a") == 3
        with pytest.raises(NotFound, match="version 2"):
            models.get_version(session, "a", 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parameters_come_back_bit_for_bit(database: Database, dtype: type) -> None:
    with np.errstate(over="ignore"):
        parameters: Parameters = (layer(ODD_BITS.astype(dtype), np.array([-1 / 3], dtype=dtype)),)
    with database.writing() as session:
        enqueue(session)
        number = models.publish(session, claim(session), Schema(("x",), ("y",)), parameters, RESULT)
    with database.reading() as session:
        (read,) = models.load(session, "twice", number).parameters
        tensors = safetensors.numpy.load(models.parameter_bytes(session, "twice", number))
    (written,) = parameters
    for one, other in ((read.weight, tensors["weight"]), (read.bias, tensors["bias"])):
        assert one.dtype == other.dtype == dtype
    assert read.weight.tobytes() == tensors["weight"].tobytes() == written.weight.tobytes()
    assert read.bias.tobytes() == tensors["bias"].tobytes() == written.bias.tobytes()
    assert read.weight.shape == (1, 5)


def test_several_layers_come_back_in_their_order(database: Database) -> None:
    shapes = [(2 + number, 3 + number) for number in range(12)]
    parameters = tuple(layer(np.full(shape, shape[0]), np.full(shape[0], shape[1])) for shape in shapes)
    with database.writing() as session:
        enqueue(session)
        number = models.publish(session, claim(session), Schema(("x",), ("y",)), parameters, RESULT)
        read = models.load(session, "twice", number).parameters
    assert [one.weight.shape for one in read] == shapes
    assert all(np.array_equal(one.bias, other.bias) for one, other in zip(read, parameters, strict=True))


def test_each_version_keeps_its_own_parameters(database: Database) -> None:
    with database.writing() as session:
        for weight in (1.0, 2.0, 3.0):
            publish(session, "a", weight)
    with database.reading() as session:
        for number in (1, 2, 3):
            (read,) = models.load(session, "a", number).parameters
            assert read.weight.tolist() == [[number]]


def test_a_version_tells_what_it_came_from(database: Database) -> None:
    with database.writing() as session:
        job = enqueue(session, learning_rate=0.125, epochs=77)
        claimed = claim(session)
        parameters = (layer(np.zeros((1, 1)), np.zeros(1)),)
        number = models.publish(session, claimed, Schema(("x",), ("y",)), parameters, RESULT)
        version = models.get_version(session, "twice", number)
    assert (version.job_id, version.dataset_id, version.task) == (job.id, job.dataset_id, "linear_regression")
    assert (version.hyperparameters["learning_rate"], version.hyperparameters["epochs"]) == (0.125, 77)
    assert (version.user_metadata, version.result, version.n_parameters) == ({"asked_by": "a test"}, RESULT, 2)
    assert version.created_at.tzinfo is not None


@pytest.mark.parametrize("classes", [(False, True), (0, 1), ("no", "yes"), None])
def test_labels_come_back_as_they_were_given(database: Database, classes: tuple[Label, ...] | None) -> None:
    with database.writing() as session:
        publish(session, "a", classes=classes)
    with database.reading() as session:
        read = models.load(session, "a", 1).schema.classes
    assert read == classes
    assert [type(label) for label in read or ()] == [type(label) for label in classes or ()]


def test_an_unknown_model_or_version_is_not_found_by_its_name(database: Database) -> None:
    with database.writing() as session:
        publish(session, "known")
        for look_up in (models.get_version, models.parameter_bytes, models.load):
            with pytest.raises(NotFound, match="'unheard-of'"):
                look_up(session, "unheard-of", 1)
            with pytest.raises(NotFound, match="'known' has no version 2: its newest is 1"):
                look_up(session, "known", 2)
        for ask in (models.get, models.latest_version):
            with pytest.raises(NotFound, match="'unheard-of'"):
                ask(session, "unheard-of")
        assert models.versions(session, "unheard-of") == []


def test_models_are_listed_by_name_a_page_at_a_time(database: Database) -> None:
    with database.writing() as session:
        for name in ("c", "a", "e", "b", "d", "a"):
            publish(session, name)
        first, more = models.page(session, limit=2)
        assert ([model.name for model in first], more) == (["a", "b"], True)
        second, more = models.page(session, limit=2, after="b")
        assert ([model.name for model in second], more) == (["c", "d"], True)
        last, more = models.page(session, limit=1, after="d")
        assert ([model.name for model in last], more) == (["e"], False)
        assert models.page(session, limit=2, after="e") == ([], False)


def test_a_model_tells_when_it_was_made_and_last_changed(database: Database) -> None:
    with database.writing() as session:
        publish(session, "a")
        made = models.get(session, "a")
    with database.writing() as session:
        publish(session, "a")
        changed = models.get(session, "a")
    assert made.created_at == made.updated_at == changed.created_at
    assert (changed.updated_at > made.updated_at, changed.latest_version) == (True, 2)
