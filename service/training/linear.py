"""The model behind linear and logistic regression: outputs = features · weightᵀ + bias."""

import torch
from torch import Tensor

from service.parameters import Layout, slices
from service.training.losses import Loss


class LinearModel:
    """Evaluates loss and gradient at a flat parameter vector, with the gradient derived by hand.

    Args:
        layout: one layer, (n_outputs, n_features).
        loss: the mean loss and its derivative by the outputs.
        l2: the penalty l2 / 2 · Σ weight² is part of the gradient, and not of the loss.
        frozen: which entries of the flat vector are never updated, as a mask of shape (n_parameters,), or None.
    """

    def __init__(self, layout: Layout, loss: Loss, l2: float, frozen: Tensor | None) -> None:
        ((self._weight, self._bias),) = slices(layout)
        (self._shape,) = layout
        self._loss = loss
        self._l2 = l2
        self._frozen = frozen

    def outputs(self, parameters: Tensor, features: Tensor) -> Tensor:
        """Give the outputs, (n_samples, n_outputs), at a flat parameter vector."""
        return torch.addmm(parameters[self._bias], features, parameters[self._weight].view(self._shape).T)

    def loss_and_gradient(self, parameters: Tensor, features: Tensor, targets: Tensor, gradient: Tensor) -> Tensor:
        """Write the gradient of the objective into `gradient`, (n_parameters,), and give the mean loss, a scalar."""
        loss, derivative = self._loss(self.outputs(parameters, features), targets)
        torch.mm(derivative.T, features, out=gradient[self._weight].view(self._shape))
        torch.sum(derivative, 0, out=gradient[self._bias])
        if self._l2:
            gradient[self._weight].add_(parameters[self._weight], alpha=self._l2)
        if self._frozen is not None:
            gradient.masked_fill_(self._frozen, 0.0)
        return loss
