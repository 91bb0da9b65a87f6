"""The losses of the analytic engine: values and derivatives by the outputs, by hand, and in place.

Each works on a table of outputs, (n_outputs, n_samples) or (n_samples,) for one output, and turns it into the
derivative of the summed loss by them; means are the caller's. Samples come last, for torch's softmax is thirty times
faster across the rows of a table than within them. Weights, (n_samples,) or None, multiply a sample's loss.
"""

import functools
from typing import Any, Protocol

import torch
from torch import Tensor

from service.tasks import LossName

Targets = Any
"""A tensor with the samples last; None for a binary cross-entropy whose features carry them."""
EXACT = 40.0
"""Beyond it log(1 + exp(z)) is z, also in float64."""


class Loss(Protocol):
    """A loss; `per_output` ones are means over outputs as well as samples."""

    per_output: bool

    def value_(self, outputs: Tensor, targets: Targets, weights: Tensor | None, scratch: Tensor, total: Tensor) -> None:
        """Write the summed loss to `total`, a scalar, and turn `outputs` into the derivative; `scratch` is as large."""
        ...

    def derivative_(self, outputs: Tensor, targets: Targets, weights: Tensor | None) -> None:
        """Turn `outputs` into the derivative."""
        ...


def _sum(terms: Tensor, weights: Tensor | None, total: Tensor) -> None:
    if weights is not None:
        terms.mul_(weights)
    torch.sum(terms, _AXES[terms.dim()], out=total)


_AXES = ((), (0,), (0, 1))


class SquaredError:
    """`share` · (output - target)²; mse has share 1, half_mse ½."""

    per_output = True

    def __init__(self, share: float) -> None:
        self._share = share

    def value_(self, outputs: Tensor, targets: Targets, weights: Tensor | None, scratch: Tensor, total: Tensor) -> None:
        """See `Loss`."""
        outputs.sub_(targets)
        torch.square(outputs, out=scratch)
        if self._share != 1:
            scratch.mul_(self._share)
        _sum(scratch, weights, total)
        self._weigh(outputs, weights)

    def derivative_(self, outputs: Tensor, targets: Targets, weights: Tensor | None) -> None:
        """See `Loss`."""
        outputs.sub_(targets)
        self._weigh(outputs, weights)

    def _weigh(self, residuals: Tensor, weights: Tensor | None) -> None:
        if self._share != 0.5:
            residuals.mul_(2 * self._share)
        if weights is not None:
            residuals.mul_(weights)


class AbsoluteError:
    """|output - target|, whose derivative where it has none is taken as 0."""

    per_output = True

    def value_(self, outputs: Tensor, targets: Targets, weights: Tensor | None, scratch: Tensor, total: Tensor) -> None:
        """See `Loss`."""
        torch.sub(outputs, targets, out=scratch)
        _sum(scratch.abs_(), weights, total)
        self.derivative_(outputs, targets, weights)

    def derivative_(self, outputs: Tensor, targets: Targets, weights: Tensor | None) -> None:
        """See `Loss`."""
        outputs.sub_(targets).sign_()
        if weights is not None:
            outputs.mul_(weights)


class Huber:
    """½ r² for |r| up to 1 and |r| - ½ beyond, r being output - target (Huber 1964)."""

    per_output = True

    def value_(self, outputs: Tensor, targets: Targets, weights: Tensor | None, scratch: Tensor, total: Tensor) -> None:
        """See `Loss`."""
        outputs.sub_(targets)
        torch.clamp(outputs, -1.0, 1.0, out=scratch)
        outputs.addcmul_(scratch, scratch.new_full((), -0.5)).mul_(scratch)  # (r - c/2) c
        _sum(outputs, weights, total)
        outputs.copy_(scratch)
        if weights is not None:
            outputs.mul_(weights)

    def derivative_(self, outputs: Tensor, targets: Targets, weights: Tensor | None) -> None:
        """See `Loss`."""
        outputs.sub_(targets).clamp_(-1.0, 1.0)
        if weights is not None:
            outputs.mul_(weights)


class BinaryCrossEntropy:
    """log(1 + exp(z)) for z = -output where the sample is of the second class, else z = output, in nats.

    `targets` are the signs that turn an output into z; without them (None), the features have been signed already,
    and outputs are z. Small probabilities keep all their digits this way.
    """

    per_output = False

    def value_(self, outputs: Tensor, targets: Targets, weights: Tensor | None, scratch: Tensor, total: Tensor) -> None:
        """See `Loss`."""
        if targets is not None:
            outputs.mul_(targets)
        torch._C._nn.softplus(outputs, 1.0, EXACT, out=scratch)  # type: ignore[call-arg]  # its stub lacks out
        _sum(scratch, weights, total)
        self._derive(outputs, targets, weights)

    def derivative_(self, outputs: Tensor, targets: Targets, weights: Tensor | None) -> None:
        """See `Loss`."""
        if targets is not None:
            outputs.mul_(targets)
        self._derive(outputs, targets, weights)

    def _derive(self, outputs: Tensor, targets: Targets, weights: Tensor | None) -> None:
        outputs.sigmoid_()
        if targets is not None:
            outputs.mul_(targets)
        if weights is not None:
            outputs.mul_(weights)


class CrossEntropy:
    """-log softmax(outputs) at the sample's class, in nats; `targets` are class codes, (1, n_samples) of int64."""

    per_output = False

    def value_(self, outputs: Tensor, targets: Targets, weights: Tensor | None, scratch: Tensor, total: Tensor) -> None:
        """See `Loss`."""
        torch.log_softmax(outputs, 0, out=scratch)
        of_class = scratch.gather(0, targets)
        _sum(of_class.neg_(), weights, total)
        torch.exp(scratch, out=outputs)
        self._derive(outputs, targets, weights)

    def derivative_(self, outputs: Tensor, targets: Targets, weights: Tensor | None) -> None:
        """See `Loss`."""
        torch.softmax(outputs, 0, out=outputs)
        self._derive(outputs, targets, weights)

    def _derive(self, probabilities: Tensor, targets: Targets, weights: Tensor | None) -> None:
        probabilities.scatter_add_(0, targets, _minus_one(probabilities.dtype, probabilities.device).expand_as(targets))
        if weights is not None:
            probabilities.mul_(weights)


@functools.cache
def _minus_one(dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.full((), -1.0, dtype=dtype, device=device)


LOSSES: dict[LossName, Loss] = {
    "mse": SquaredError(1.0),
    "half_mse": SquaredError(0.5),
    "mae": AbsoluteError(),
    "huber": Huber(),
    "binary_cross_entropy": BinaryCrossEntropy(),
    "cross_entropy": CrossEntropy(),
}
