"""The passes of the exact engine on a GPU: the sums of `moments` and `quadratic`, by torch, a chunk at a time."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.training.batches import to_tensor
from service.training.moments import Moments
from service.training.samples import Samples

CHUNK_NUMBERS = 2**24
"""So many numbers are on the device at once; products of them are summed across chunks in float64."""


def moments_on(device: torch.device, samples: Samples) -> Moments:
    """Take the moments of samples; see `moments.moments`. What overflows leaves infinities or NaN behind."""
    n_samples, n_features = samples.features.shape
    dtype = to_tensor(samples.features[:0]).dtype
    rows = max(1, CHUNK_NUMBERS // (n_features + samples.targets.shape[1]))
    first = _chunk(device, samples, slice(0, rows), dtype)
    shift = tuple(table.double().mean(0).to(dtype) for table in first[:2])
    sums: list[Tensor] | None = None
    for start in range(0, n_samples, rows):
        features, targets, weights = _chunk(device, samples, slice(start, start + rows), dtype)
        features, targets = features - shift[0], targets - shift[1]
        ones = torch.ones(len(features), 1, dtype=dtype, device=device)
        answers = torch.hstack([targets, ones])
        if weights is not None:
            root = weights.sqrt()[:, None]
            features, answers = features * root, answers * root
        parts = [(features.T @ features).double(), (features.T @ answers).double(), (answers.T @ answers).double()]
        sums = parts if sums is None else [total.add_(part) for total, part in zip(sums, parts, strict=True)]
    assert sums is not None
    square, cross, target_square = (total.cpu().numpy() / n_samples for total in sums)
    means = [part.double().cpu().numpy() for part in shift]
    off, target_off = cross[:, -1], target_square[:-1, -1]
    with np.errstate(over="ignore", invalid="ignore"):
        return Moments(
            means[0] + off,
            means[1] + target_off,
            square - np.outer(off, off),
            cross[:, :-1] - np.outer(off, target_off),
            np.maximum(np.diag(target_square)[:-1] - target_off**2, 0.0),
            float(torch.finfo(dtype).eps),
        )


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
