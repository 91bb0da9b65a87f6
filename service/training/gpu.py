"""The passes of the exact engine on a GPU: the sums of `moments` and `quadratic`, by torch, a chunk at a time."""

import functools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.training.batches import to_tensor
from service.training.moments import Moments, in_digits_enough, moments_from
from service.training.origin import origin_of
from service.training.samples import Samples

CHUNK_NUMBERS = 2**24
"""So many numbers are on the device at once; products of them are summed across chunks in float64."""
ORIGIN_NUMBERS = 2**18
"""So many numbers at the head of the features tell what to count samples from."""


def moments_on(device: torch.device, samples: Samples) -> Moments:
    """Take the moments of samples; see `moments.moments`. What overflows leaves infinities or NaN behind."""
    return in_digits_enough(functools.partial(_moments_in, device, samples), samples.features.dtype)


def _moments_in(device: torch.device, samples: Samples, precision: np.dtype[Any]) -> Moments:
    n_samples, n_features = samples.features.shape
    dtype = torch.float64 if precision == np.float64 else torch.float32
    rows = max(1, CHUNK_NUMBERS // (n_features + samples.targets.shape[1]))
    some = slice(0, max(1, ORIGIN_NUMBERS // n_features))
    with np.errstate(over="ignore", invalid="ignore"):
        origin = origin_of(samples.features[some], samples.targets[some], precision)
    shift, target_shift, weight = (
        torch.from_numpy(part).to(device) for part in (origin.shift, origin.target_shift, origin.weight)
    )
    sums: list[Tensor] | None = None
    for start in range(0, n_samples, rows):
        features, targets, weights = _chunk(device, samples, slice(start, start + rows), dtype)
        features = features - shift
        residuals = targets - target_shift - features @ weight
        ones = torch.ones(len(features), 1, dtype=dtype, device=device)
        answers = torch.hstack([residuals, ones])
        if weights is not None:
            root = weights.sqrt()[:, None]
            features, answers = features * root, answers * root
        parts = [(features.T @ features).double(), (answers.T @ features).double(), (answers.T @ answers).double()]
        sums = parts if sums is None else [total.add_(part) for total, part in zip(sums, parts, strict=True)]
    assert sums is not None
    square, cross, own = (total.cpu().numpy() / n_samples for total in sums)
    with np.errstate(over="ignore", invalid="ignore"):
        return moments_from(origin, square, cross, np.array([own[-1, :-1], np.diag(own)[:-1]]))


def mean_squares_on(device: torch.device, samples: Samples, parameters: NDArray[np.float64]) -> float:
    """Give the sum over outputs of the mean squared residual; see `quadratic.mean_squares`."""
    n_samples, n_features = samples.features.shape
    dtype = to_tensor(samples.features[:0]).dtype
    weight, bias = (torch.from_numpy(part).to(device, dtype) for part in (parameters[:-1], parameters[-1]))
    rows = max(1, CHUNK_NUMBERS // n_features)
    total = torch.zeros((), dtype=torch.float64, device=device)
    for start in range(0, n_samples, rows):
        features, targets, weights = _chunk(device, samples, slice(start, start + rows), dtype)
        squares = (targets - features @ weight - bias).square_().sum(1, dtype=torch.float64)
        total += squares.sum() if weights is None else squares @ weights.double()
    return float(total.item() / n_samples)


def _chunk(
    device: torch.device, samples: Samples, rows: slice, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor | None]:
    features, targets = (to_tensor(table[rows]).to(device, dtype) for table in (samples.features, samples.targets))
    weights = None if samples.weights is None else to_tensor(samples.weights[rows]).to(device, dtype)
    return features, targets, weights
