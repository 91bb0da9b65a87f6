"""Optimizers: how a gradient becomes a step, with the updates and the defaults of torch.optim.

All update one flat parameter vector in place, keep what they need from the first step on, and leave the gradient as
it is. They never wait for the device. An entry whose gradient is always 0 stays where it is, but for weight decay.

What is a number here is multiplied in as a tensor without dimensions where it can be: a Python number costs an
operation more, and small problems spend their time on operations, not on arithmetic.
"""

from typing import Protocol

import torch
from torch import Tensor

from service.hyperparameters import Hyperparameters
from service.training.checkpoint import Saved, State, to_tensor

BETA_MEAN, BETA_SQUARE = 0.9, 0.999
"""Shares of adam's mean gradient and mean square that are kept at each step."""
RMSPROP_ALPHA = 0.99
EPSILON = 1e-8
ADAGRAD_EPSILON = 1e-10
WEIGHT_DECAY = 0.01


class Optimizer(Protocol):
    """Takes steps; made for one parameter vector, whose shape, dtype and device it learns at the first."""

    def step(self, parameters: Tensor, gradient: Tensor, learning_rate: float) -> None:
        """Update the parameters in place.

        Args:
            parameters: a flat vector of shape (n_parameters,), the same at every call.
            gradient: of the same shape, dtype and device; not modified.
            learning_rate: of this step.
        """

    def state(self) -> State:
        """Give what later steps depend on; nothing before the first."""

    def restore(self, saved: Saved, parameters: Tensor) -> None:
        """Go on from a state, with this vector."""


class SGD:
    """velocity ← momentum · velocity + (1 - dampening) · gradient; parameters ← parameters - learning_rate · velocity.

    Sutskever et al. (2013), On the importance of initialization and momentum in deep learning, in torch's form: the
    learning rate multiplies the velocity, and the first velocity is the first gradient, undampened. With nesterov,
    gradient + momentum · velocity takes the velocity's place.
    """

    def __init__(self, momentum: float = 0.0, dampening: float = 0.0, nesterov: bool = False) -> None:
        self._momentum = momentum
        self._dampening = dampening
        self._nesterov = nesterov
        self._velocity: Tensor | None = None
        """Divided by 1 - dampening, so that one operation updates it."""

    def step(self, parameters: Tensor, gradient: Tensor, learning_rate: float) -> None:
        """Update the parameters in place."""
        if not self._momentum:
            parameters.add_(gradient, alpha=-learning_rate)
            return
        if self._velocity is None:
            self._velocity = gradient / (1 - self._dampening)
        else:
            torch.add(gradient, self._velocity, alpha=self._momentum, out=self._velocity)
        if self._nesterov:
            parameters.add_(gradient, alpha=-learning_rate)
            parameters.add_(self._velocity, alpha=-learning_rate * self._momentum)
        else:
            parameters.add_(self._velocity, alpha=-learning_rate * (1 - self._dampening))

    def state(self) -> State:
        """Give what later steps depend on."""
        return {} if self._velocity is None else {"velocity": self._velocity}

    def restore(self, saved: Saved, parameters: Tensor) -> None:
        """Go on from a state."""
        self._velocity = to_tensor(saved["velocity"], parameters.device) if saved else None


class Adam:
    """A step along the mean gradient over the root of the mean square, both corrected for their start at zero.

    Kingma and Ba (2015), Adam: a method for stochastic optimization, algorithm 1, with the corrections moved from the
    vectors to the learning rate and ε, as in the end of its section 2.
    """

    def __init__(self) -> None:
        self._n_steps = 0
        self._mean = self._square = self._root = self._keep = self._epsilon = torch.empty(0)

    def step(self, parameters: Tensor, gradient: Tensor, learning_rate: float) -> None:
        """Update the parameters in place."""
        if self._n_steps == 0:
            self._begin(torch.zeros_like(gradient), torch.zeros_like(gradient))
        self._n_steps += 1
        self._mean.lerp_(gradient, 1 - BETA_MEAN)
        self._square.mul_(self._keep).addcmul_(gradient, gradient, value=1 - BETA_SQUARE)
        correction = (1 - BETA_SQUARE**self._n_steps) ** 0.5
        torch.sqrt(self._square, out=self._root).add_(self._epsilon, alpha=correction)
        corrected = learning_rate * correction / (1 - BETA_MEAN**self._n_steps)
        parameters.addcdiv_(self._mean, self._root, value=-corrected)

    def _begin(self, mean: Tensor, square: Tensor) -> None:
        self._mean, self._square, self._root = mean, square, torch.empty_like(mean)
        self._keep, self._epsilon = _number(BETA_SQUARE, mean), _number(EPSILON, mean)

    def state(self) -> State:
        """Give what later steps depend on."""
        return {"n_steps": self._n_steps, "mean": self._mean, "square": self._square} if self._n_steps else {}

    def restore(self, saved: Saved, parameters: Tensor) -> None:
        """Go on from a state."""
        if saved:
            self._n_steps = saved["n_steps"].item()
            self._begin(*(to_tensor(saved[name], parameters.device) for name in ("mean", "square")))


class AdamW(Adam):
    """Adam, after shrinking the parameters by the share learning_rate · 0.01.

    Loshchilov and Hutter (2019), Decoupled weight decay regularization.

    Args:
        frozen: which entries do not decay, of shape (n_parameters,); None when all do.
    """

    def __init__(self, frozen: Tensor | None = None) -> None:
        super().__init__()
        self._frozen = frozen
        self._learns: Tensor | None = None

    def step(self, parameters: Tensor, gradient: Tensor, learning_rate: float) -> None:
        """Update the parameters in place."""
        if self._learns is None and self._frozen is not None:
            self._learns = self._frozen.logical_not().to(parameters)
        decay = learning_rate * WEIGHT_DECAY
        if self._learns is None:
            parameters.add_(parameters, alpha=-decay)
        else:
            parameters.addcmul_(parameters, self._learns, value=-decay)
        super().step(parameters, gradient, learning_rate)


class RMSprop:
    """A step along the gradient over the root of its mean square.

    Tieleman and Hinton (2012), Neural networks for machine learning, lecture 6.5.
    """

    def __init__(self) -> None:
        self._square: Tensor | None = None
        self._root = self._keep = self._epsilon = torch.empty(0)

    def step(self, parameters: Tensor, gradient: Tensor, learning_rate: float) -> None:
        """Update the parameters in place."""
        if self._square is None:
            self._square = torch.zeros_like(gradient)
        if not len(self._root):
            self._root = torch.empty_like(gradient)
            self._keep, self._epsilon = _number(RMSPROP_ALPHA, gradient), _number(EPSILON, gradient)
        self._square.mul_(self._keep).addcmul_(gradient, gradient, value=1 - RMSPROP_ALPHA)
        torch.sqrt(self._square, out=self._root).add_(self._epsilon)
        parameters.addcdiv_(gradient, self._root, value=-learning_rate)

    def state(self) -> State:
        """Give what later steps depend on."""
        return {} if self._square is None else {"square": self._square}

    def restore(self, saved: Saved, parameters: Tensor) -> None:
        """Go on from a state."""
        self._square = to_tensor(saved["square"], parameters.device) if saved else None


class Adagrad:
    """A step along the gradient over the root of the sum of its squares.

    Duchi, Hazan and Singer (2011), Adaptive subgradient methods for online learning and stochastic optimization.
    """

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._root = self._epsilon = torch.empty(0)

    def step(self, parameters: Tensor, gradient: Tensor, learning_rate: float) -> None:
        """Update the parameters in place."""
        if self._sum is None:
            self._sum = torch.zeros_like(gradient)
        if not len(self._root):
            self._root = torch.empty_like(gradient)
            self._epsilon = _number(ADAGRAD_EPSILON, gradient)
        self._sum.addcmul_(gradient, gradient)
        torch.sqrt(self._sum, out=self._root).add_(self._epsilon)
        parameters.addcdiv_(gradient, self._root, value=-learning_rate)

    def state(self) -> State:
        """Give what later steps depend on."""
        return {} if self._sum is None else {"sum": self._sum}

    def restore(self, saved: Saved, parameters: Tensor) -> None:
        """Go on from a state."""
        self._sum = to_tensor(saved["sum"], parameters.device) if saved else None


def make_optimizer(hyperparameters: Hyperparameters, frozen: Tensor | None) -> Optimizer:
    """Make an optimizer of ours; `frozen`, of shape (n_parameters,), marks entries whose gradient is 0.

    Raises:
        ValueError: for lbfgs, which is no such optimizer: it evaluates.
    """
    match hyperparameters.optimizer:
        case "sgd":
            return SGD(hyperparameters.momentum, hyperparameters.dampening, hyperparameters.nesterov)
        case "adam":
            return Adam()
        case "adamw":
            return AdamW(frozen)
        case "rmsprop":
            return RMSprop()
        case "adagrad":
            return Adagrad()
    raise ValueError(f"{hyperparameters.optimizer} does not step along a gradient that is given")


def _number(value: float, like: Tensor) -> Tensor:
    """Give a tensor without dimensions; on the CPU, whence a GPU takes it as a number, without a copy to wait for."""
    return torch.tensor(value, dtype=like.dtype)
