import numpy as np
import pytest
from hypothesis import given as draw
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.dataset import Dataset
from service.split import split_dataset, split_samples
from service.tasks import Task
from tests.training.problems import hyperparameters, random_dataset


def test_a_dataset_that_says_what_its_samples_are_for_is_split_as_it_says() -> None:
    parts = np.array([0, 2, 1, 0, 0, 2], dtype=np.int8)
    dataset = Dataset(np.arange(6.0), np.arange(6.0), parts=parts)
    for seed in (1, 2):
        split = split_dataset("linear_regression", dataset, hyperparameters(seed=seed))
        assert split.train is not None
        assert [rows.tolist() for rows in (split.train, split.validation, split.test)] == [[0, 3, 4], [2], [1, 5]]


def test_a_dataset_all_of_whose_samples_are_for_training_is_not_cut() -> None:
    dataset = Dataset(np.arange(3.0), np.arange(3.0), parts=np.zeros(3, dtype=np.int8))
    split = split_dataset("linear_regression", dataset, hyperparameters(seed=1))
    assert (split.train, len(split.validation), len(split.test)) == (None, 0, 0)


@settings(max_examples=60, deadline=None)
@draw(
    n_samples=st.integers(3, 300),
    n_classes=st.integers(2, 6),
    shares=st.tuples(st.floats(0.01, 0.4), st.floats(0, 0.4)),
    seed=st.integers(0, 1000),
    stratify=st.booleans(),
)
def test_rows_are_taken_in_a_shuffled_order_first_for_test_then_for_validation(
    n_samples: int, n_classes: int, shares: tuple[float, float], seed: int, stratify: bool
) -> None:
    """The oracle does the same with whole arrays, class by class."""
    codes = np.random.default_rng(seed).integers(0, n_classes, n_samples).astype(float)
    n_validation, n_test = (int(share * n_samples) for share in shares)
    sizes = n_samples - n_validation - n_test, n_validation, n_test
    given = hyperparameters(seed=seed, stratify=stratify)
    order = np.random.default_rng([seed, 1]).permutation(n_samples)
    test = taken(order, codes, n_test) if stratify else order[:n_test]
    order = order[~np.isin(order, test)]
    validation = taken(order, codes, n_validation) if stratify else order[:n_validation]
    train = order[~np.isin(order, validation)]
    split = split_samples("softmax_regression", codes[:, None], None, sizes, given)
    if n_validation + n_test == 0:
        assert split.train is None
        return
    for found, expected in zip((split.train, split.validation, split.test), (train, validation, test), strict=True):
        np.testing.assert_array_equal(found, np.sort(expected))


def taken(order: NDArray[np.int64], codes: NDArray[np.float64], n_wanted: int) -> NDArray[np.int64]:
    of_class = [order[codes[order] == code] for code in np.unique(codes[order])]
    shares = np.array([len(rows) for rows in of_class]) * (n_wanted / len(order))
    counts = np.floor(shares).astype(int)
    counts[np.argsort(-(shares - counts), kind="stable")[: n_wanted - counts.sum()]] += 1
    return np.concatenate([rows[:count] for rows, count in zip(of_class, counts, strict=True)])


@pytest.mark.parametrize("task", ["linear_regression", "softmax_regression"])
def test_more_samples_than_are_looked_at_at_once_are_split_into_the_sizes_that_were_asked_for(task: Task) -> None:
    dataset = random_dataset(task, 1, n_samples=150_001, n_features=1)
    split = split_dataset(task, dataset, hyperparameters(validation_fraction=0.2, test_fraction=0.1, seed=5))
    assert split.train is not None
    every = np.concatenate([split.train, split.validation, split.test])
    np.testing.assert_array_equal(np.sort(every), np.arange(150_001))
    assert (len(split.validation), len(split.test)) == (30_000, 15_000)
