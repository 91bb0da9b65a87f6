"""The nodes of an ONNX graph, added one after the other."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


class Nodes:
    """Nodes and the constants that they take; every value has a name that no column has."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(
        self,
        operator: str,
        *inputs: str,
        output: str | None = None,
        domain: str = "",
        **attributes: Any,
    ) -> str:
        """Add a node; give the name of its output."""
        output = output or self._name()
        self.nodes.append(helper.make_node(operator, inputs, [output], domain=domain, **attributes))
        return output

    def constant(self, value: NDArray[Any] | np.generic) -> str:
        """Add a constant; give its name."""
        name = self._name()
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def to_double(self, value: str) -> str:
        """Give a value as float64."""
        return self.add("Cast", value, to=TensorProto.DOUBLE)

    def affine(self, values: str, weight: NDArray[np.floating], bias: NDArray[np.floating]) -> str:
        """Apply a layer, whose parameters are kept in their own type, in float64."""
        weight, bias = np.ascontiguousarray(weight), np.ascontiguousarray(bias)
        return self.add("Gemm", values, *(self.to_double(self.constant(part)) for part in (weight, bias)), transB=1)

    def looked_up(self, values: str, codes: Mapping[str, int], otherwise: int = -1) -> str:
        """Give the code of each text."""
        keys, numbers = list(codes), list(codes.values())
        return self.add(
            "LabelEncoder",
            values,
            domain="ai.onnx.ml",
            keys_strings=keys,
            values_int64s=numbers,
            default_int64=otherwise,
        )

    def whole(self, number: int) -> str:
        """Add a whole number."""
        return self.constant(np.int64(number))

    def divided(self, values: str, by: int) -> str:
        """Divide whole numbers and round down, as `//` does; ONNX rounds towards 0."""
        return self.add("Div", self.add("Sub", values, self.remainder(values, by)), self.whole(by))

    def remainder(self, values: str, by: int) -> str:
        """Give what is left by `divided`, at least 0, as `%` does."""
        return self.add("Mod", values, self.whole(by))

    def plus(self, values: str, number: int) -> str:
        """Add a number to whole numbers."""
        return self.add("Add", values, self.whole(number))

    def times(self, values: str, number: int) -> str:
        """Multiply whole numbers."""
        return self.add("Mul", values, self.whole(number))

    def total(self, first: str, *others: str) -> str:
        """Sum up."""
        for other in others:
            first = self.add("Add", first, other)
        return first

    def minus(self, first: str, *others: str) -> str:
        """Take away from the first."""
        for other in others:
            first = self.add("Sub", first, other)
        return first

    def at_least(self, values: str, least: int) -> str:
        """Give 1 where whole numbers are at least so large, and 0 elsewhere."""
        return self.add("Cast", self.add("GreaterOrEqual", values, self.whole(least)), to=TensorProto.INT64)

    def is_multiple(self, values: str, of: int) -> str:
        """Give 1 where whole numbers are multiples, and 0 elsewhere."""
        return self.add("Cast", self.add("Equal", self.remainder(values, of), self.whole(0)), to=TensorProto.INT64)

    def _name(self) -> str:
        # Columns have no control characters in their names.
        return f"\x1f{len(self.nodes) + len(self.constants)}"
