"""Optimizers: how a gradient becomes a step, with the updates and the defaults of torch.optim.

All update one flat parameter vector in place, keep what they need from the first step on, and leave the gradient as
it is. They never wait for the device. An entry whose gradient is always 0 stays where it is, but for weight decay.

What is a number here is multiplied in as a tensor without dimensions where it can be: a Python number costs an
operation more, and small problems spend their time on operations, not on arithmetic.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from service.hyperparameters import Hyperparameters

BETA_MEAN, BETA_SQUARE = 0.9, 0.999
"""Shares of adam's mean gradient and mean square that are kept at each step."""
RMSPROP_ALPHA = 0.99
EPSILON = 1e-8
ADAGRAD_EPSILON = 1e-10
WEIGHT_DECAY = 0.01
LBFGS_HISTORY = 100
LBFGS_TRIALS = 25
"""Evaluations in a line search before it takes the best so far, torch's own bound."""


class Optimizer(Protocol):
    """Takes steps; made for one parameter vector, whose shape, dtype and device it learns at the first."""

    def step(self, parameters: Tensor, gradient: Tensor, learning_rate: float) -> None:
        """Update the parameters in place.

        Args:
            parameters: a flat vector of shape (n_parameters,), the same at every call.
            gradient: of the same shape, dtype and device; not modified.
            learning_rate: of this step.
        """


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
            self._mean, self._square = torch.zeros_like(gradient), torch.zeros_like(gradient)
            self._root = torch.empty_like(gradient)
            self._keep, self._epsilon = _number(BETA_SQUARE, gradient), _number(EPSILON, gradient)
        self._n_steps += 1
        self._mean.lerp_(gradient, 1 - BETA_MEAN)
        self._square.mul_(self._keep).addcmul_(gradient, gradient, value=1 - BETA_SQUARE)
        correction = (1 - BETA_SQUARE**self._n_steps) ** 0.5
        torch.sqrt(self._square, out=self._root).add_(self._epsilon, alpha=correction)
        corrected = learning_rate * correction / (1 - BETA_MEAN**self._n_steps)
        parameters.addcdiv_(self._mean, self._root, value=-corrected)


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
        if self._n_steps == 0 and self._frozen is not None:
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
            self._square, self._root = torch.zeros_like(gradient), torch.empty_like(gradient)
            self._keep, self._epsilon = _number(RMSPROP_ALPHA, gradient), _number(EPSILON, gradient)
        self._square.mul_(self._keep).addcmul_(gradient, gradient, value=1 - RMSPROP_ALPHA)
        torch.sqrt(self._square, out=self._root).add_(self._epsilon)
        parameters.addcdiv_(gradient, self._root, value=-learning_rate)


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
            self._sum, self._root = torch.zeros_like(gradient), torch.empty_like(gradient)
            self._epsilon = _number(ADAGRAD_EPSILON, gradient)
        self._sum.addcmul_(gradient, gradient)
        torch.sqrt(self._sum, out=self._root).add_(self._epsilon)
        parameters.addcdiv_(gradient, self._root, value=-learning_rate)


class TorchOptimizer:
    """An optimizer of torch.optim itself, working on the memory of the flat vector.

    Args:
        parameter: shares its memory with the vector that every step will be asked to update.
        optimizer: made for this one parameter.
        frozen: which entries keep the values they have now, of shape (n_parameters,); None when a gradient of 0 is
            enough to keep them.
    """

    def __init__(
        self, parameter: torch.nn.Parameter, optimizer: torch.optim.Optimizer, frozen: Tensor | None = None
    ) -> None:
        self._parameter = parameter
        self._optimizer = optimizer
        self._frozen = None if frozen is None else frozen.to(parameter.device)
        self._start = None if frozen is None else parameter.detach().clone()

    def step(self, parameters: Tensor, gradient: Tensor, learning_rate: float) -> None:
        """Update the parameters in place."""
        assert parameters.data_ptr() == self._parameter.data_ptr()
        self._parameter.grad = gradient
        self._optimizer.param_groups[0]["lr"] = learning_rate
        self._optimizer.step()
        if self._frozen is not None and self._start is not None:
            values = self._parameter.detach()
            torch.where(self._frozen, self._start, values, out=values)


class LBFGS:
    """torch.optim.LBFGS with its strong Wolfe line search, one iteration a step.

    Nocedal and Wright (2006), Numerical optimization, algorithms 7.5 and 3.5. It stands still where the gradient
    is 0, and where rounding leaves it no way down. When a trial of the line search is not finite, the search halves its
    way back, so that from finite parameters a step leads to finite ones.

    Args:
        parameters: the vector that every step will be asked to update.
    """

    def __init__(self, parameters: Tensor) -> None:
        self._parameter = torch.nn.Parameter(parameters.detach())
        self._optimizer = torch.optim.LBFGS(
            [self._parameter],
            max_iter=1,
            max_eval=1 + LBFGS_TRIALS,
            tolerance_grad=0.0,
            # With 0, a bracket that has shrunk to nothing would be divided by, and so would slopes whose square is 0.
            tolerance_change=torch.finfo(parameters.dtype).tiny ** 0.5,
            history_size=LBFGS_HISTORY,
            line_search_fn="strong_wolfe",
        )
        self._no_slope = torch.full_like(parameters, torch.nan)

    def step(self, parameters: Tensor, evaluate: Callable[[], tuple[Tensor, Tensor]], learning_rate: float) -> None:
        """Update the parameters in place, evaluating first where they are and then at each trial.

        Args:
            parameters: the vector it was made for.
            evaluate: gives the objective, without dimensions, and its gradient of shape (n_parameters,) at the current
                values of the parameters.
            learning_rate: the share of the proposed way that is tried first. The first step's proposal is the gradient,
                shortened until its absolute values sum to 1.
        """
        assert parameters.data_ptr() == self._parameter.data_ptr()

        def closure() -> float:
            objective, gradient = evaluate()
            if torch.isfinite(objective) and torch.isfinite(gradient).all():
                self._parameter.grad = gradient
                return float(objective)
            # Where interpolation is undefined, torch's line search takes the middle: just what is needed here.
            self._parameter.grad = self._no_slope
            return float("inf")

        self._optimizer.param_groups[0]["lr"] = learning_rate
        self._optimizer.step(closure)  # type: ignore[no-untyped-call]  # torch leaves it without types


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


def make_torch_optimizer(hyperparameters: Hyperparameters, parameters: Tensor, frozen: Tensor | None) -> TorchOptimizer:
    """Make torch's own optimizer for a flat vector; `frozen`, of shape (n_parameters,), marks entries that stay.

    Raises:
        ValueError: for lbfgs, which is no such optimizer: it evaluates.
    """
    given = hyperparameters
    vector = torch.nn.Parameter(parameters.detach())
    # On a single vector, fused is the fastest of torch's implementations, but for sgd, where foreach=False is.
    match given.optimizer:
        case "sgd":
            momentum, dampening, nesterov = given.momentum, given.dampening, given.nesterov
            sgd = torch.optim.SGD([vector], momentum=momentum, dampening=dampening, nesterov=nesterov, foreach=False)
            return TorchOptimizer(vector, sgd)
        case "adam":
            return TorchOptimizer(vector, torch.optim.Adam([vector], fused=True))
        case "adamw":
            return TorchOptimizer(vector, torch.optim.AdamW([vector], fused=True), frozen)
        case "rmsprop":
            return TorchOptimizer(vector, torch.optim.RMSprop([vector], foreach=False))
        case "adagrad":
            return TorchOptimizer(vector, torch.optim.Adagrad([vector], fused=True))
    raise ValueError(f"{given.optimizer} does not step along a gradient that is given")


def _number(value: float, like: Tensor) -> Tensor:
    """Give a tensor without dimensions; on the CPU, whence a GPU takes it as a number, without a copy to wait for."""
    return torch.tensor(value, dtype=like.dtype)
