"""What the data says about the learning rate, before the first step. NumPy only.

It follows from the largest eigenvalue λmax of a Hessian:

- of the objective itself where it is quadratic (see `spectrum`);
- of one that is nowhere below the objective's, for logistic and softmax regression, whose losses have second
  derivatives of at most 1/4 and 1/2 (Böhning 1992, Multinomial logistic regression algorithm), and for huber, whose
  second derivative is at most 1: then the objective never rises at rates up to 1 / λmax;
- of the objective at the start for perceptrons, an estimate, as the curvature changes on the way.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.hyperparameters import Hyperparameters
from service.parameters import Layout
from service.rules import is_frozen
from service.schedules import schedule_of
from service.tasks import TRAITS, Task
from service.training.curvature import (
    largest_curvature,
    largest_sample_curvature,
    n_measured,
    perceptron_layout,
)
from service.training.hessian import Curvature, linear_curvature
from service.training.moments import largest_square
from service.training.quadratic import Quadratic, loss_curvature
from service.training.rates import DEFAULT_LEARNING_RATES
from service.training.recurrence import Momentum
from service.training.samples import Samples
from service.training.spectrum import TOLERANCE, inverse, long_step, rate_for, stability_bound
from service.training.subgradients import rate_for_l1, spread

PREDICTION_STEP = 0.01
"""How far, as a share of the targets' standard deviation, a step on mae may move the predictions."""
ESTIMATE_SHARE = 0.25
"""What is taken of an estimated limit: 70 perceptrons on real data all trained at it, not all at twice as much."""
BATCH_NOISE = 4.0
"""What a single sample's curvature is multiplied by for perceptrons: their mini-batches asked for more caution."""


@dataclass(frozen=True)
class LearningRateAdvice:
    """Up to which learning rate a descent is known to converge, and the one to take.

    `kind` says what the limit is worth: `exact` for full-batch sgd on a quadratic objective (beyond it the descent
    diverges), `guarantee` for one of bounded curvature (up to it the objective never rises), `estimate` for full-batch
    sgd on a perceptron, `guidance` for everything else, which includes all of these with l1, clipped gradients, or a
    rate that changes. `limit` is None where none is known, `fastest` is the rate at which the slowest mode of a
    quadratic converges fastest, None for a kind other than exact. The `scaled_` ones are those with `scale: standard`,
    None where that would change nothing. `detail` says it in a sentence. `curvature` is that of the objective, or of
    one that is curved no less; None where it was not asked for.
    """

    kind: Literal["exact", "guarantee", "estimate", "guidance"]
    limit: float | None
    suggested: float
    detail: str
    curvature: Curvature | None = field(repr=False, compare=False)
    fastest: float | None = None
    scaled_limit: float | None = None
    scaled_suggested: float | None = None

    @property
    def condition_number(self) -> float | None:
        """That of the Hessian, or of the one that bounds it; None where it is singular or unknown."""
        return None if self.curvature is None else self.curvature.condition_number

    @property
    def scaled_condition_number(self) -> float | None:
        """That with `scale: standard`; None where that would change nothing, too."""
        return None if self.curvature is None else self.curvature.scaled_condition_number

    @property
    def is_certain(self) -> bool:
        """Whether a descent at a rate up to the limit cannot diverge."""
        return self.kind in ("exact", "guarantee")

    def epochs_to_tolerance(self, learning_rate: float, rule: Momentum, tolerance: float = TOLERANCE) -> int | None:
        """Tell after how many epochs at a constant rate the slowest mode's excess has shrunk by `tolerance`.

        Returns:
            None when it never does, and for a kind other than exact, where it is not known.
        """
        if self.kind != "exact" or self.curvature is None or self.curvature.spectrum is None:
            return None
        return self.curvature.spectrum.epochs_to_tolerance(learning_rate, rule, tolerance)


def advise_learning_rate(
    task: Task,
    samples: Samples,
    hyperparameters: Hyperparameters,
    quadratic: Quadratic | None = None,
    start: NDArray[np.floating] | None = None,
) -> LearningRateAdvice:
    """Say what the curvature of the objective on the data allows.

    Costs, beside the moments, the eigenvalues of a matrix of n_features + 1; with more than 1000 features, some tens of
    passes over the data.

    Args:
        task: what is trained.
        samples: to train on, scaled as they will be.
        hyperparameters: with loss and hidden layers resolved; the learning rate is not looked at.
        quadratic: of the samples, see `quadratic_of`; from their moments, which are taken, when left out.
        start: the flat parameters before the first step; only perceptrons need them.
    """
    given = hyperparameters
    # Numbers whose squares overflow are met below, as a limit of next to nothing.
    with np.errstate(over="ignore", invalid="ignore"):
        if TRAITS[task].is_perceptron:
            if given.optimizer != "sgd":
                return _for_adaptive(given, None)
            assert start is not None
            layout = perceptron_layout(given, samples.features.shape[1], len(start))
            return _held_by_l1(_for_perceptron(samples, given, start), samples, given, layout)
        curvature = linear_curvature(samples, given, quadratic)
        if given.optimizer != "sgd":
            advice = _for_adaptive(given, curvature)
        elif given.loss == "mae":
            advice = _for_straight(samples, given, curvature)
        elif _is_batched(samples, given):
            advice = _for_batches(samples, given, curvature)
        else:
            advice = _for_full_batch(given, curvature)
        return _held_by_l1(advice, samples, given, ((_n_outputs(samples, given), samples.features.shape[1]),))


def rule_of(hyperparameters: Hyperparameters) -> Momentum:
    """Give how sgd keeps its velocity."""
    return Momentum(hyperparameters.momentum, hyperparameters.dampening, hyperparameters.nesterov)


def _for_full_batch(given: Hyperparameters, curvature: Curvature) -> LearningRateAdvice:
    """Advise on full-batch sgd with a quadratic objective, or with one of bounded curvature."""
    rule, is_quadratic, departures = rule_of(given), given.loss in ("mse", "half_mse"), _departures(given)
    step = stability_bound(rule) if is_quadratic else long_step(rule)
    # Half of what is stable; where the objective never rises there is nothing to keep away from.
    share = 0.5 if is_quadratic else 1.0
    if not curvature.largest:
        detail = "nothing that learns changes the objective: any learning rate will do"
        return LearningRateAdvice("exact" if is_quadratic else "guarantee", None, 1.0, detail, curvature)
    limit, scaled = rate_for(step, curvature.largest), curvature.scaled
    detail = _about_full_batch(given, curvature.largest, limit, departures)
    scaled_limit = None if scaled is None else rate_for(step, scaled.largest)
    if scaled_limit is not None and scaled_limit > 2 * limit:
        detail += f"; the limit rises from {limit:.3g} to {scaled_limit:.3g} with scale: standard"
    is_certain = not departures and (is_quadratic or not rule.momentum)
    spectrum = curvature.spectrum if is_certain and is_quadratic else None
    return LearningRateAdvice(
        "guidance" if not is_certain else "exact" if is_quadratic else "guarantee",
        limit,
        rate_for(share * step, curvature.largest),
        detail,
        curvature,
        fastest=None if spectrum is None else spectrum.fastest_rate(rule),
        scaled_limit=scaled_limit,
        scaled_suggested=None if scaled is None else rate_for(share * step, scaled.largest),
    )


def _about_full_batch(given: Hyperparameters, largest: float, limit: float, departures: str) -> str:
    if given.loss in ("mse", "half_mse"):
        if departures:
            return (
                f"without {departures} descent on this data would converge at rates below {limit:.3g} and diverge "
                f"above; with {departures} nothing is certain"
            )
        return f"descent on this data converges at rates below {limit:.3g} and diverges above"
    if given.momentum:
        departures = f"momentum and {departures}" if departures else "momentum"
    if not departures:
        return f"at rates up to {limit:.3g} the loss never rises; above it, it may"
    detail = f"without {departures} the loss would never rise at rates up to {rate_for(1, largest):.3g}"
    detail += f"; with {departures} nothing is certain"
    return detail + (f", and {limit:.3g} makes steps of the same length in the long run" if given.momentum else "")


def _for_batches(samples: Samples, given: Hyperparameters, curvature: Curvature) -> LearningRateAdvice:
    """Advise on sgd with mini-batches and a linear model."""
    plus = 0.0 if is_frozen(given, "bias") else 1.0
    features = samples.features[:, :0] if is_frozen(given, "weight") else samples.features
    of_sample = largest_square(features, samples.weights, plus) * loss_curvature(given, samples.targets.shape[1])
    return _for_noise(samples, given, curvature, of_sample + given.l2, 0.5)


def _for_noise(
    samples: Samples, given: Hyperparameters, curvature: Curvature, of_sample: float, share: float
) -> LearningRateAdvice:
    """Take the inverse of the smoothness that batches drawn without replacement see on average for a limit.

    Gower et al. (2019), SGD: General Analysis and Improved Rates, proposition 3.8.
    """
    n_samples, batch_size = len(samples), given.batch_size or len(samples)
    of_all = n_samples * (batch_size - 1) / (batch_size * (n_samples - 1))
    smoothness = of_all * curvature.largest + (n_samples - batch_size) / (batch_size * (n_samples - 1)) * of_sample
    limit = rate_for(long_step(rule_of(given)), smoothness)
    detail = (
        f"mini-batches of {batch_size} are noisy and have no sharp limit; up to {limit:.3g} a step lowers the loss on "
        f"average while the loss is far from its lowest"
    )
    suggested = rate_for(share * long_step(rule_of(given)), smoothness)
    return LearningRateAdvice("guidance", limit, suggested, detail, curvature)


def _for_adaptive(given: Hyperparameters, curvature: Curvature | None) -> LearningRateAdvice:
    suggested = DEFAULT_LEARNING_RATES[given.optimizer]
    detail = (
        f"{given.optimizer} sets the size of its steps itself, whatever the curvature: {suggested:g} is torch's default"
    )
    return LearningRateAdvice("guidance", None, suggested, detail, curvature)


def _for_straight(samples: Samples, given: Hyperparameters, curvature: Curvature) -> LearningRateAdvice:
    """Advise on mae, whose gradient does not get smaller towards its lowest point.

    The derivative by a prediction is ±1 / (n_samples · n_targets), so that a step moves the predictions, in root mean
    square, by at most the rate times λmax of what is half_mse's Hessian.
    """
    suggested = rate_for(PREDICTION_STEP * spread(samples) * long_step(rule_of(given)), curvature.largest)
    if given.l2:
        suggested = min(suggested, inverse(given.l2))
    detail = (
        f"mae has no curvature, and descent ends in steps of the same size: {suggested:.3g} moves the predictions by "
        f"at most {PREDICTION_STEP:.0%} of the targets' standard deviation a step; let a schedule lower it"
    )
    return LearningRateAdvice("guidance", None, suggested, detail, curvature)


def _for_perceptron(samples: Samples, given: Hyperparameters, start: NDArray[np.floating]) -> LearningRateAdvice:
    curvature, rule = Curvature(largest_curvature(samples, given, start)), rule_of(given)
    n_used = n_measured(len(samples), len(start))
    used = f", on {n_used} of the {len(samples)} samples," if n_used < len(samples) else ""
    if given.loss == "mae":
        return _for_straight(samples, given, curvature)
    if _is_batched(samples, given):
        of_sample = BATCH_NOISE * largest_sample_curvature(samples, given, start)
        advice = _for_noise(samples, given, curvature, of_sample, ESTIMATE_SHARE)
        return replace(advice, detail=f"{advice.detail}, as estimated at the start{used.rstrip(',')}")
    limit = rate_for(stability_bound(rule), curvature.largest)
    detail = (
        f"at the start{used or ','} descent is stable at rates below about {limit:.3g}; curvature changes in training, "
        "so that what is suggested is well below"
    )
    # Measured on the same: with momentum its own limit's share was too much, and 1 - momentum slower than it need be.
    suggested = rate_for(2 * ESTIMATE_SHARE * math.sqrt(long_step(rule)), curvature.largest)
    departures = _departures(given)
    if departures:
        detail += f"; with {departures} nothing is certain"
    return LearningRateAdvice("guidance" if departures else "estimate", limit, suggested, detail, curvature)


def _held_by_l1(
    advice: LearningRateAdvice, samples: Samples, given: Hyperparameters, layout: Layout
) -> LearningRateAdvice:
    """Lower the suggestions to what the steps of l1 allow, see `rate_for_l1`."""
    if not given.l1 or given.optimizer != "sgd" or is_frozen(given, "weight"):
        return advice
    n_weights = sum(n_outputs * n_inputs for n_outputs, n_inputs in layout)
    most = rate_for_l1(samples, given, rule_of(given), n_weights)
    scaled, detail = advice.scaled_suggested, advice.detail
    if most < advice.suggested:
        detail += f"; {most:.3g} is suggested, for steps of l1 do not get smaller towards the lowest point"
    scaled = None if scaled is None else min(most, scaled)
    return replace(advice, suggested=min(most, advice.suggested), scaled_suggested=scaled, detail=detail)


def _n_outputs(samples: Samples, given: Hyperparameters) -> int:
    """Count the outputs of a model without hidden layers."""
    return int(samples.targets.max()) + 1 if given.loss == "cross_entropy" else samples.targets.shape[1]


def _departures(given: Hyperparameters) -> str:
    """Name what keeps a descent from taking steps of a constant rate along the gradient of a smooth objective."""
    named = {
        "l1": bool(given.l1),
        "clipped gradients": given.clip_gradient_norm is not None,
        "a changing rate": schedule_of(given.schedule).kind != "constant",
    }
    return " and ".join(name for name, is_asked_for in named.items() if is_asked_for)


def _is_batched(samples: Samples, given: Hyperparameters) -> bool:
    return given.batch_size is not None and given.batch_size < len(samples)
