"""Where a descent starts."""

import numpy as np
import torch
from torch import Tensor

from service.hyperparameters import Hyperparameters, StartValues
from service.parameters import Layout, flatten, n_parameters
from service.plan import start_layers


def start_vector(hyperparameters: Hyperparameters, layout: Layout) -> Tensor:
    """Give the parameters before the first step, as a flat float64 vector of shape (n_parameters,).

    Draws are made in float32, torch's default, whatever the dtype of the training: a seed means one start.
    """
    start = hyperparameters.start
    if isinstance(start, StartValues):
        return torch.from_numpy(flatten(start_layers(start, layout)))
    if start == "zeros":
        return torch.zeros(n_parameters(layout), dtype=torch.float64)
    seed = hyperparameters.seed or 0
    if start == "uniform":
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(n_parameters(layout), generator=generator).double() * 2 - 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [torch.nn.Linear(n_inputs, n_outputs) for n_outputs, n_inputs in layout]
    parts = [part.detach().ravel() for layer in layers for part in (layer.weight, layer.bias)]
    return torch.cat(parts).double()


def frozen_mask(hyperparameters: Hyperparameters, layout: Layout) -> Tensor | None:
    """Mark the frozen entries of the flat vector, or give None when all of them learn."""
    if not hyperparameters.frozen:
        return None
    parts = [
        np.full(size, name in hyperparameters.frozen)
        for n_outputs, n_inputs in layout
        for name, size in (("weight", n_outputs * n_inputs), ("bias", n_outputs))
    ]
    return torch.from_numpy(np.concatenate(parts))
