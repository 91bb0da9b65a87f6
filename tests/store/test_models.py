from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray
from sqlalchemy import delete

from service.dataset import Label, Schema
from service.errors import InvalidRequest, NameTaken, NotFound
from service.parameters import Layer, Parameters, scaled_from_bytes
from service.scaling import Scaling
from service.store import aliases, models
from service.store.database import Database, Session
from service.store.jobs import Job
from service.store.ownership import Actor
from service.store.tables import VersionRow
from tests.store.queueing import claim, enqueue

pytestmark = pytest.mark.both_systems

RESULT = {"train_loss": 0.25, "metrics": {"train": {"r2": None}}}
ODD_BITS = np.array([[-0.0, 5e-324, 0.1, np.nextafter(1, 2), 1.7e308]])


def layer(weight: NDArray[Any], bias: NDArray[Any]) -> Layer:
    return Layer(weight, bias)


def publish_as(
    session: Session,
    job: Job,
    parameters: Parameters,
    classes: tuple[Label, ...] | None = None,
    scaled: Parameters | None = None,
    scaling: Scaling | None = None,
) -> int:
    schema, content = Schema(("x",), ("y",), classes), None if scaling is None else scaling.to_json()
    return models.publish(session, job, schema, parameters, RESULT, scaled=scaled, scaling=content)


def publish(session: Session, model: str, weight: float = 1.0, classes: tuple[Label, ...] | None = None) -> int:
    enqueue(session, model=model, learning_rate=0.1)
    parameters = (layer(np.array([[weight]]), np.zeros(1)),)
    return publish_as(session, claim(session), parameters, classes)


def test_version_numbers_grow_for_each_model_by_itself(database: Database) -> None:
    with database.writing() as session:
        assert [publish(session, name) for name in ("a", "b", "a", "a", "b")] == [1, 1, 2, 3, 2]
        assert [version.version for version in models.versions(session, "a")] == [3, 2, 1]
        assert models.latest_version(session, "a") == 3


def test_a_name_that_has_become_another_s_is_not_published_under(database: Database) -> None:
    """`check_name` lets nobody ask for it, but where two ask at once on a database that several write to."""
    parameters = (layer(np.ones((1, 1)), np.zeros(1)),)
    for owner in ("alice", "bob"):
        with database.as_seen_by(Actor(owner)).writing() as session:
            enqueue(session, model="a")
    with database.writing() as session:
        first, second = claim(session), claim(session)
        assert publish_as(session, first, parameters) == 1
        with pytest.raises(NameTaken, match="'a' has become another's model"):
            publish_as(session, second, parameters)
        assert models.get(session, "a").owner == "alice"
        assert models.latest_version(session, "a") == 1
        with pytest.raises(InvalidRequest, match="'a' is taken"):
            aliases.check_name(session, "a", "bob")
        aliases.check_name(session, "a", "alice")


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
        number = publish_as(session, claim(session), parameters)
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
        number = publish_as(session, claim(session), parameters)
        read = models.load(session, "twice", number).parameters
    assert [one.weight.shape for one in read] == shapes
    assert all(np.array_equal(one.bias, other.bias) for one, other in zip(read, parameters, strict=True))


def test_parameters_in_scaled_units_are_kept_beside_those_in_original_ones(database: Database) -> None:
    scaling = Scaling(np.array([1 / 3]), np.array([0.1]), np.zeros(1), np.ones(1))
    original, scaled = (layer(np.array([[0.7]]), np.array([0.1])),), (layer(np.array([[0.07]]), np.array([1 / 7])),)
    with database.writing() as session:
        enqueue(session, scale="standard")
        with_scaling = publish_as(session, claim(session), original, None, scaled, scaling)
        enqueue(session)
        without = publish_as(session, claim(session), original)
    with database.reading() as session:
        read = models.load(session, "twice", with_scaling)
        assert read.parameters == original
        assert read.scaling == scaling  # in every bit
        assert scaled_from_bytes(models.parameter_bytes(session, "twice", with_scaling)) == scaled
        assert models.get_version(session, "twice", with_scaling).scaling == scaling.to_json()
        read = models.load(session, "twice", without)
        assert (read.parameters, read.scaling) == (original, None)
        assert scaled_from_bytes(models.parameter_bytes(session, "twice", without)) is None
        assert models.get_version(session, "twice", without).scaling is None


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_a_perceptron_comes_back_with_its_activation(database: Database, activation: str) -> None:
    with database.writing() as session:
        enqueue(session, task="mlp_regressor", activation=activation)
        number = publish_as(session, claim(session), (layer(np.ones((2, 1)), np.zeros(2)),) * 2)
        assert models.load(session, "twice", number).activation == activation


def test_a_reference_names_a_version(database: Database) -> None:
    with database.writing() as session:
        assert [publish(session, "a"), publish(session, "a")] == [1, 2]
        assert aliases.resolve(session, "a") == aliases.resolve(session, "a@latest") == ("a", 2)
        assert aliases.resolve(session, "a@1") == ("a", 1)
        for reference in ("b", "b@latest", "@1@", "A", ""):
            with pytest.raises(NotFound):
                aliases.resolve(session, reference)
        for alias in ("", "best", "-1", "1.0", "²", "1" * 10, "latest@1"):
            with pytest.raises(NotFound, match="model 'a' has no version or alias"):
                aliases.resolve(session, f"a@{alias}")


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
        number = publish_as(session, claimed, parameters)
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
        for name in ("a_c", "a", "e", "B", "a-b", "a"):
            publish(session, name)
        first, more = models.page(session, limit=2)
        assert ([model.name for model in first], more) == (["B", "a"], True), "by code points, whatever the language"
        second, more = models.page(session, limit=2, after="a")
        assert ([model.name for model in second], more) == (["a-b", "a_c"], True)
        last, more = models.page(session, limit=1, after="a_c")
        assert ([model.name for model in last], more) == (["e"], False)
        assert models.page(session, limit=2, after="e") == models.page(session, limit=2, after="e\0") == ([], False)
        assert [name for name, _ in models.version_numbers(session)] == ["B", "a", "a", "a-b", "a_c", "e"]


def test_a_model_tells_when_it_was_made_and_last_changed(database: Database) -> None:
    with database.writing() as session:
        publish(session, "a")
        made = models.get(session, "a")
    with database.writing() as session:
        publish(session, "a")
        changed = models.get(session, "a")
    assert made.created_at == made.updated_at == changed.created_at
    assert (changed.updated_at > made.updated_at, changed.latest_version) == (True, 2)
