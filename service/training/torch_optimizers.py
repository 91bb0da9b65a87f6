"""The optimizers of torch.optim, at work on one flat vector: see `optimizers` for ours, which small problems use."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from service.hyperparameters import Hyperparameters
from service.training.checkpoint import Saved, State, to_tensor

LBFGS_HISTORY = 100
LBFGS_TRIALS = 25
"""Evaluations in a line search before it takes the best so far, torch's own bound."""


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

    def state(self) -> State:
        """Give what later steps depend on."""
        return _state_of(self._optimizer)

    def restore(self, saved: Saved, parameters: Tensor) -> None:
        """Go on from a state."""
        assert parameters.data_ptr() == self._parameter.data_ptr()
        _restore(self._optimizer, saved)


class LBFGS:
    """torch.optim.LBFGS with its strong Wolfe line search, one iteration a step.

    Nocedal and Wright (2006), Numerical optimization, algorithms 7.5 and 3.5. It stands still where the gradient
    is 0, where rounding leaves it no way down, and where steps are so short that they underflow. When a trial of the
    line search is not finite, the search halves its way back, so that from finite parameters a step leads to finite
    ones.

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
        known = dict(self._optimizer.state[self._parameter])
        try:
            self._optimizer.step(closure)  # type: ignore[no-untyped-call]  # torch leaves it without types
        except ZeroDivisionError:
            # By what a step so short has come to; torch has put the parameters back, and no state of this step is kept.
            self._optimizer.state[self._parameter] = known

    def state(self) -> State:
        """Give what later steps depend on; nothing before the first."""
        return _state_of(self._optimizer)

    def restore(self, saved: Saved, parameters: Tensor) -> None:
        """Go on from a state, with this vector."""
        assert parameters.data_ptr() == self._parameter.data_ptr()
        _restore(self._optimizer, saved)


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


def _state_of(optimizer: torch.optim.Optimizer) -> State:
    """Give the state of the one parameter there is, and tell tensors, numbers and lists of tensors from each other."""
    found: State = {}
    for state in optimizer.state.values():
        for name, value in state.items():
            if isinstance(value, list):
                found[f"length.{name}"] = len(value)
                found |= {f"item.{name}.{index}": item for index, item in enumerate(value) if item is not None}
            elif value is not None:
                found[f"{'tensor' if isinstance(value, Tensor) else 'number'}.{name}"] = value
    return found


def _restore(optimizer: torch.optim.Optimizer, saved: Saved) -> None:
    cpu = torch.device("cpu")  # from there the optimizer moves what it wants elsewhere
    state: dict[str, Any] = {}
    for key in sorted(saved, reverse=True):  # the length of a list before its items
        kind, name, *index = key.split(".")
        match kind:
            case "length":
                state[name] = [None] * saved[key].item()
            case "item":
                state[name][int(index[0])] = to_tensor(saved[key], cpu)
            case "tensor":
                state[name] = to_tensor(saved[key], cpu)
            case "number":
                state[name] = saved[key].item()
    if state:
        optimizer.load_state_dict({"state": {0: state}, "param_groups": optimizer.state_dict()["param_groups"]})
