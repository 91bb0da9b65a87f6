"""One sample of a linear model, quicker than a table of samples, and to the last bit the same."""

import sys
from collections.abc import Sequence

import numpy as np

from service.parameters import Layer
from service.ranges import FeatureRanges

LARGEST = 1e40
"""Features are to be smaller than this, so that no sum overflows."""


class Line:
    """A layer that nothing follows, for samples within what training saw.

    Args:
        layer: in the units of the features.
        ranges: of the features, where they are known.
    """

    def __init__(self, layer: Layer, ranges: FeatureRanges | None) -> None:
        # As `service.outputs.affine` has them: the sums of the products are then its own.
        self._weight = layer.weight.T.astype(np.float64)
        self._bias: list[float] = layer.bias.astype(np.float64).tolist()
        self._ranges: list[tuple[float, float]] = [(-LARGEST, LARGEST)] * len(self._weight)
        if ranges is not None:
            self._ranges = list(zip(ranges.lowest.tolist(), ranges.highest.tolist(), strict=True))

    def never_overflows(self) -> bool:
        """Tell whether no features below `LARGEST` have an output beyond the largest number."""
        with np.errstate(over="ignore"):
            sums = np.abs(self._weight).sum(axis=0) * LARGEST + np.abs(self._bias)
        return bool((sums < sys.float_info.max / 2).all())

    def outputs(self, sample: Sequence[float]) -> list[float] | None:
        """Apply the layer to features; None when one of them is beyond what training saw."""
        for value, (lowest, highest) in zip(sample, self._ranges, strict=True):
            if not lowest <= value <= highest:
                return None
        (sums,) = (np.array((sample,)) @ self._weight).tolist()
        return [its + bias for its, bias in zip(sums, self._bias, strict=True)]
