"""What can be known of a training before its first step: the plan, the samples, the learning rate they allow.

NumPy only, so that the API may ask too. What the worker adds are torch's own random draws and its hardware.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.dataset import Dataset, Outline
from service.errors import Fault, Finding, InvalidDataset
from service.hyperparameters import Hyperparameters, LayerValues, StartLayers, StartModel
from service.metrics import finite
from service.parameters import Layout, flatten, n_parameters, slices
from service.plan import LARGEST_EIGENBASIS, Plan, make_plan
from service.room import bytes_in_memory, rows_of
from service.rules import is_full_batch, start_layers
from service.scaling import Scaling
from service.split import split_dataset
from service.tasks import TRAITS, Task
from service.training.advice import LearningRateAdvice, advise_learning_rate, rule_of
from service.training.estimate import findings_about_estimate
from service.training.feature_scales import findings_about_scales
from service.training.findings import findings_about_data, findings_about_rate
from service.training.moments import Moments, moments
from service.training.penalty import rescaling_among
from service.training.quadratic import Quadratic, quadratic_of
from service.training.samples import Preparation, Samples, prepare
from service.training.spectrum import TOLERANCE

Vector = NDArray[np.float64]
DrawStart = Callable[[Hyperparameters, Layout], Vector]
TakeMoments = Callable[[Samples], Moments]


@dataclass(frozen=True)
class Examination:
    """A training that could start now.

    `plan` has the learning rate settled, and all that is worth knowing among its warnings; `start` is in scaled units;
    `quadratic` is the objective, or one that is curved no less (see `quadratic_of`); None where nothing needs it.
    """

    plan: Plan
    preparation: Preparation
    start: Vector
    quadratic: Quadratic | None
    advice: LearningRateAdvice

    @property
    def is_noisy(self) -> bool:
        """Whether steps are along a part of the objective at a time."""
        given = self.plan.hyperparameters
        return bool(given.dropout) or not is_full_batch(len(self.preparation.train), given)

    def advice_as_json(self, tolerance: float = TOLERANCE) -> dict[str, Any]:
        """Give what the data says of the learning rate; a number that is not finite is None.

        Args:
            tolerance: the share of the way to the lowest point that may be left after `epochs_to_tolerance`.
        """
        advice, settled = self.advice, self.plan.hyperparameters
        condition_number = advice.condition_number
        return {
            "limit": advice.limit,
            "kind": advice.kind,
            "suggested": advice.suggested,
            "fastest": advice.fastest,
            "scaled_limit": advice.scaled_limit,
            "epochs_to_tolerance": advice.epochs_to_tolerance(
                float(settled.learning_rate), rule_of(settled), tolerance
            ),
            "condition_number": None if condition_number is None else finite(condition_number),
            "detail": advice.detail,
        }


def plan_of(task: Task, dataset: Dataset | Outline, hyperparameters: Hyperparameters) -> Plan:
    """Make the plan, and see that in each part that a loss is measured on at least one sample counts.

    Which samples those are the dataset says, or else is drawn from the seed of the plan; of an outline it is not known.

    Raises:
        InvalidDataset, InvalidHyperparameters: when they do not go together.
    """
    plan = make_plan(task, dataset, hyperparameters)
    given = plan.hyperparameters
    if isinstance(dataset, Outline) or dataset.sample_weight is None:
        return plan
    split, weights, found = split_dataset(task, dataset, given), dataset.sample_weight, []
    for part, rows, way_out in (("training", split.train, "less"), ("validation", split.validation, "more")):
        if rows is None or not len(rows) or rows_of(weights, rows).any():
            continue
        said = f"the samples for {part} all have the weight 0, so none would count: let one of them count"
        if dataset.parts is None:
            said = f"under seed {given.seed} the samples drawn for {part} all have the weight 0, so none would count"
            said += f": hold out {way_out}, or use another seed"
        found.append(Fault("/sample_weight", said))
    if found:
        raise InvalidDataset(found)
    return plan


def examine(
    task: Task,
    dataset: Dataset,
    hyperparameters: Hyperparameters,
    trained: Vector | None = None,
    draw: DrawStart | None = None,
    take_moments: TakeMoments | None = None,
) -> Examination:
    """Check, prepare and weigh what is asked for.

    Args:
        task, dataset, hyperparameters: as given.
        trained: the parameters, in original units, of the model that `start` names.
        draw: draws a random start; one that is alike is drawn when left out.
        take_moments: goes through the samples for their moments; on the CPU when left out.

    Raises:
        InvalidDataset, InvalidHyperparameters: when they do not go together.
    """
    plan = plan_of(task, dataset, hyperparameters)
    settled = plan.hyperparameters
    preparation = prepare(task, dataset, settled)
    start = start_vector(settled, plan.layout, preparation.scaling, trained, draw or draw_alike)
    train = preparation.train
    needs_moments = not TRAITS[task].is_perceptron and dataset.n_features <= LARGEST_EIGENBASIS
    found = (take_moments or _moments_on_cpu)(train) if needs_moments else None
    quadratic = None if found is None else quadratic_of(found, settled, plan.layout[-1][0])
    advice = advise_learning_rate(task, train, settled, quadratic, start)
    rate = advice.suggested if settled.learning_rate == "auto" else float(settled.learning_rate)
    if rate != settled.learning_rate:
        settled = settled.model_copy(update={"learning_rate": rate})
    about_scales = findings_about_scales(plan, dataset.schema.feature_names, preparation.train, found, advice)
    rescaling = rescaling_among(about_scales)
    warnings: list[Finding] = [
        *plan.warnings,
        # Of several suggestions about a hyperparameter the first is followed: the scales say more than a limit alone.
        *about_scales,
        *findings_about_data(plan, dataset, preparation, found, advice, rescaling),
        *findings_about_rate(rate, advice),
        *findings_about_estimate(task, settled, rate, preparation.train, advice),
    ]
    return Examination(Plan(task, settled, plan.layout, tuple(warnings)), preparation, start, quadratic, advice)


def _moments_on_cpu(samples: Samples) -> Moments:
    return moments(samples.features, samples.targets, samples.weights)


def start_vector(
    hyperparameters: Hyperparameters, layout: Layout, scaling: Scaling | None, trained: Vector | None, draw: DrawStart
) -> Vector:
    """Give the parameters before the first step, in scaled units, as a flat vector of shape (n_parameters,)."""
    start = hyperparameters.start
    if isinstance(start, LayerValues | StartLayers | StartModel | list):
        given = trained if isinstance(start, StartModel) else flatten(start_layers(start, layout))
        assert given is not None
        vector = given.astype(np.float64) if scaling is None else scaling.to_scaled(given, layout)
    else:
        vector = np.zeros(n_parameters(layout)) if start == "zeros" else draw(hyperparameters, layout)
    if not hyperparameters.fit_intercept:
        for _, bias in slices(layout):
            vector[bias] = 0.0
    return vector


def draw_alike(hyperparameters: Hyperparameters, layout: Layout) -> Vector:
    """Draw from the distributions that torch's start draws from, without torch, so with another outcome."""
    draws = np.random.default_rng(hyperparameters.seed)
    if hyperparameters.start == "uniform":
        return np.asarray(draws.uniform(-1, 1, n_parameters(layout)))
    bounds = np.concatenate(
        [np.full(n_outputs * (n_inputs + 1), 1 / np.sqrt(n_inputs)) for n_outputs, n_inputs in layout]
    )
    return np.asarray(draws.uniform(-1, 1, len(bounds)) * bounds)


def memory_bytes(plan: Plan, dataset: Dataset | Outline) -> int:
    """Estimate what the training will hold in memory: samples, the copies made of them, and epochs on their way.

    What lies in files, as large datasets and copies do, counts for nothing.
    """
    itemsize = np.dtype(plan.hyperparameters.dtype).itemsize
    n_samples, n_numbers = dataset.n_samples, dataset.n_samples * (dataset.n_features + dataset.n_targets)
    if dataset.in_files:
        given = 0
    elif isinstance(dataset, Dataset):
        given = dataset.features.nbytes + dataset.targets.nbytes
    else:
        given = n_numbers * np.dtype(np.float64).itemsize
    copied = bytes_in_memory(n_samples * (dataset.n_features + 1) * itemsize) + n_samples * dataset.n_targets * itemsize
    n_outputs = plan.layout[-1][0]
    outputs = 2 * n_samples * n_outputs * itemsize
    state = 16 * n_parameters(plan.layout) * 8
    return int(given + (0 if plan.engine == "exact" else copied + outputs) + state)
