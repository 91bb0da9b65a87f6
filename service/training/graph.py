"""CUDA graphs: the many small operations of an evaluation, launched as one."""

from collections.abc import Callable

import torch
from torch import Tensor

Evaluate = Callable[[Tensor, Tensor, Tensor], None]
"""From parameters, it writes the gradient of the objective and the loss."""

WARM_UPS = 3
"""Evaluations before the capture, in which libraries take the work space that they keep."""


def captured(evaluate: Evaluate, parameters: Tensor) -> Evaluate:
    """Capture an evaluation as one graph, for data so small that launching its operations is most of the time.

    Args:
        evaluate: uses the same memory at each call, and never waits for the device.
        parameters: on a CUDA device; what is given evaluates there, at whatever values they then have.
    """
    device = parameters.device
    gradient, loss = torch.empty_like(parameters), parameters.new_empty(())
    with torch.cuda.device(device):
        beside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(beside):
            for _ in range(WARM_UPS):
                evaluate(parameters, gradient, loss)
        torch.cuda.current_stream(device).wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            evaluate(parameters, gradient, loss)

    def replay(_: Tensor, its_gradient: Tensor, its_loss: Tensor) -> None:
        graph.replay()
        its_gradient.copy_(gradient)
        its_loss.copy_(loss)

    return replay
