"""A vector of parameters by itself: the biases of units, or what moves beside the parameters that are trained."""

from types import ModuleType
from typing import Any

import numpy as np

from fastvae.parameters import Parameters, Shape


class Vector:
    """A named vector (units,), 0 at first. Its gradient is that of a product: x' d of a use (x (B, units), d (B, 1)).

    See `passes.Owner` for what each method is.
    """

    def __init__(self, name: str, units: int):
        self.name, self.units = name, units

    def shapes(self) -> dict[str, Shape]:  # noqa: D102
        return {self.name: (self.units,)}

    def bind(self, parameters: Parameters, kernels: ModuleType) -> None:
        """Take the views: `value` (units,), and the same numbers as a `row` (1, units) and a `column` (units, 1)."""
        self._parameters, self.value = parameters, parameters.value(self.name)
        self.row, self.column = self.value.reshape(1, -1), self.value.reshape(-1, 1)
        self._gradient = parameters.gradient(self.name).reshape(-1, 1)

    def initialise(self, seed: np.uint64, position: int) -> None:
        """Set it to 0."""
        self.value[:] = 0

    def _rows(self, part: int, parts: int) -> tuple[int, int]:
        return self.units * part // parts, self.units * (part + 1) // parts

    def write_gradient(self, program: Any, use: Any, part: int, parts: int, accumulate: bool) -> None:  # noqa: D102
        program.add("dense_backward_weight", *use, *self._rows(part, parts), accumulate, self._gradient, None)

    def ranges(self, part: int, parts: int) -> list[tuple[int, int]]:  # noqa: D102
        start, (first, last) = self._parameters.start([self.name]), self._rows(part, parts)
        return [(start + first, start + last)]
