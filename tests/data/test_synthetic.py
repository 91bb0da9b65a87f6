from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from service.data.synthetic import MOST_NUMBERS, OUTLIER_FACTOR, SyntheticSpec, synthetic_dataset
from service.dataset import Dataset
from service.errors import InvalidDataset

SPEC: TypeAdapter[Any] = TypeAdapter(SyntheticSpec)


def made(**spec: object) -> Dataset:
    return synthetic_dataset(SPEC.validate_python(spec))


def least_squares(dataset: Dataset) -> NDArray[np.floating]:
    design = np.column_stack([dataset.features, np.ones(dataset.n_samples)])
    return np.linalg.lstsq(design, dataset.targets[:, 0])[0]


def test_least_squares_recovers_the_weights_of_a_linear_dataset_without_noise() -> None:
    dataset = made(kind="linear", weights=[0.3, -2.0], bias=0.5, n_samples=50, seed=3)
    np.testing.assert_allclose(least_squares(dataset), [0.3, -2.0, 0.5], rtol=1e-12)
    assert dataset.schema.feature_names == ("x1", "x2")


def test_noise_has_the_standard_deviation_asked_for() -> None:
    dataset = made(kind="linear", weights=[1.0, 2.0], bias=-1.0, n_samples=20_000, noise=0.25)
    found = least_squares(dataset)
    np.testing.assert_allclose(found, [1.0, 2.0, -1.0], atol=0.02)
    residuals = dataset.targets[:, 0] - dataset.features @ found[:2] - found[2]
    assert residuals.std() == pytest.approx(0.25, rel=0.05)


def test_outliers_are_as_many_and_as_far_off_as_said() -> None:
    spec = {"kind": "linear", "weights": [0.3], "bias": 0.5, "n_samples": 100, "noise": 0.01, "seed": 0}
    ratio = made(**spec, n_outliers=2).targets[:, 0] / made(**spec).targets[:, 0]
    assert sorted(ratio)[-2:] == pytest.approx([OUTLIER_FACTOR] * 2)
    assert np.count_nonzero(ratio == 1) == 98


def test_blobs_lie_about_their_centers_with_the_spread_asked_for() -> None:
    centers = [[-50.0, 0.0, 0.0], [50.0, 0.0, 1.0]]
    dataset = made(kind="blobs", centers=centers, n_samples=20_001, spread=2.0)
    assert dataset.schema.classes == (0, 1)
    codes = dataset.targets[:, 0]
    assert np.bincount(codes.astype(int)).tolist() == [10_001, 10_000]
    for code, center in enumerate(centers):
        cloud = dataset.features[codes == code]
        np.testing.assert_allclose(cloud.mean(axis=0), center, atol=0.1)
        np.testing.assert_allclose(cloud.std(axis=0), 2.0, rtol=0.05)


def test_centers_are_drawn_in_a_box_when_they_are_not_given() -> None:
    dataset = made(kind="blobs", n_classes=4, n_features=5, n_samples=400, spread=0.0, seed=9)
    centers = np.unique(dataset.features, axis=0)
    assert centers.shape == (4, 5)
    assert np.abs(centers).max() <= 10
    assert dataset.schema.classes == (0, 1, 2, 3)


@pytest.mark.parametrize("n_samples", [2, 7, 100])
def test_moons_without_noise_lie_on_two_half_circles(n_samples: int) -> None:
    dataset = made(kind="moons", n_samples=n_samples, noise=0.0)
    codes, (x, y) = dataset.targets[:, 0], dataset.features.T
    upper, lower = codes == 0, codes == 1
    assert upper.sum() - lower.sum() == n_samples % 2
    np.testing.assert_allclose(x[upper] ** 2 + y[upper] ** 2, 1)
    assert (y[upper] >= 0).all()
    np.testing.assert_allclose((x[lower] - 1) ** 2 + (y[lower] - 0.5) ** 2, 1)
    assert (y[lower] <= 0.5).all()


@pytest.mark.parametrize(
    "spec", [{"kind": "linear", "weights": [1.0]}, {"kind": "blobs"}, {"kind": "moons"}], ids=lambda spec: spec["kind"]
)
def test_the_same_seed_makes_the_same_numbers_and_another_seed_others(spec: dict[str, Any]) -> None:
    assert made(**spec, seed=5).content == made(**spec, seed=5).content
    assert made(**spec, seed=5).content != made(**spec, seed=6).content


def test_the_samples_of_classes_are_in_random_order() -> None:
    codes = made(kind="blobs", n_samples=1000, n_classes=2).targets[:, 0]
    assert 400 < np.count_nonzero(np.diff(codes)) < 600


@pytest.mark.parametrize(
    ("spec", "pointer", "sentence"),
    [
        ({"kind": "linear", "weights": [1.0], "n_outliers": 101}, "/n_outliers", "101 outliers of 100 samples"),
        ({"kind": "linear", "weights": [1.0] * 17, "n_samples": 10**6}, "/n_samples", "17,000,000 numbers"),
        ({"kind": "blobs", "n_features": 10_000, "n_samples": 10_000}, "/n_samples", "100,000,000 numbers"),
        ({"kind": "moons", "n_samples": MOST_NUMBERS}, "/n_samples", "upload a file for more"),
        ({"kind": "blobs", "n_classes": 5, "n_samples": 4}, "/n_samples", "4 samples for 5 classes"),
        ({"kind": "blobs", "centers": [[1.0], [1.0, 2.0]]}, "/centers/1", "center 1 has 2 numbers and center 0 has 1"),
    ],
)
def test_what_does_not_fit_together_is_refused_with_a_sentence(
    spec: dict[str, Any], pointer: str, sentence: str
) -> None:
    with pytest.raises(InvalidDataset) as refused:
        made(**spec)
    (fault,) = refused.value.faults
    assert fault.pointer == pointer
    assert sentence in fault.detail


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "spirals"},
        {"kind": "linear"},
        {"kind": "linear", "weights": []},
        {"kind": "linear", "weights": [float("nan")]},
        {"kind": "linear", "weights": [1.0], "noise": -1.0},
        {"kind": "moons", "n_samples": 0},
        {"kind": "moons", "n_samples": "9"},
        {"kind": "moons", "spread": 1.0},
        {"kind": "blobs", "n_classes": 1},
    ],
)
def test_what_is_out_of_bounds_or_unknown_is_no_specification(spec: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SPEC.validate_python(spec)


def test_every_field_has_a_sentence() -> None:
    for definition in SPEC.json_schema()["$defs"].values():
        for name, field in definition["properties"].items():
            assert name == "kind" or field["description"].endswith(".")
