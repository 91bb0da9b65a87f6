from typing import Any

import numpy as np
import pytest

from service.tasks import Task
from service.training.advice import advise_learning_rate, rule_of
from tests.training.descents import LOSS_OF_TASK, draw_samples, draw_start, settled


@pytest.mark.parametrize("task", list(LOSS_OF_TASK))
@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"l1": 1e-3}, "l1"),
        ({"clip_gradient_norm": 1e3}, "clipped gradients"),
        ({"schedule": "exponential"}, "a changing rate"),
        ({"schedule": {"kind": "constant"}, "clip_gradient_norm": 1.0, "l1": 0.1}, "l1 and clipped gradients"),
    ],
)
def test_steps_that_are_not_of_a_constant_rate_along_a_smooth_objective_get_guidance_alone(
    task: Task, asked: dict[str, Any], named: str
) -> None:
    samples = draw_samples(task, 0)
    start = draw_start(settled(task), 3, 1 if task == "mlp_regressor" else 3) if task.startswith("mlp") else None
    plain = advise_learning_rate(task, samples, settled(task), None, start)
    given = settled(task, **asked)
    advice = advise_learning_rate(task, samples, given, None, start)
    assert plain.kind != advice.kind == "guidance"
    assert advice.limit == plain.limit
    assert f"with {named} nothing is certain" in advice.detail
    assert advice.fastest is None
    assert advice.epochs_to_tolerance(advice.suggested, rule_of(given)) is None


def test_the_suggestion_falls_with_the_square_of_a_large_l1_and_not_with_a_small_one() -> None:
    samples = draw_samples("linear_regression", 0)

    def suggested(l1: float, **asked: Any) -> tuple[float, float]:
        advice = advise_learning_rate("linear_regression", samples, settled("linear_regression", l1=l1, **asked))
        assert advice.scaled_suggested is not None
        return advice.suggested, advice.scaled_suggested

    assert suggested(1e-4) == suggested(0.0)
    assert suggested(1e3) == pytest.approx(np.array(suggested(1e2)) / 100)
    assert suggested(1e3)[0] == suggested(1e3)[1]
