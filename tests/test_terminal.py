import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from service.terminal import (
    check_lines,
    dataset_lines,
    finding_lines,
    loss_chart,
    progress_bar,
    read_with_progress,
    result_line,
)

LOSSES = st.lists(st.floats(0, allow_infinity=False), min_size=1, max_size=50)


def plot_of(chart: str, height: int) -> list[str]:
    """The plotted lines, without the scale at their left."""
    return [line.split("┤")[1] for line in chart.splitlines()[1 : 1 + height]]


@given(LOSSES, st.integers(1, 10**6), st.integers(20, 100), st.integers(2, 30))
def test_a_chart_has_the_size_that_was_asked_for(losses: list[float], every: int, width: int, height: int) -> None:
    epochs = [every * number for number in range(len(losses))]
    scale, *plot, axis, ends = loss_chart(epochs, losses, width, height).splitlines()
    margin = axis.index("└")
    assert len(plot) == height
    assert axis[margin:] == "└" + "─" * width
    assert len(ends) == margin + 1 + width
    assert scale.strip().startswith("train_loss")
    for line in plot:
        assert line[margin] == "┤"
        assert len(line[margin + 1 :]) <= width
        assert all(0x2800 <= ord(character) <= 0x28FF for character in line[margin + 1 :])


@given(LOSSES)
def test_the_extreme_losses_stand_at_the_left_and_the_extreme_epochs_below(losses: list[float]) -> None:
    epochs = list(range(3, 3 + len(losses)))
    lines = loss_chart(epochs, losses, 60, 10).splitlines()
    assert lines[1].split("┤")[0].strip() == f"{max(losses):.4g}"
    assert lines[10].split("┤")[0].strip() == f"{min(losses):.4g}"
    assert re.fullmatch(rf" *3 +epoch {epochs[-1]}", lines[-1])


@given(LOSSES)
def test_the_largest_loss_is_drawn_at_the_top_and_the_smallest_at_the_bottom(losses: list[float]) -> None:
    plot = plot_of(loss_chart(list(range(len(losses))), losses, 30, 8), 8)
    assert bool(plot[0]) is (max(losses) > min(losses))
    assert plot[-1]


@pytest.mark.parametrize("loss", [0.0, 1.0, 1e-300, 1e300])
@pytest.mark.parametrize("n_points", [1, 2, 100])
def test_one_point_and_equal_values_are_drawn_in_one_row(loss: float, n_points: int) -> None:
    plot = plot_of(loss_chart(list(range(n_points)), [loss] * n_points, 40, 6), 6)
    assert [bool(line) for line in plot].count(True) == 1


@pytest.mark.parametrize("losses", [[9.0, 1.0], [1.0, 9.0]])
def test_two_points_are_joined_by_a_stroke_over_the_whole_height(losses: list[float]) -> None:
    right_column = 0x08 | 0x10 | 0x20 | 0x80  # of a braille character
    for line in plot_of(loss_chart([0, 1], losses, 20, 7), 7):
        assert ord(line[-1]) - 0x2800 == right_column
        assert len(line) == 20


def test_a_falling_loss_falls_from_the_top_left_to_the_bottom_right() -> None:
    epochs = list(range(81))
    plot = plot_of(loss_chart(epochs, [80.0 - epoch for epoch in epochs], 40, 5), 5)
    starts = [len(line) - len(line.lstrip("\u2800")) for line in plot]
    assert starts == sorted(starts)
    assert starts[0] == 0
    assert len(plot[-1]) == 40


@pytest.mark.parametrize(
    ("losses", "logarithmic"), [([1.0, 11.0], True), ([1.0, 9.0], False), ([0.0, 100.0], False), ([1e-9, 1.0], True)]
)
def test_the_scale_is_logarithmic_beyond_a_decade_and_says_so(losses: list[float], logarithmic: bool) -> None:
    assert ("logarithmic" in loss_chart([0, 1], losses).splitlines()[0]) is logarithmic


def test_on_a_logarithmic_scale_a_geometric_fall_is_a_straight_line() -> None:
    geometric = loss_chart(list(range(8)), [10.0**-power for power in range(8)], 40, 9)
    straight = loss_chart(list(range(8)), [float(8 - power) for power in range(8)], 40, 9)
    assert plot_of(geometric, 9) == plot_of(straight, 9)


def job(**changes: object) -> dict[str, object]:
    progress = {"epoch": 3, "epochs": 10}
    return {"id": "job_1", "model": "line", "version": 2, "status": "running", "progress": progress, **changes}


@pytest.mark.parametrize("only_if_seen", [True, False])
def test_the_progress_bar_shows_status_and_epochs_where_it_is_to_be_seen(only_if_seen: bool) -> None:
    stream = io.StringIO()
    with progress_bar(Console(file=stream, width=100), only_if_seen=only_if_seen) as show:
        for now in (job(status="queued"), job(), job(status="succeeded", progress={"epoch": 10, "epochs": 10})):
            show(now)
    assert ("succeeded" in stream.getvalue()) is not only_if_seen
    assert ("10/10 epochs" in stream.getvalue()) is not only_if_seen


def test_a_success_is_summed_up_by_its_loss_and_its_metrics() -> None:
    metrics = {"train": {"mse": 0.25, "r2": None}, "validation": None, "test": None}
    result = {"train_loss": 0.25, "metrics": metrics}
    line = result_line(job(status="succeeded", stop_reason="epochs_completed", result=result))
    assert line == "line@2: train_loss 0.25, mse 0.25 (epochs_completed)"


@pytest.mark.parametrize(
    ("error", "why"), [({"code": "diverged", "detail": "the loss grew"}, "the loss grew"), (None, "cancelled")]
)
def test_a_job_that_gave_no_model_is_summed_up_by_why(error: object, why: str) -> None:
    line = result_line(job(status="failed", stop_reason="cancelled", error=error))
    assert line == f"job_1 failed: {why}"


def test_held_out_samples_are_summed_up_beside_those_that_were_trained_on() -> None:
    tables = {"confusion_matrix": [[1]], "per_class": []}
    metrics = {"train": {"accuracy": 1.0, **tables}, "validation": {"accuracy": 0.5, **tables}, "test": None}
    result = {"train_loss": 0.25, "metrics": metrics}
    line = result_line(job(status="succeeded", stop_reason="no_improvement", result=result))
    assert line == "line@2: train_loss 0.25, accuracy 1; validation accuracy 0.5 (no_improvement)"


def finding(**suggestion: object) -> dict[str, object]:
    return {"code": "a_code", "detail": "a sentence", "evidence": {"limit": 0.1}, "suggestion": suggestion}


def test_findings_are_told_with_what_to_change_as_options_of_the_command_line() -> None:
    warned = job(diagnosis=None, warnings=[finding(scale="standard", learning_rate="auto"), finding()])
    assert finding_lines(warned) == [
        "warning a_code: a sentence\n  try --scale standard --learning-rate auto",
        "warning a_code: a sentence",
        "descent retry job_1 --apply-suggestion trains again like that",
    ]
    diverged = job(diagnosis=finding(learning_rate=0.05), warnings=[])
    assert finding_lines(diverged)[0] == "diagnosis a_code\n  try --learning-rate 0.05"
    assert finding_lines(job(diagnosis=None, warnings=[])) == []
    assert finding_lines(job(diagnosis=None, warnings=[finding()])) == ["warning a_code: a sentence"]


@pytest.mark.parametrize(("epochs", "shown"), [(7, "7"), (None, "not known")])
def test_a_check_is_told_line_by_line(epochs: int | None, shown: str) -> None:
    answer = {
        "task": "linear_regression",
        "engine": "exact",
        "n_samples": 5,
        "n_train": 4,
        "n_features": 3,
        "n_parameters": 4,
        "memory_bytes": 3 * 2**20,
        "hyperparameters": {"learning_rate": 0.05},
        "learning_rate": {
            "requested": "auto",
            "limit": 0.1,
            "kind": "exact",
            "suggested": 0.05,
            "fastest": None,
            "epochs_to_tolerance": epochs,
        },
        "condition_number": 1.3e6,
        "warnings": [finding(l2=0.1)],
    }
    lines = check_lines(answer)
    told = {line[:18].strip(): line[18:] for line in lines[:-1]}
    assert told == {
        "task": "linear_regression",
        "engine": "exact",
        "samples": "5 of 3 features (4 to train on)",
        "parameters": "4",
        "memory": "about 3.0 MiB",
        "learning rate": "0.05 (auto)",
        "limit": "0.1 (exact)",
        "suggested": "0.05",
        "fastest": "not known",
        "condition number": "1.3e+06",
        "epochs it takes": shown,
    }
    assert lines[-1] == "warning a_code: a sentence\n  try --l2 0.1"


def test_a_file_is_read_in_parts_under_a_bar_where_people_look(tmp_path: Path) -> None:
    path = tmp_path / "houses.csv"
    path.write_bytes(bytes(range(256)) * 9000)
    seen, unseen = io.StringIO(), io.StringIO()
    parts = list(read_with_progress(path, Console(file=seen, force_terminal=True, width=100)))
    assert b"".join(parts) == path.read_bytes()
    assert [len(part) for part in parts] == [2**20, 2**20, 256 * 9000 - 2 * 2**20]
    assert "uploading houses.csv" in seen.getvalue()
    assert "2.3/2.3 MB" in seen.getvalue()
    assert list(read_with_progress(path, Console(file=unseen, force_terminal=False))) == parts
    assert unseen.getvalue() == ""


def test_a_dataset_is_told_of_with_a_line_for_each_column() -> None:
    known = {
        "area": {"missing": 1, "distinct": 1234, "estimated": ["distinct"], "mean": 2.0, "standard_deviation": 0.5}
        | {"min": 1.0, "max": 3.0},
        "sold": {"missing": 0, "distinct": 2, "min": "2020-01-01T00:00:00", "max": "2021-01-01T00:00:00"},
        "kind": {"missing": 0, "distinct": 2, "top": [{"value": "flat", "count": 3}, {"value": "house", "count": 1}]},
        "note": {"missing": 4, "distinct": 0, "top": []},
    }
    types = {"area": "number", "sold": "date", "kind": "category", "note": "text"}
    lines = dataset_lines(
        {
            "id": "ds_1",
            "name": None,
            "origin": "inline",
            "n_samples": 4,
            "n_columns": 4,
            "n_bytes": 1000,
            "encoded_bytes": 500,
            "created_at": "2026-11-21T10:00:00Z",
            "schema": [{"name": name, "type": kind} for name, kind in types.items()],
            "statistics": known,
        }
    )
    assert lines == [
        "ds_1           4 x 4     1.5 kB  2026-11-21T10:00  (inline)",
        "column  type      missing  distinct",
        "area    number    1        ~1234     2 ± 0.5, 1 to 3",
        "sold    date      0        2         2020-01-01T00:00:00 to 2021-01-01T00:00:00",
        "kind    category  0        2         flat (3), house (1)",
        "note    text      4        0",
    ]
