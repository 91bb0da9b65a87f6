"""What the outcome of a training depends on beside the request: with the same, it comes out the same in every bit."""

import functools
import platform
from importlib.metadata import version
from typing import Any

import torch

from service import __version__
from service.hyperparameters import Hyperparameters
from service.training.native.library import LIBRARY
from service.training.threads import n_threads_for


def environment_of(dataset_sha256: str, n_numbers: int, hyperparameters: Hyperparameters) -> dict[str, Any]:
    """Describe the dataset, the hardware and the software of a training on this machine, as JSON values.

    Args:
        dataset_sha256: of the dataset as it is kept.
        n_numbers: how many its features are.
        hyperparameters: of the plan.
    """
    device = torch.device(hyperparameters.device)
    return {
        "dataset_sha256": dataset_sha256,
        "seed": hyperparameters.seed,
        "dtype": hyperparameters.dtype,
        "device": hyperparameters.device,
        "processor": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "sweep": "numpy" if LIBRARY is None else LIBRARY.instructions,
        "n_threads": n_threads_for(n_numbers),
        "versions": dict(_versions()),
    }


@functools.cache
def _versions() -> dict[str, str]:
    """Give the versions of the software, which are looked up in files."""
    return {
        "descent": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
    }
