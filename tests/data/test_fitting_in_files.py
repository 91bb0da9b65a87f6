from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from service.copies import Copies
from service.data import fitting
from service.data.fitting import dataset_of
from service.data.tables import Table
from service.errors import InvalidDataset
from service.hyperparameters import Hyperparameters
from service.selection import Selection
from service.tasks import TRAITS, Task
from service.training.samples import prepare
from tests.data.tables import SETTLED, table_of


def mixed(n_rows: int) -> Table:
    random = np.random.default_rng(1)
    return table_of(
        {
            "x": [None if row % 7 == 3 else float(row) for row in range(n_rows)],
            "kind": [f"k{row % 5}" for row in range(n_rows)],
            "w": random.random(n_rows),
            "part": [("train", "validation", "test")[row % 3] for row in range(n_rows)],
            "y": [row % 2 for row in range(n_rows)],
        }
    )


@pytest.mark.parametrize("task", ["linear_regression", "logistic_regression"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_large_dataset_lies_in_files_and_is_the_small_one_in_the_dtype_of_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: Task, dtype: Any
) -> None:
    selection = Selection.model_validate({"target": "y", "missing": "indicator", "sample_weight": "w", "split": "part"})
    settled = Hyperparameters(seed=1, dtype=dtype)
    small = dataset_of(mixed(1000), selection, task, settled, copies_in(tmp_path))
    assert not list((tmp_path / "ds").iterdir())
    monkeypatch.setattr(fitting, "SMALL", 100)
    large = dataset_of(mixed(1000), selection, task, settled, copies_in(tmp_path))
    assert large.schema == small.schema
    assert large.in_files
    assert not small.in_files
    assert large.features.dtype == large.targets.dtype == np.dtype(dtype)
    assert not large.features.flags.writeable
    assert large.part_sizes == small.part_sizes == (334, 333, 333)
    for name in ("features", "targets", "sample_weight", "parts"):
        np.testing.assert_array_equal(getattr(large, name), getattr(small, name).astype(getattr(large, name).dtype))
    assert TRAITS[task].classifies == (large.schema.classes is not None)
    (kept,) = (tmp_path / "ds" / "encoded").iterdir()
    assert {file.name for file in kept.iterdir()} == {
        *(f"{name}.npy" for name in ("features", "targets", "sample_weight", "parts")),
    }


def copies_in(folder: Path, max_bytes: int = 10**9, min_free_bytes: int = 0) -> Copies:
    (folder / "ds").mkdir(exist_ok=True)
    return Copies(folder / "ds", max_bytes, min_free_bytes)


def kept_folders(folder: Path, task: Task, selection: dict[str, Any], **hyperparameters: Any) -> int:
    given_selection = Selection.model_validate({"target": "y", **selection})
    copies = copies_in(folder)
    dataset_of(mixed(100), given_selection, task, Hyperparameters(**{"seed": 1, **hyperparameters}), copies)
    return len(list((copies.folder / "encoded").iterdir()))


def test_trainings_that_take_the_same_numbers_share_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "SMALL", 10)
    plain, filled = {"features": ["kind", "w"]}, {"features": ["x"], "missing": "mean"}
    same: list[tuple[Task, dict[str, Any], dict[str, Any]]] = [
        ("linear_regression", plain, {}),
        ("mlp_regressor", plain, {"epochs": 7}),
        ("linear_regression", plain, {"seed": 2, "test_fraction": 0.1}),
        ("linear_regression", {**plain, "missing": "most_frequent"}, {"seed": 3, "test_fraction": 0.1}),
        ("linear_regression", {**plain, "unseen": "ignore"}, {"scale": "standard"}),
    ]
    for task, selection, hyperparameters in same:
        assert kept_folders(tmp_path, task, selection, **hyperparameters) == 1
    (kept,) = (tmp_path / "ds" / "encoded").iterdir()
    written_at = (kept / "features.npy").stat().st_mtime_ns
    assert kept_folders(tmp_path, "linear_regression", plain) == 1
    assert (kept / "features.npy").stat().st_mtime_ns == written_at
    other: list[tuple[Task, dict[str, Any], dict[str, Any]]] = [
        ("logistic_regression", plain, {}),
        ("linear_regression", plain, {"dtype": "float64"}),
        ("linear_regression", {"features": ["w", "kind"]}, {}),
        ("linear_regression", filled, {}),
        ("linear_regression", filled, {"test_fraction": 0.1}),
        ("linear_regression", filled, {"test_fraction": 0.1, "seed": 2}),
        ("linear_regression", {**filled, "missing": "indicator"}, {}),
        ("linear_regression", {**plain, "sample_weight": "w", "features": ["kind"]}, {}),
        ("linear_regression", {**plain, "split": "part"}, {}),
    ]
    for n_kept, (task, selection, hyperparameters) in enumerate(other, start=2):
        assert kept_folders(tmp_path, task, selection, **hyperparameters) == n_kept
    assert kept_folders(tmp_path, "linear_regression", filled, seed=9) == n_kept


def test_shared_files_come_with_the_fills_of_the_training_that_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "SMALL", 10)
    selection = Selection(target="y", features=["w"], missing="mean")
    fills = set()
    for seed in (1, 2):
        settled = Hyperparameters(seed=seed, test_fraction=0.5)
        found = dataset_of(mixed(100), selection, "linear_regression", settled, copies_in(tmp_path))
        assert found.schema.encoding is not None
        fills.add(found.schema.encoding[0].fill)
        np.testing.assert_array_equal(found.features, pl.concat(mixed(100).frames(["w"])).to_numpy().astype(np.float32))
    assert len(fills) == 2
    assert len(list((tmp_path / "ds" / "encoded").iterdir())) == 1


def test_of_many_who_need_the_same_at_once_one_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "SMALL", 10)
    written = []

    def encode(_: int) -> bytes:
        found = dataset_of(
            mixed(1000),
            Selection(target="y", features=["w"]),
            "linear_regression",
            SETTLED,
            copies_in(tmp_path),
            lambda: written.append(1),
        )
        return found.features.tobytes()

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(encode, range(8)))) == 1
    assert written == [1]


@pytest.mark.parametrize("small", [10**9, 10], ids=["in memory", "in files"])
@pytest.mark.parametrize("kind", ["number", "date"])
def test_a_column_far_from_zero_keeps_its_digits_until_it_is_scaled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int, kind: str
) -> None:
    monkeypatch.setattr(fitting, "SMALL", small)
    seconds = np.random.default_rng(2).integers(0, 100_000, 1000) / 1000
    x: Any = 1.7e9 + seconds
    if kind == "date":
        x = [datetime(2023, 11, 14, 22, 13, 20) + timedelta(seconds=float(one)) for one in seconds]
    table = table_of({"x": x, "y": seconds})
    selection = Selection(target="y", dates={"x": ["timestamp"]} if kind == "date" else {})
    settled = Hyperparameters(seed=0, epochs=200, scale="standard")
    found = dataset_of(table, selection, "linear_regression", settled, copies_in(tmp_path))
    train = prepare("linear_regression", found, settled).train
    assert train.features.dtype == np.float32
    expected = (seconds - seconds.mean()) / seconds.std()
    np.testing.assert_allclose(train.features[:, 0], expected, atol=1e-5)


def test_files_are_wide_only_where_digits_would_be_lost_before_scaling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "SMALL", 10)
    near, far = np.arange(100.0) + 0.1, np.arange(100.0) + 1e9 + 0.1
    table = table_of({"near": near, "far": far, "y": near, "far target": far})

    def dtype(feature: str, target: str = "y", **hyperparameters: Any) -> np.dtype[Any]:
        settled = Hyperparameters(seed=0, **hyperparameters)
        selection = Selection(target=target, features=[feature])
        found = dataset_of(table, selection, "linear_regression", settled, copies_in(tmp_path))
        assert found.features.dtype == found.targets.dtype
        return found.features.dtype

    assert dtype("far") == dtype("near", scale="standard") == np.float32
    assert dtype("far", scale_targets="standard") == dtype("near", "far target", scale="standard") == np.float32
    assert dtype("far", scale="center") == dtype("near", "far target", scale_targets="standard") == np.float64


def test_a_conversion_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "SMALL", 10)
    table = table_of({"x": [*map(float, range(200_000)), None], "y": range(200_001)})
    with pytest.raises(InvalidDataset, match="'x' has missing values"):
        dataset_of(table, Selection(target="y"), "linear_regression", SETTLED, copies_in(tmp_path))
    assert list((tmp_path / "ds" / "encoded").iterdir()) == []
