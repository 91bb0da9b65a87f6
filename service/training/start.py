"""Where a descent starts at random, drawn as torch draws it, and which parameters stay where they start."""

import numpy as np
import torch
from numpy.typing import NDArray

from service.hyperparameters import Hyperparameters
from service.parameters import Layout, n_parameters, names, slices
from service.rules import is_frozen

Vector = NDArray[np.float64]


def draw_start(hyperparameters: Hyperparameters, layout: Layout) -> Vector:
    """Draw the start `uniform` or `torch`, a flat vector of shape (n_parameters,).

    Draws are made in float32, torch's default, whatever the dtype of the training: a seed means one start.
    """
    seed = hyperparameters.seed or 0
    if hyperparameters.start == "uniform":
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(n_parameters(layout), generator=generator).double().mul(2).sub(1).numpy()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed GPUs too
        layers = [torch.nn.Linear(n_inputs, n_outputs) for n_outputs, n_inputs in layout]
    parts = [part.detach().ravel() for layer in layers for part in (layer.weight, layer.bias)]
    return torch.cat(parts).double().numpy()


def frozen_mask(hyperparameters: Hyperparameters, layout: Layout) -> NDArray[np.bool_] | None:
    """Mark the entries of the flat vector that never learn, or give None when all of them do."""
    if not hyperparameters.frozen and hyperparameters.fit_intercept:
        return None
    mask = np.zeros(n_parameters(layout), dtype=bool)
    for pair, parts in zip(names(layout), slices(layout), strict=True):
        for name, part in zip(pair, parts, strict=True):
            mask[part] = is_frozen(hyperparameters, name)
    return mask
