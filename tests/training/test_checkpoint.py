import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import assume, settings
from hypothesis import given as draw
from hypothesis import strategies as st

from service.errors import InvalidHyperparameters
from service.hyperparameters import OptimizerName
from service.schedules import ScheduleName
from service.tasks import Task
from service.training import recording
from service.training.checkpoint import Checkpoint
from service.training.epochs import EpochColumns, join
from service.training.fit import Training, fit
from tests.training.interruptions import interrupted, undisturbed
from tests.training.problems import hyperparameters, random_dataset

OPTIMIZERS: tuple[OptimizerName, ...] = get_args(OptimizerName)
SCHEDULES: tuple[ScheduleName, ...] = get_args(ScheduleName)
PLATEAU = {"kind": "plateau", "patience": 1, "threshold": 0.05, "cooldown": 1}
TASKS: tuple[Task, ...] = get_args(Task)


@pytest.fixture(autouse=True)
def blocks_at_every_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "BLOCK_SECONDS", 0.0)


@st.composite
def asked(draw: st.DrawFn) -> dict[str, Any]:
    """Hyperparameters of all kinds, most of which go together."""
    optimizer = draw(st.sampled_from(OPTIMIZERS))
    found: dict[str, Any] = {
        "optimizer": optimizer,
        "epochs": draw(st.integers(1, 60)),
        "schedule": draw(st.sampled_from([*SCHEDULES, PLATEAU])),
        "dtype": draw(st.sampled_from(["float32", "float64"])),
        "engine": draw(st.sampled_from(["auto", "analytic", "autograd"])),
        "validation_fraction": draw(st.sampled_from([0.0, 0.3])),
        "scale": draw(st.sampled_from(["none", "standard"])),
        "l2": draw(st.sampled_from([0.0, 0.1])),
        "l1": draw(st.sampled_from([0.0, 0.01])),
        "record_every": draw(st.sampled_from(["auto", 1, 3, 7])),
        "record_parameters": draw(st.booleans()),
        "seed": draw(st.integers(0, 100)),
        "shuffle": draw(st.booleans()),
        "learning_rate": draw(st.sampled_from(["auto", 0.02])),
        "frozen": draw(st.sampled_from([[], ["bias"], ["0.weight"]])),
        "stop": draw(
            st.sampled_from(
                [{}, {"patience": 2}, {"patience": 9, "min_delta": 0.01}, {"patience": 3, "restore_best": False}]
            )
        ),
    }
    if optimizer == "sgd":
        found |= {"momentum": draw(st.sampled_from([0.0, 0.9])), "dampening": draw(st.sampled_from([0.0, 0.5]))}
    if optimizer != "lbfgs":
        found["batch_size"] = draw(st.sampled_from([None, 1, 4]))
        found["clip_gradient_norm"] = draw(st.sampled_from([None, 0.5]))
    return found


def assert_nothing_can_be_told(task: Task, seed: int, given: dict[str, Any], **shape: Any) -> int:
    """Hold a training that is killed to one that is not; give how often it was started."""
    dataset, asked = random_dataset(task, seed, **shape), hyperparameters(**{"seed": 1} | given)
    expected, found = undisturbed(task, dataset, asked), interrupted(task, dataset, asked, seed)
    assert found.end == expected.end
    assert found.columns == expected.columns
    assert found.parameters == expected.parameters
    return found.n_attempts


@settings(max_examples=60, deadline=None)
@draw(task=st.sampled_from(TASKS), seed=st.integers(0, 10_000), given=asked(), dropout=st.sampled_from([0.0, 0.4]))
def test_a_training_that_is_killed_and_goes_on_gives_in_every_bit_what_an_undisturbed_one_gives(
    task: Task, seed: int, given: dict[str, Any], dropout: float
) -> None:
    if task.startswith("mlp"):
        given |= {"hidden_layers": [5, 4], "dropout": 0.0 if given["optimizer"] == "lbfgs" else dropout}
    try:
        assert_nothing_can_be_told(task, seed, given, n_samples=23, weighted=seed % 2 == 0)
    except InvalidHyperparameters:
        assume(False)


@pytest.mark.parametrize("engine", ["analytic", "autograd"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_goes_on_in_both_engines(optimizer: OptimizerName, engine: str) -> None:
    given = {"optimizer": optimizer, "engine": engine, "epochs": 150, "dtype": "float32", "learning_rate": 0.01}
    batch_size, momentum = (None if optimizer == "lbfgs" else 5), (0.9 if optimizer == "sgd" else 0.0)
    given |= {"batch_size": batch_size, "momentum": momentum, "seed": 3}
    assert assert_nothing_can_be_told("logistic_regression", 5, given) > 3


@pytest.mark.parametrize("schedule", [*SCHEDULES, PLATEAU])
def test_every_schedule_goes_on(schedule: Any) -> None:
    given = {"schedule": schedule, "engine": "analytic", "epochs": 2500, "learning_rate": 0.01, "record_every": 250}
    assert assert_nothing_can_be_told("linear_regression", 1, given) > 3


def test_dropout_goes_on_with_the_draws_that_would_have_come() -> None:
    given = {"dropout": 0.5, "batch_size": 4, "epochs": 40, "seed": 8, "optimizer": "adam"}
    assert assert_nothing_can_be_told("mlp_classifier", 2, given) > 3


@pytest.mark.parametrize("every", [1, 7])
def test_the_exact_engine_goes_on(every: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.training.exact.BLOCK_EPOCHS", 100)  # or all may come in one block
    given = {"engine": "exact", "epochs": 200_000, "record_every": every, "record_parameters": False}
    assert assert_nothing_can_be_told("linear_regression", 4, given | {"stop": {"patience": 199_999}}) > 1
    assert assert_nothing_can_be_told("linear_regression", 5, given | {"momentum": 0.5}) > 1


def test_a_training_of_several_threads_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.training.threads.WORTH_THREADS", 1)
    given = {"engine": "analytic", "epochs": 30, "dtype": "float32"}
    assert assert_nothing_can_be_told("logistic_regression", 6, given, n_samples=40_000, n_features=90) > 2


def test_a_training_that_diverges_tells_the_same_however_often_it_is_killed() -> None:
    given = {"engine": "analytic", "epochs": 3000, "learning_rate": 3.0}
    assert sum(assert_nothing_can_be_told("linear_regression", seed, given) for seed in range(4)) > 4


def test_a_checkpoint_is_made_before_the_next_block_is_asked_for_or_not_at_all() -> None:
    blocks = fit("linear_regression", random_dataset("linear_regression", 0), hyperparameters(engine="analytic"))
    first = next(blocks)
    next(blocks)
    assert first.checkpoint is not None
    with pytest.raises(ValueError, match="the training has gone on"):
        first.checkpoint()


def test_nothing_goes_on_from_the_last_block() -> None:
    *_, last = fit("linear_regression", random_dataset("linear_regression", 0), hyperparameters(engine="analytic"))
    assert last.learned is not None
    assert last.checkpoint is None


def some_checkpoint(**given: Any) -> Checkpoint:
    first = next(fit("mlp_regressor", random_dataset("mlp_regressor", 0), hyperparameters(seed=1, **given)))
    assert first.checkpoint is not None
    return first.checkpoint()


def test_a_checkpoint_comes_back_from_bytes_as_it_was() -> None:
    checkpoint = some_checkpoint(stop={"patience": 5}, schedule="plateau")
    found = Checkpoint.from_bytes(checkpoint.to_bytes())
    assert found is not None
    assert (found.training, found.progress, found.last_recorded) == (checkpoint.training, checkpoint.progress, 0)
    assert found.state.keys() == checkpoint.state.keys()
    for name, value in checkpoint.state.items():
        assert (found.state[name].dtype, found.state[name].shape) == (value.dtype, value.shape)
        assert found.state[name].tobytes() == value.tobytes()


@settings(max_examples=100, deadline=None)
@draw(progress=st.floats(0, 1e7), last=st.integers(-1, 10**7))
def test_the_progress_loses_no_digit(progress: float, last: int) -> None:
    checkpoint = Checkpoint("any", progress, last, {"waits_for": np.array(np.inf)})
    assert Checkpoint.from_bytes(checkpoint.to_bytes()) == checkpoint


def test_what_is_no_checkpoint_or_of_another_format_is_none() -> None:
    content = some_checkpoint().to_bytes()
    older = content.replace(b'"format":"1"', b'"format":"0"')
    assert older != content
    others = [b"", b"12345678", b"\x80\x04K\x01.", content[:-1], content[: len(content) // 2], older]
    others += [bytes(safetensors.numpy.save({"parameters": np.ones(3)})), b"\xff" * 100, b"\x02" + bytes(7) + b"[]"]
    assert [Checkpoint.from_bytes(other) for other in others] == [None] * len(others)


@pytest.mark.parametrize("other", [{"seed": 2}, {"epochs": 999}, {"learning_rate": 0.1}, {"hidden_layers": [3]}])
def test_a_checkpoint_of_another_training_is_refused_at_the_call(other: dict[str, Any]) -> None:
    checkpoint = some_checkpoint()
    dataset = random_dataset("mlp_regressor", 0)
    training = Training("mlp_regressor", dataset, hyperparameters(**{"seed": 1} | other))
    assert not training.fits(checkpoint)
    assert not Training("mlp_regressor", random_dataset("mlp_regressor", 1), hyperparameters(seed=1)).fits(checkpoint)
    with pytest.raises(ValueError, match="another training"):
        training.blocks(checkpoint)


RESUME = """
import json
import sys
from pathlib import Path
from service.training.checkpoint import Checkpoint
from service.training.epochs import join
from service.training.fit import fit
from tests.training.problems import hyperparameters, random_dataset
checkpoint = Checkpoint.from_bytes(Path(sys.argv[1]).read_bytes())
dataset = random_dataset("mlp_classifier", 7)
blocks = list(fit("mlp_classifier", dataset, hyperparameters(**json.loads(sys.argv[3])), None, checkpoint))
columns = join([block.columns for block in blocks])
Path(sys.argv[2]).write_bytes(columns.train_loss.tobytes() + columns.gradient.tobytes() + columns.parameters.tobytes())
"""
ELSEWHERE: dict[str, Any] = {"batch_size": 3, "dropout": 0.2, "optimizer": "adamw", "epochs": 60, "seed": 1}


def test_another_process_goes_on_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    given = hyperparameters(**ELSEWHERE)
    rest: list[EpochColumns] = []
    for block in fit("mlp_classifier", random_dataset("mlp_classifier", 7), given):
        if 30.5 < block.progress < 30.9:
            assert block.checkpoint is not None
            (tmp_path / "checkpoint").write_bytes(block.checkpoint().to_bytes())
            rest = []
        elif block.progress >= 30.9:
            rest.append(block.columns)
    subprocess.run(
        [sys.executable, "-c", RESUME, tmp_path / "checkpoint", tmp_path / "rest", json.dumps(ELSEWHERE)], check=True
    )
    columns = join([columns for columns in rest if len(columns)])
    assert columns.epoch.tolist() == list(range(31, 61))
    assert columns.gradient is not None
    assert columns.parameters is not None
    expected = columns.train_loss.tobytes() + columns.gradient.tobytes() + columns.parameters.tobytes()
    assert (tmp_path / "rest").read_bytes() == expected
