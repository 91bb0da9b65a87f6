"""Checkpoints: where a descent stands, as named arrays, to go on from there as if it had never been interrupted.

What has a state gives it as numbers, arrays and tensors by name, and takes it back as arrays; what has parts puts the
name of the part and a dot before each of theirs. Numbers are arrays without dimensions: no digit of a float is lost.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

FORMAT = "1"
"""Changes whenever a state has other names or another meaning: checkpoints of another format are of no use."""

State = dict[str, Tensor | NDArray[Any] | float]
Saved = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """Where a training stands after a block.

    `training` is the fingerprint of the training it belongs to, `progress` counts the epochs done, and `last_recorded`
    is the last epoch that had been given out in blocks, -1 before the first.
    """

    training: str
    progress: float
    last_recorded: int
    state: Saved

    def to_bytes(self) -> bytes:
        """Write it as safetensors."""
        about = {
            "format": FORMAT,
            "training": self.training,
            "progress": self.progress.hex(),
            "last_recorded": str(self.last_recorded),
        }
        return bytes(safetensors.numpy.save(self.state, about))

    @classmethod
    def from_bytes(cls, content: bytes) -> "Checkpoint | None":
        """Read what `to_bytes` wrote; None when it is of another format, or no checkpoint at all."""
        try:
            state = safetensors.numpy.load(content)
        except safetensors.SafetensorError:
            return None
        about = _about(content)
        if about.get("format") != FORMAT:
            return None
        return cls(about["training"], float.fromhex(about["progress"]), int(about["last_recorded"]), state)


def _about(content: bytes) -> dict[str, str]:
    """Read the texts in the header; safetensors itself gives them for files only."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    about: dict[str, str] = header.get("__metadata__", {})
    return about


def within(name: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """Put the name of a part before each name of its state."""
    return {f"{name}.{key}": value for key, value in state.items()}


def part_of(saved: Saved, name: str) -> Saved:
    """Give the state of a part, by the part's own names."""
    return {key.removeprefix(f"{name}."): value for key, value in saved.items() if key.startswith(f"{name}.")}


def as_saved(state: State) -> Saved:
    """Copy a state, which its owner is going to change."""
    return {
        name: value.detach().cpu().numpy().copy() if isinstance(value, Tensor) else np.array(value, order="C")
        for name, value in state.items()
    }


def to_tensor(value: NDArray[Any], device: torch.device) -> Tensor:
    """Copy an array to memory of torch's own: products depend on how memory is aligned."""
    return torch.from_numpy(value.copy()).to(device, copy=True)
