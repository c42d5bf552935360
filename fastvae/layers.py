"""Dense and MLP: explicit forward and backward over buffers that were allocated once. No autograd.

A layer holds views of its parameters and nothing of a batch. What a batch leaves behind for the backward lies in
`Buffers` that the caller owns: so two threads can run one model, and a training step allocates nothing. A pass is
written down in a `Program` of the backend, and happens whenever that is run.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np

from fastvae.errors import check_name
from fastvae.kernels import philox
from fastvae.kernels.formulas import ACTIVATIONS, IDENTITY, SILU
from fastvae.kernels.memory import empty
from fastvae.parameters import Parameters, Shape

Program = Any  # of the backend: see the contract in `fastvae.kernels`

# Variance of the initial weights times the fan that it is divided by: He et al. 2015 for the rectifiers, where half of
# the signal is cut off; Glorot and Bengio 2010 for the others.
RECTIFIERS = ("relu", "leaky_relu", "silu")


@dataclass(frozen=True)
class Buffers:
    """What one layer leaves of one batch: `out`, what its backward reads (`saved`), and the gradient of `out`."""

    out: np.ndarray
    saved: np.ndarray
    d_out: np.ndarray

    def rows(self, start: int, stop: int) -> "Buffers":
        """Views of the rows start ... stop - 1."""
        return Buffers(self.out[start:stop], self.saved[start:stop], self.d_out[start:stop])


class Dense:
    """y = activation(x @ weight + bias), with x (B, inputs) and y (B, outputs)."""

    def __init__(self, name: str, inputs: int, outputs: int, activation: str = "identity"):
        check_name("activation", activation, ACTIVATIONS)
        self.name, self.inputs, self.outputs, self.activation = name, inputs, outputs, activation
        self._code = ACTIVATIONS[activation]
        self._weight_name, self._bias_name = f"{name}.weight", f"{name}.bias"

    def shapes(self) -> dict[str, Shape]:
        """Names and shapes of the parameters."""
        return {self._weight_name: (self.inputs, self.outputs), self._bias_name: (self.outputs,)}

    def bind(self, parameters: Parameters, kernels: ModuleType) -> None:
        """Take the views of this layer's parameters, and the kernels to run."""
        self.weight, self.bias = (parameters.value(name) for name in self.shapes())
        self._parameters, self._kernels = parameters, kernels

    def initialise(self, seed: np.uint64, position: int, gain: float | np.ndarray = 1.0) -> None:
        """Draw the weights: normal with He's variance 2 / inputs before a rectifier, Glorot's 2 / (inputs + outputs)
        before any other activation, times `gain`, a number or one an output. Biases are 0. `position` is the layer's
        place in the model: its noise."""
        self._kernels.normal_noise(seed, philox.INITIALISATION, position, 0, self.weight)
        fan = self.inputs if self.activation in RECTIFIERS else self.inputs + self.outputs
        self.weight *= np.asarray(gain * (2.0 / fan) ** 0.5, np.float32)
        self.bias[:] = 0

    def buffers(self, batch: int, backward: bool = True) -> Buffers:
        """Buffers for `batch` rows; without `backward`, the gradient has none of its own."""
        out = empty(batch, self.outputs)
        others = (empty(batch, self.outputs) if own else out for own in (self._code == SILU, backward))
        return Buffers(out, *others)

    def forward(self, program: Program, x: np.ndarray, buffers: Buffers) -> np.ndarray:
        """Write down the forward pass; return `buffers.out`, where it leaves its result."""
        program.add("dense_forward", x, self.weight, self.bias, self._code, buffers.out, buffers.saved)
        return buffers.out

    def backward(self, program: Program, buffers: Buffers, d_x: np.ndarray | None, more: bool = False) -> None:
        """Write down the backward pass: it turns `buffers.d_out` into the gradient before the activation, and writes
        `d_x` unless that is None, or adds to it where `more`."""
        program.add("dense_backward_input", buffers.saved, self.weight, self._code, buffers.d_out, more, d_x)

    def gradients(self, program: Program, x: np.ndarray, buffers: Buffers, part: int, parts: int) -> None:
        """Write down part `part` of `parts` of the parameters' gradients, from what `backward` has left."""
        d_weight, d_bias = (self._parameters.gradient(name) for name in self.shapes())
        program.add("dense_backward_weight", x, buffers.d_out, *_rows(self.inputs, part, parts), d_weight, d_bias)

    def adam(
        self, program: Program, x: np.ndarray, buffers: Buffers, part: int, parts: int, m: np.ndarray, v: np.ndarray
    ) -> None:
        """Write down part `part` of `parts` of a step of Adam, whose moments are the flat `m` and `v`; see
        `gradients`."""
        arrays = [
            views[name]
            for name in self.shapes()
            for views in map(self._parameters.views, (self._parameters.values, m, v))
        ]
        program.add("dense_adam_inplace", x, buffers.d_out, *_rows(self.inputs, part, parts), *arrays)


class Linear:
    """out += x @ weight, with x (B, inputs) and out (B, outputs): a path beside layers that write `out` first, and
    whose last one is linear. It starts at 0."""

    def __init__(self, name: str, inputs: int, outputs: int):
        self.name, self.inputs, self.outputs = name, inputs, outputs
        self._weight_name = f"{name}.weight"

    def shapes(self) -> dict[str, Shape]:
        """Name and shape of the parameter."""
        return {self._weight_name: (self.inputs, self.outputs)}

    def bind(self, parameters: Parameters, kernels: ModuleType) -> None:
        """Take the view of the parameter."""
        self.weight, self._parameters = parameters.value(self._weight_name), parameters

    def forward(self, program: Program, x: np.ndarray, buffers: Buffers) -> None:
        """Write down the forward pass, after that of the layers that it goes beside."""
        program.add("dense_accumulate", x, self.weight, buffers.out)

    def backward(self, program: Program, buffers: Buffers, d_x: np.ndarray) -> None:
        """Write down the backward pass: it adds to `d_x`."""
        program.add("dense_backward_input", buffers.saved, self.weight, IDENTITY, buffers.d_out, 1, d_x)

    def gradients(self, program: Program, x: np.ndarray, buffers: Buffers, part: int, parts: int) -> None:
        """Write down part `part` of `parts` of the parameter's gradient."""
        d_weight = self._parameters.gradient(self._weight_name)
        program.add("dense_backward_weight", x, buffers.d_out, *_rows(self.inputs, part, parts), d_weight, None)

    def adam(
        self, program: Program, x: np.ndarray, buffers: Buffers, part: int, parts: int, m: np.ndarray, v: np.ndarray
    ) -> None:
        """Write down part `part` of `parts` of a step of Adam."""
        flat = self._parameters.values, m, v
        arrays = [self._parameters.views(array)[self._weight_name] for array in flat]
        rows = _rows(self.inputs, part, parts)
        program.add("dense_adam_inplace", x, buffers.d_out, *rows, *arrays, None, None, None)


def _rows(inputs: int, part: int, parts: int) -> tuple[int, int]:
    """The rows of a weight that are part `part` of `parts`."""
    return inputs * part // parts, inputs * (part + 1) // parts


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

    def buffers(self, batch: int, backward: bool = True) -> list[Buffers]:
        """Buffers for `batch` rows, one entry a layer."""
        return [layer.buffers(batch, backward) for layer in self.layers]

    def forward(self, program: Program, x: np.ndarray, buffers: list[Buffers]) -> np.ndarray:
        """Write down the forward pass; return where the last layer's output will lie, `x` if there is no layer."""
        first = x
        for layer, buffer in zip(self.layers, buffers, strict=True):
            x = layer.forward(program, x, buffer)
        if self.linear is not None:
            self.linear.forward(program, first, buffers[-1])
        return x

    def backward(self, program: Program, buffers: list[Buffers], d_x: np.ndarray | None) -> None:
        """Write down the backward pass, from the `d_out` of the last of `buffers`, which the caller has filled."""
        for i in reversed(range(len(self.layers))):
            self.layers[i].backward(program, buffers[i], buffers[i - 1].d_out if i else d_x)
        if self.linear is not None and d_x is not None:
            self.linear.backward(program, buffers[-1], d_x)

    def with_inputs(
        self, x: np.ndarray, buffers: list[Buffers]
    ) -> Iterator[tuple[Dense | Linear, np.ndarray, Buffers]]:
        """Each layer with its input and its buffers."""
        if self.linear is not None:
            yield self.linear, x, buffers[-1]
        for layer, buffer in zip(self.layers, buffers, strict=True):
            yield layer, x, buffer
            x = buffer.out
