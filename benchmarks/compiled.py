"""The same loops in JAX: `jit` of a `lax.scan`, compiled before they are timed. Optional: pip install '.[bench]'."""

import importlib
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.measuring import Goal, Values, Way

jax: Any = importlib.import_module("jax") if importlib.util.find_spec("jax") else None
if jax is not None:
    jax.config.update("jax_enable_x64", True)  # arrays keep the dtype they come with

Objective = Callable[[Any, Any, Any], Any]


def squared_error(parameters: Any, features: Any, targets: Any) -> Any:
    """Give the mean squared residual."""
    residuals = features @ parameters[:-1] + parameters[-1] - targets
    return (residuals * residuals).mean()


def log_loss(parameters: Any, features: Any, signs: Any) -> Any:
    """Give the mean binary cross-entropy for targets -1 and 1."""
    return jax.nn.softplus(-signs * (features @ parameters[:-1] + parameters[-1])).mean()


def scan(
    objective: Objective, features: Values, targets: Values, learning_rate: float, epochs: int, goal: Goal
) -> tuple[list[Way], str]:
    """Compile a descent from zero with full history and trajectory; give it, and a sentence about it."""
    if jax is None:
        return [], "JAX is not installed, so it is left out; to have it: pip install '.[bench]'"

    def descend(features: Any, targets: Any, start: Any) -> Any:
        def step(parameters: Any, _: None) -> Any:
            loss, gradient = jax.value_and_grad(objective)(parameters, features, targets)
            return parameters - learning_rate * gradient, (loss, gradient, parameters)

        return jax.lax.scan(step, start, None, length=epochs + 1)[1]

    given = [jax.device_put(array) for array in (features, targets, np.zeros(features.shape[1] + 1, features.dtype))]
    begin = time.perf_counter()
    compiled = jax.jit(descend).lower(*given).compile()
    seconds = time.perf_counter() - begin

    def run() -> Values:
        return np.asarray(jax.block_until_ready(compiled(*given))[2])

    return [Way("JAX, jit of lax.scan", run, goal)], f"JAX takes {seconds:.2f} s to compile, which is not counted"
