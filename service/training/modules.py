"""The model of the autograd engine: torch's own modules and losses, for perceptrons, and for any other as an oracle."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from service.hyperparameters import ActivationName, Hyperparameters
from service.parameters import Layout, slices
from service.tasks import LossName
from service.training.batches import Batch, BatchSource, aligned, samples_last, to_tensor, weights_of
from service.training.samples import Samples

ACTIVATIONS: dict[ActivationName, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
WORTH_TURNING = 256
"""From so many samples on, a softmax costs more than turning the outputs before and after it."""


def _half_mse(outputs: Tensor, targets: Tensor, reduction: str) -> Tensor:
    return functional.mse_loss(outputs, targets, reduction=reduction) / 2


def _cross_entropy(outputs: Tensor, targets: Tensor, reduction: str) -> Tensor:
    """Do what torch's own does; for many samples three times as fast, for its softmax is slow along short rows."""
    if outputs.device.type != "cpu" or len(outputs) < WORTH_TURNING:
        return functional.cross_entropy(outputs, targets, reduction=reduction)
    logarithms = functional.log_softmax(outputs.T.contiguous(), 0)
    return functional.nll_loss(logarithms.T, targets, reduction=reduction)


LOSSES: dict[LossName, Callable[..., Tensor]] = {
    "mse": functional.mse_loss,
    "half_mse": _half_mse,
    "mae": functional.l1_loss,
    "huber": functional.huber_loss,
    "binary_cross_entropy": functional.binary_cross_entropy_with_logits,
    "cross_entropy": _cross_entropy,
}


class Dropout(nn.Module):
    """torch.nn.Dropout, drawing from a generator of its own."""

    def __init__(self, share: float, generator: torch.Generator) -> None:
        super().__init__()
        self._kept = 1 - share
        self._generator = generator

    def forward(self, inputs: Tensor) -> Tensor:
        """Leave out units at random while training, and make up for it in the size of the others."""
        if not self.training:
            return inputs
        mask = torch.empty_like(inputs).bernoulli_(self._kept, generator=self._generator)
        return inputs * mask.div_(self._kept)


class ModuleModel:
    """Evaluates loss and gradient with autograd; see `descent.Model`.

    Args:
        layout: the shape of each layer.
        train, validation: scaled samples.
        hyperparameters: of the plan.
        frozen: which parameters never learn, (n_parameters,), or None.
    """

    order: NDArray[np.int64] | None = None
    is_capturable = False

    def __init__(
        self,
        layout: Layout,
        train: Samples,
        validation: Samples | None,
        hyperparameters: Hyperparameters,
        frozen: NDArray[np.bool_] | None,
    ) -> None:
        given = hyperparameters
        assert given.loss is not None
        self._loss_name, self._loss = given.loss, LOSSES[given.loss]
        self._l1, self._l2 = given.l1, given.l2
        self._dtype_name, self.dtype = given.dtype, getattr(torch, given.dtype)
        self.device = torch.device(given.device)
        self.n_samples, self.batch_size = len(train), min(given.batch_size or len(train), len(train))
        self.is_noisy = given.dropout > 0
        self.validates = validation is not None
        self.frozen = None if frozen is None else torch.from_numpy(frozen).to(self.device)
        self._train = self._source(train)
        self._blocks = self._train.blocks()
        self._validation_blocks = [] if validation is None else self._source(validation).blocks()
        self.generator = torch.Generator(self.device).manual_seed((given.seed or 0) + 1) if given.dropout else None
        self._module, self._linears = _module(layout, given, self.generator, self.dtype)
        self._slices = list(slices(layout))
        self._bound: Tensor | None = None

    def evaluate(self, parameters: Tensor, gradient: Tensor, loss: Tensor) -> None:
        """Write the mean loss of the training samples, a scalar, and the gradient of the objective there."""
        self._bind(parameters)
        self._module.eval()
        self._gradient.zero_()
        total = loss.zero_()
        for block in self._blocks:
            part = self._mean_loss(block) * (len(block) / self.n_samples)
            part.backward()  # type: ignore[no-untyped-call]
            total.add_(part.detach())
        self._add_penalty()
        gradient.copy_(self._gradient)

    def validation_loss(self, parameters: Tensor, loss: Tensor) -> None:
        """Write the mean loss of the validation samples, a scalar."""
        self._bind(parameters)
        self._module.eval()
        n = sum(map(len, self._validation_blocks))
        loss.zero_()
        with torch.no_grad():
            for block in self._validation_blocks:
                loss.add_(self._mean_loss(block), alpha=len(block) / n)

    def gradients(self, parameters: Tensor, gradient: Tensor, order: Tensor | None, n_done: int = 0) -> Iterator[int]:
        """Go through the training samples, but the first `n_done`, and write the gradient of each mini-batch.

        Yields:
            How many samples the batch has whose gradient has just been written.
        """
        self._bind(parameters)
        self._module.train()
        for batch in self._train.batches(self.batch_size, order, n_done):
            self._gradient.zero_()
            self._mean_loss(batch).backward()  # type: ignore[no-untyped-call]
            self._add_penalty()
            gradient.copy_(self._gradient)
            yield len(batch)

    def penalty(self, parameters: Tensor) -> Tensor:
        """Give l2 / 2 · Σ weight² + l1 · Σ |weight|."""
        self._bind(parameters)
        with torch.no_grad():
            return self._penalty()

    def _bind(self, parameters: Tensor) -> None:
        """Let the modules' parameters and gradients be views of flat vectors, so that nothing is copied to them."""
        if self._bound is parameters:
            return
        self._bound = parameters
        self._gradient = torch.zeros_like(parameters)
        for linear, parts in zip(self._linears, self._slices, strict=True):
            for name, part in zip(("weight", "bias"), parts, strict=True):
                shape = getattr(linear, name).shape
                parameter = nn.Parameter(parameters[part].view(shape))
                if self.frozen is not None and bool(self.frozen[part].all()):
                    parameter.requires_grad_(False)
                else:
                    parameter.grad = self._gradient[part].view(shape)
                setattr(linear, name, parameter)

    def _mean_loss(self, batch: Batch) -> Tensor:
        assert batch.targets is not None
        outputs = self._module(batch.features)
        targets = batch.targets if self._loss_name == "cross_entropy" else batch.targets.T
        if batch.weights is None:
            return self._loss(outputs, targets, reduction="mean")
        terms = self._loss(outputs, targets, reduction="none")
        return (terms if terms.dim() == 1 else terms.mean(1)).mul(batch.weights).mean()

    def _add_penalty(self) -> None:
        penalty = self._penalty() if self._l1 or self._l2 else None
        if penalty is not None and penalty.requires_grad:  # unless all weights are frozen
            penalty.backward()  # type: ignore[no-untyped-call]

    def _penalty(self) -> Tensor:
        weights = [linear.weight for linear in self._linears]
        zero = torch.zeros((), dtype=self.dtype, device=self.device)
        squares = sum((weight.square().sum() for weight in weights), zero)
        return self._l2 / 2 * squares + self._l1 * sum((weight.abs().sum() for weight in weights), zero)

    def _source(self, samples: Samples) -> BatchSource:
        is_class = self._loss_name == "cross_entropy"
        targets = samples_last(samples.targets, np.int64 if is_class else self._dtype_name)
        weights = weights_of(samples, self._dtype_name)
        return BatchSource(
            aligned(to_tensor(samples.features).to(self.device, self.dtype)),
            to_tensor(targets[0] if is_class else targets).to(self.device),
            None if weights is None else weights.to(self.device),
        )


def _module(
    layout: Layout, given: Hyperparameters, generator: torch.Generator | None, dtype: torch.dtype
) -> tuple[nn.Sequential, list[nn.Linear]]:
    """Make the layers, and give beside them those with parameters."""
    linears = [nn.Linear(n_inputs, n_outputs, device="meta", dtype=dtype) for n_outputs, n_inputs in layout]
    module = nn.Sequential(linears[0])
    for linear in linears[1:]:
        module.append(ACTIVATIONS[given.activation]())
        if generator is not None:
            module.append(Dropout(given.dropout, generator))
        module.append(linear)
    return module, linears
