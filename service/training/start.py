"""Where a descent starts at random, drawn as torch draws it."""

import numpy as np
import torch
from numpy.typing import NDArray

from service.hyperparameters import Hyperparameters
from service.parameters import Layout, n_parameters

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
