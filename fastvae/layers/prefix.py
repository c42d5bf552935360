"""Hidden units that a row's columns move one after the other, and the outputs that see them."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from fastvae.kernels import philox
from fastvae.kernels.ops import CHUNK, LANES
from fastvae.parameters import Parameters, Shape
from fastvae.passes import Pass


class Prefix:
    """logits_d = output_bias_d + V_d . sigmoid(bias + sum_{j<d} x_j W_j), for x (B, D) of 0 and 1.

    A gradient of W sums over all later columns, and is made, with all others, for some hidden units at a time; threads
    have different ones, whose numbers do not lie side by side. So all gradients come first, and then the steps.

    See `passes.Owner` for what each method is.
    """

    apart = True

    def __init__(self, name: str, columns: int, units: int):
        self.name, self.columns, self.units = name, columns, units
        prefix = f"{name}." if name else ""
        self._names = [f"{prefix}{kind}" for kind in ("hidden.weight", "hidden.bias", "output.weight", "output.bias")]

    def shapes(self) -> dict[str, Shape]:  # noqa: D102
        sizes: list[Shape] = [(self.columns, self.units), (self.units,), (self.columns, self.units), (self.columns,)]
        return dict(zip(self._names, sizes, strict=True))

    def bind(self, parameters: Parameters, kernels: ModuleType) -> None:
        """Take the views of the parameters."""
        self._parameters, self._kernels = parameters, kernels
        self.weight, self.bias, self.output_weight, self.output_bias = map(parameters.value, self._names)

    def initialise(self, seed: np.uint64, position: int) -> None:
        """Draw both weights: normal with Glorot's variance, 2 / (columns + units). Biases are 0."""
        for i, weight in enumerate((self.weight, self.output_weight)):
            self._kernels.normal_noise(seed, philox.INITIALISATION, position, i * self.columns, weight)
            weight *= np.float32((2.0 / (self.columns + self.units)) ** 0.5)
        self.bias[:], self.output_bias[:] = 0, 0

    def __call__(self, p: Pass, x: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], None]]:
        """Write the logits (B, D); what it returns writes the backward, of the parameters alone."""
        logits, carried = p.empty(self.columns), p.empty(-(-self.columns // CHUNK) * self.units)
        p.outputs[self.name or "output"] = logits
        p.add("prefix_forward", x, self.weight, self.bias, self.output_weight, self.output_bias, carried, logits)
        return logits, lambda d_logits: p.gradient(self, (x, carried, d_logits))

    # ---- what an optimizer asks for -----------------------------------------------------------------------------

    def write_gradient(self, program: Any, use: Any, part: int, parts: int, accumulate: bool) -> None:
        """That of some units, and of the output's bias with the first of them; a use is x, what the forward has left
        (B, K), and d_logits (B, D)."""
        x, carried, d_logits = use
        pieces = -(-self.units // LANES)
        first, last = (min(pieces * i // parts * LANES, self.units) for i in (part, part + 1))
        if first < last:
            gradients = map(self._parameters.gradient, self._names)
            operands = x, self.weight, self.output_weight, carried, d_logits, first, last, int(accumulate)
            program.add("prefix_backward", *operands, *gradients)

    def ranges(self, part: int, parts: int) -> list[tuple[int, int]]:
        """Of each parameter an equal part."""
        found = []
        for name, shape in self.shapes().items():
            start, size = self._parameters.start([name]), int(np.prod(shape))
            found.append((start + size * part // parts, start + size * (part + 1) // parts))
        return found
