import numpy as np
import pytest
from sklearn.datasets import load_iris

from service.data.delimited import DelimitedSource
from service.data.examples import EXAMPLES, Example
from service.data.fitting import dataset_of as encode
from service.data.reading import ReadingOptions
from service.data.tables import Table
from service.dataset import Dataset
from service.hyperparameters import Hyperparameters
from service.plan import make_plan
from service.selection import Selection

IRIS = load_iris()


def dataset_of(example: Example) -> Dataset:
    source = DelimitedSource(example.path, ReadingOptions())
    (frame,) = source.frames()
    table = Table(source.columns, len(frame), (frame.lazy(),))
    return encode(table, Selection(target=example.target), example.task, Hyperparameters(seed=0), None)


def test_iris_petals_is_scikit_learn_s_iris_with_the_petal_width_as_target() -> None:
    dataset = dataset_of(EXAMPLES["iris-petals"])
    assert dataset.features.shape == (150, 3)
    np.testing.assert_array_equal(dataset.features, IRIS.data[:, :3])
    np.testing.assert_array_equal(dataset.targets[:, 0], IRIS.data[:, 3])
    assert [f"{name.replace('_', ' ')} (cm)" for name in dataset.schema.feature_names] == IRIS.feature_names[:3]


def test_iris_species_is_the_two_species_of_scikit_learn_s_iris_that_no_line_separates() -> None:
    dataset = dataset_of(EXAMPLES["iris-species"])
    rows = IRIS.target > 0
    assert dataset.features.shape == (100, 4)
    np.testing.assert_array_equal(dataset.features, IRIS.data[rows])
    assert dataset.schema.classes == ("versicolor", "virginica")
    assert list(IRIS.target_names[IRIS.target[rows]]) == [
        dataset.schema.classes[int(code)] for code in dataset.targets[:, 0]
    ]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_what_its_sentence_and_its_task_say(name: str) -> None:
    example = EXAMPLES[name]
    dataset = dataset_of(example)
    assert example.name == name
    assert example.sentence.startswith(f"{dataset.n_samples} iris flowers")
    assert dataset.schema.target_names == (example.target,)
    assert make_plan(example.task, dataset, Hyperparameters()).layout == ((1, dataset.n_features),)
