"""Dense layers: y = activation(x @ weight + bias), and a linear path beside others."""

from collections.abc import Iterator
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np

from fastvae.errors import check_name
from fastvae.kernels import philox
from fastvae.kernels.formulas import ACTIVATIONS, IDENTITY, SILU
from fastvae.parameters import Parameters, Shape
from fastvae.passes import Backprop, Pass

# Variance of the initial weights times the fan that it is divided by: He et al. 2015 for the rectifiers, where half of
# the signal is cut off; Glorot and Bengio 2010 for the others.
RECTIFIERS = ("relu", "leaky_relu", "silu")


class Linear:
    """out += x @ weight, with x (B, inputs) and out (B, outputs): a path beside layers that write `out` first, and
    whose last one is linear. It starts at 0.

    What has weights is called with a pass and its input, and writes its forward; it returns its output, and a function
    that writes the backward.
    """

    bias: Any  # (outputs,), or None where there is none

    def __init__(self, name: str, inputs: int, outputs: int):
        self.name, self.inputs, self.outputs = name, inputs, outputs
        self.weight_name = f"{name}.weight"

    def shapes(self) -> dict[str, Shape]:
        """Names and shapes of the parameters."""
        return {self.weight_name: (self.inputs, self.outputs)}

    def bind(self, parameters: Parameters, kernels: ModuleType) -> None:
        """Take the views of this layer's parameters, and the kernels to run."""
        self.parameters, self._kernels = parameters, kernels
        self.weight, self.bias = parameters.value(self.weight_name), None

    def initialise(self, seed: np.uint64, position: int, gain: float | np.ndarray = 1.0) -> None:
        """Set the weights to 0."""
        self.weight[:] = 0

    def __call__(self, p: Pass, x: np.ndarray, out: np.ndarray) -> tuple[np.ndarray, Backprop]:
        """Write that `out` gets x @ weight added."""
        p.add("dense_accumulate", x, self.weight, out)

        def backprop(d_out: np.ndarray, inputs: bool = True, add_to: np.ndarray | None = None) -> np.ndarray | None:
            p.gradient(self, (x, d_out))
            return self._write_d_x(p, out, IDENTITY, d_out, add_to) if inputs else None

        return out, backprop

    def _write_d_x(
        self, p: Pass, saved: np.ndarray, code: int, d_out: np.ndarray, add_to: np.ndarray | None
    ) -> np.ndarray:
        d_x = p.beside(d_out, self.inputs) if add_to is None else add_to
        p.add("dense_backward_input", saved, self.weight, code, d_out, add_to is not None, d_x)
        return d_x

    # ---- what an optimizer asks for -----------------------------------------------------------------------------

    def rows(self, part: int, parts: int) -> tuple[int, int]:
        """The rows of the weight that are part `part` of `parts`."""
        return self.inputs * part // parts, self.inputs * (part + 1) // parts

    def write_gradient(self, program: Any, use: Any, part: int, parts: int, accumulate: bool) -> None:
        """See `passes.Owner`; a use is x (B, inputs) with the gradient (B, outputs) before the activation."""
        gradients = [self.parameters.gradient(name) for name in self.shapes()]
        operands = *use, *self.rows(part, parts), accumulate
        program.add("dense_backward_weight", *operands, *gradients, *[None] * (2 - len(gradients)))

    def ranges(self, part: int, parts: int) -> list[tuple[int, int]]:
        """See `passes.Owner`: its rows of the weight, and the bias with the first of them."""
        first, last = self.rows(part, parts)
        weight, *bias = (self.parameters.start([name]) for name in self.shapes())
        own = [(weight + first * self.outputs, weight + last * self.outputs)]
        return own + [(start, start + self.outputs) for start in bias if first == 0 < last]

    def arrays(self, *flat: np.ndarray) -> list[np.ndarray | None]:
        """Views of its weight in each of some flat buffers, then those of its bias, None where it has none."""
        views = [self.parameters.views(array) for array in flat]
        names = list(self.shapes())
        arrays: list[np.ndarray | None] = [view[name] for name in names for view in views]
        return arrays + [None] * (2 * len(flat) - len(arrays))


class Dense(Linear):
    """y = activation(x @ weight + bias), with x (B, inputs) and y (B, outputs)."""

    def __init__(self, name: str, inputs: int, outputs: int, activation: str = "identity"):
        check_name("activation", activation, ACTIVATIONS)
        super().__init__(name, inputs, outputs)
        self.activation, self._code = activation, ACTIVATIONS[activation]
        self.bias_name = f"{name}.bias"

    def shapes(self) -> dict[str, Shape]:
        """Names and shapes of the parameters."""
        return super().shapes() | {self.bias_name: (self.outputs,)}

    def bind(self, parameters: Parameters, kernels: ModuleType) -> None:
        """Take the views of this layer's parameters, and the kernels to run."""
        super().bind(parameters, kernels)
        self.bias = parameters.value(self.bias_name)

    def initialise(self, seed: np.uint64, position: int, gain: float | np.ndarray = 1.0) -> None:
        """Draw the weights: normal with He's variance 2 / inputs before a rectifier, Glorot's 2 / (inputs + outputs)
        before any other activation, times `gain`, a number or one an output. Biases are 0. `position` is the layer's
        place in the model: its noise."""
        self._kernels.normal_noise(seed, philox.INITIALISATION, position, 0, self.weight)
        fan = self.inputs if self.activation in RECTIFIERS else self.inputs + self.outputs
        self.weight *= np.asarray(gain * (2.0 / fan) ** 0.5, np.float32)
        self.bias[:] = 0

    def __call__(self, p: Pass, x: np.ndarray) -> tuple[np.ndarray, Backprop]:  # type: ignore[override]
        """Write y (B, outputs)."""
        out = p.beside(x, self.outputs)
        saved = p.beside(x, self.outputs) if self._code == SILU and p.backward else out
        p.outputs[self.name] = out
        p.add("dense_forward", x, self.weight, self.bias, self._code, out, saved)

        def backprop(d_out: np.ndarray, inputs: bool = True, add_to: np.ndarray | None = None) -> np.ndarray | None:
            if inputs:
                d_x = self._write_d_x(p, saved, self._code, d_out, add_to)
            else:
                p.add("dense_backward_input", saved, self.weight, self._code, d_out, False, None)
            p.gradient(self, (x, d_out))
            return d_x if inputs else None

        return out, backprop


class MLP:
    """Dense layers one after the other; with no layer, the identity.

    Parameters
    ----------
    name
        Prefix of the layers' names: `name.0`, `name.1`, ...
    widths
        Inputs, then the outputs of each layer.
    activation, last_activation
        Of all layers, and of the last one where it differs.
    linear
        Whether a linear path goes beside them; only where there are several layers, and the last one is linear.
    """

    def __init__(
        self,
        name: str,
        widths: tuple[int, ...],
        activation: str,
        last_activation: str | None = None,
        linear: bool = False,
    ):
        last = len(widths) - 2
        self.outputs = widths[-1]
        self.layers = [
            Dense(f"{name}.{i}", a, b, (last_activation or activation) if i == last else activation)
            for i, (a, b) in enumerate(pairwise(widths))
        ]
        self.linear = Linear(f"{name}.linear", widths[0], widths[-1]) if linear and len(self.layers) > 1 else None

    def owners(self) -> Iterator[Linear]:
        """All that has weights, the linear path first."""
        if self.linear is not None:
            yield self.linear
        yield from self.layers

    def __call__(self, p: Pass, x: np.ndarray) -> tuple[np.ndarray, Backprop]:
        """Write the output of the last layer; with no layer, it is `x`."""
        first, backs = x, []
        for layer in self.layers:
            x, back = layer(p, x)
            backs.append(back)
        back_linear = None if self.linear is None else self.linear(p, first, x)[1]

        def backprop(d_out: np.ndarray, inputs: bool = True, add_to: np.ndarray | None = None) -> np.ndarray | None:
            d = d_out
            for i, back in reversed(list(enumerate(backs))):
                d = back(d, inputs or i > 0, add_to if i == 0 else None)
            return d if back_linear is None else back_linear(d_out, inputs, d)

        return x, backprop
