"""Made-up tables, drawn in float32 from a fixed seed, so that nothing larger than the data is ever held."""

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float32]


def regression(n_samples: int, n_features: int) -> tuple[Table, Table]:
    """Draw standard normal features, (n_samples, n_features), and noisy linear targets, (n_samples,)."""
    features, outputs, draws = _outputs(n_samples, n_features, 1)
    return features, outputs[:, 0] + draws.standard_normal(n_samples, dtype=np.float32)


def classification(n_samples: int, n_features: int, n_classes: int) -> tuple[Table, Table]:
    """Draw standard normal features, (n_samples, n_features), and class codes, (n_samples,), by a softmax model."""
    features, outputs, draws = _outputs(n_samples, n_features, n_classes)
    uniform = draws.random(outputs.shape, dtype=np.float32)
    outputs -= np.log(-np.log(np.maximum(uniform, 1e-7)))  # Gumbel noise: the largest is a draw from the softmax
    return features, outputs.argmax(axis=1).astype(np.float32)


def _outputs(n_samples: int, n_features: int, n_outputs: int) -> tuple[Table, Table, np.random.Generator]:
    draws = np.random.default_rng(0)
    features = draws.standard_normal((n_samples, n_features), dtype=np.float32)
    weight = draws.standard_normal((n_features, n_outputs), dtype=np.float32) / np.float32(n_features**0.5)
    return features, features @ weight, draws
