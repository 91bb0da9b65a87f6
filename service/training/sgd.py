"""Stochastic gradient descent, with the update of torch.optim.SGD."""

import torch
from torch import Tensor


class SGD:
    """velocity ← momentum · velocity + gradient; parameters ← parameters - learning_rate · velocity.

    Sutskever et al. (2013), On the importance of initialization and momentum in deep learning, in torch's form: the
    learning rate multiplies the velocity, and the first velocity is the first gradient.
    """

    def __init__(self, learning_rate: float, momentum: float) -> None:
        self._learning_rate = learning_rate
        self._momentum = momentum
        self._velocity: Tensor | None = None

    def step(self, parameters: Tensor, gradient: Tensor) -> None:
        """Update the parameters in place; both are flat vectors."""
        if self._momentum:
            if self._velocity is None:
                self._velocity = torch.zeros_like(gradient)
            gradient = self._velocity.mul_(self._momentum).add_(gradient)
        parameters.add_(gradient, alpha=-self._learning_rate)
