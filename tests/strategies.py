"""Hyperparameters as a request may have them, for hypothesis."""

from typing import Any, get_args

from hypothesis import strategies as st

from service.hyperparameters import OptimizerName
from service.schedules import ScheduleName
from service.tasks import LossName


def schedules() -> st.SearchStrategy[Any]:
    return st.sampled_from(
        [*get_args(ScheduleName), {"kind": "step", "gamma": 0.5}, {"kind": "plateau", "patience": 2}]
    )


def starts() -> st.SearchStrategy[Any]:
    layer = st.fixed_dictionaries(
        {"weight": st.sampled_from([1.0, [1.0], [1.0, 2.0, 3.0], [[1.0], [2.0], [3.0]], [[1.0, 2.0], [3.0]]])},
        optional={"bias": st.sampled_from([0.0, 1.0, [1.0], [1.0, 2.0, 3.0]])},
    )
    layers = st.lists(layer, min_size=1, max_size=3)
    named = st.fixed_dictionaries({"parameters": layers})
    return st.sampled_from([None, "zeros", "torch", "uniform"]) | layer | layers | named


FRACTIONS = st.sampled_from([0.0, 0.1, 0.5, 0.9])
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "learning_rate": st.sampled_from(["auto", 0.1]),
        "epochs": st.integers(1, 10_000_000),
        "batch_size": st.none() | st.integers(1, 5),
        "optimizer": st.sampled_from(get_args(OptimizerName)),
        "momentum": FRACTIONS,
        "nesterov": st.booleans(),
        "dampening": FRACTIONS,
        "schedule": schedules(),
        "loss": st.none() | st.sampled_from(get_args(LossName)),
        "l2": FRACTIONS,
        "l1": FRACTIONS,
        "start": starts(),
        "frozen": st.lists(st.sampled_from(["weight", "bias", "0.weight", "1.bias", "7.bias"]), max_size=3),
        "fit_intercept": st.booleans(),
        "scale": st.sampled_from(["none", "center", "standard"]),
        "scale_targets": st.sampled_from(["none", "center", "standard"]),
        "validation_fraction": FRACTIONS,
        "test_fraction": FRACTIONS,
        "class_weight": st.sampled_from([None, "balanced"]),
        "stop": st.sampled_from([{}, {"patience": 3}, {"min_delta": 0.1}, {"max_seconds": 5, "target_loss": 0.1}]),
        "clip_gradient_norm": st.sampled_from([None, 1.0]),
        "hidden_layers": st.none() | st.lists(st.sampled_from([1, 3, 10_000]), min_size=1, max_size=3),
        "activation": st.sampled_from(["relu", "tanh", "sigmoid"]),
        "dropout": FRACTIONS,
        "record_every": st.just("auto") | st.integers(1, 1000),
        "record_parameters": st.just("auto") | st.booleans(),
        "engine": st.sampled_from(["auto", "exact", "analytic", "autograd"]),
        "dtype": st.sampled_from(["float32", "float64"]),
        "seed": st.none() | st.integers(0, 10),
    },
)
