"""Datasets made up from a seed: to try a training out, and to know what it should find."""

import math
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from service.dataset import Dataset, Schema, default_names
from service.errors import Fault, InvalidDataset, counted
from service.hyperparameters import FROZEN_VALUES

MOST_NUMBERS = 2**24
"""A made-up dataset has at most so many numbers, samples times features."""
OUTLIER_FACTOR = 10.0
"""The target of an outlier is so many times what it would be."""
CENTER_BOX = 10.0
"""The centers of blobs are drawn from -10 to 10 in each feature, as scikit-learn's are."""

NSamples = Annotated[int, Field(ge=1, le=MOST_NUMBERS, description="How many samples to make.")]
Noise = Annotated[
    float, Field(ge=0, le=1e6, description="Standard deviation of the Gaussian noise that is added; 0 is none.")
]
Seed = Annotated[
    int,
    Field(ge=0, le=2**53 - 1, description="Source of every random draw: the same seed makes the same numbers."),
]


class LinearSpec(BaseModel):
    """Targets that are weighted sums of standard normal features, with noise and outliers."""

    model_config = FROZEN_VALUES

    kind: Literal["linear"] = Field(description="Which recipe this is.")
    weights: Annotated[list[Annotated[float, Field(ge=-1e6, le=1e6)]], Field(min_length=1, max_length=10_000)] = Field(
        description="The weight of each feature; their count is that of the features.", examples=[[0.3]]
    )
    bias: float = Field(default=0.0, ge=-1e6, le=1e6, description="What is added to the weighted sum.")
    n_samples: NSamples = 100
    noise: Noise = 0.0
    n_outliers: int = Field(
        default=0,
        ge=0,
        le=MOST_NUMBERS,
        description=f"So many samples, at random places, have {OUTLIER_FACTOR:g} times their target.",
    )
    seed: Seed = 0


class BlobsSpec(BaseModel):
    """Classes that are round Gaussian clouds about a center each, of equal or nearly equal size."""

    model_config = FROZEN_VALUES

    kind: Literal["blobs"] = Field(description="Which recipe this is.")
    n_samples: NSamples = 100
    n_classes: int = Field(
        default=3, ge=2, le=1000, description="How many clouds; their centers are drawn from the box of -10 to 10."
    )
    n_features: int = Field(default=2, ge=1, le=10_000, description="How many features.")
    centers: (
        Annotated[
            list[Annotated[list[Annotated[float, Field(ge=-1e6, le=1e6)]], Field(min_length=1, max_length=10_000)]],
            Field(min_length=2, max_length=1000),
        ]
        | None
    ) = Field(
        default=None,
        description="The center of each class, in place of `n_classes` and `n_features`; drawn when null.",
        examples=[[[-2.0, 0.0], [2.0, 0.0]]],
    )
    spread: float = Field(default=1.0, ge=0, le=1e6, description="Standard deviation of a cloud in each feature.")
    seed: Seed = 0


class MoonsSpec(BaseModel):
    """Two classes that are half circles, each reaching into the other, which no straight line parts."""

    model_config = FROZEN_VALUES

    kind: Literal["moons"] = Field(description="Which recipe this is.")
    n_samples: NSamples = 100
    noise: Noise = 0.1
    seed: Seed = 0


SyntheticSpec = Annotated[LinearSpec | BlobsSpec | MoonsSpec, Field(discriminator="kind")]
"""What dataset to make up."""


def synthetic_dataset(spec: LinearSpec | BlobsSpec | MoonsSpec) -> Dataset:
    """Make the dataset that a specification describes: the same numbers for the same specification.

    Returns:
        Features of shape (n_samples, n_features) and targets of shape (n_samples, 1), float64; targets of blobs and
        moons are class codes, and their labels the integers 0, 1 …. Samples are in random order.

    Raises:
        InvalidDataset: when there would be too many numbers, more outliers than samples, or fewer samples than
            classes, or centers are not of equally many features.
    """
    faults = _faults(spec)
    if faults:
        raise InvalidDataset(faults)
    random = np.random.default_rng(spec.seed)
    if isinstance(spec, LinearSpec):
        return _linear(spec, random)
    features, codes = _blobs(spec, random) if isinstance(spec, BlobsSpec) else _moons(spec, random)
    order = random.permutation(spec.n_samples)
    n_classes = _n_classes(spec)
    schema = Schema(default_names("x", features.shape[1]), ("y",), tuple(range(n_classes)))
    return Dataset(features[order], codes[order].astype(np.float64), schema)


def _faults(spec: LinearSpec | BlobsSpec | MoonsSpec) -> list[Fault]:
    faults, n_features = [], 2
    if isinstance(spec, LinearSpec):
        n_features = len(spec.weights)
        if spec.n_outliers > spec.n_samples:
            counts = f"{counted(spec.n_outliers, 'outlier')} of {counted(spec.n_samples, 'sample')}"
            faults.append(Fault("/n_outliers", f"{counts}: there can be at most as many"))
    if isinstance(spec, BlobsSpec):
        n_features = spec.n_features if spec.centers is None else len(spec.centers[0])
        for number, center in enumerate(spec.centers or []):
            if len(center) != n_features:
                counts = f"center {number} has {counted(len(center), 'number')} and center 0 has {n_features}"
                faults.append(Fault(f"/centers/{number}", f"{counts}: give all as many"))
    if not isinstance(spec, LinearSpec) and spec.n_samples < _n_classes(spec):
        detail = f"{counted(spec.n_samples, 'sample')} for {_n_classes(spec)} classes: give at least one for each"
        faults.append(Fault("/n_samples", detail))
    if spec.n_samples * n_features > MOST_NUMBERS:
        size = f"{spec.n_samples:,} samples of {n_features:,} features are {spec.n_samples * n_features:,} numbers"
        faults.append(Fault("/n_samples", f"{size}: {MOST_NUMBERS:,} is the most; upload a file for more"))
    return faults


def _n_classes(spec: BlobsSpec | MoonsSpec) -> int:
    if isinstance(spec, MoonsSpec):
        return 2
    return spec.n_classes if spec.centers is None else len(spec.centers)


def _linear(spec: LinearSpec, random: np.random.Generator) -> Dataset:
    features = random.standard_normal((spec.n_samples, len(spec.weights)))
    targets = features @ np.array(spec.weights) + spec.bias + spec.noise * random.standard_normal(spec.n_samples)
    targets[random.choice(spec.n_samples, spec.n_outliers, replace=False)] *= OUTLIER_FACTOR
    return Dataset(features, targets, Schema(default_names("x", len(spec.weights)), ("y",)))


def _blobs(spec: BlobsSpec, random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    if spec.centers is None:
        centers = random.uniform(-CENTER_BOX, CENTER_BOX, (spec.n_classes, spec.n_features))
    else:
        centers = np.array(spec.centers)
    codes = np.arange(spec.n_samples) % len(centers)
    return centers[codes] + spec.spread * random.standard_normal((spec.n_samples, centers.shape[1])), codes


def _moons(spec: MoonsSpec, random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Give points of the half circles (cos t, sin t) and (1 - cos t, 1/2 - sin t), t evenly spaced from 0 to π."""
    codes = np.arange(spec.n_samples) % 2
    upper = np.linspace(0, math.pi, (spec.n_samples + 1) // 2)
    lower = np.linspace(0, math.pi, spec.n_samples // 2)
    features = np.empty((spec.n_samples, 2))
    features[0::2] = np.column_stack([np.cos(upper), np.sin(upper)])
    features[1::2] = np.column_stack([1 - np.cos(lower), 0.5 - np.sin(lower)])
    return features + spec.noise * random.standard_normal(features.shape), codes
