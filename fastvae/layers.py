"""Dense and MLP: explicit forward and backward over buffers that were allocated once. No autograd.

A layer holds views of its parameters and nothing of a batch. What a batch leaves behind for the backward lies in
`Buffers` that the caller owns: so two threads can run one model, and a training step allocates nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import ModuleType

import numpy as np

from fastvae.errors import check_name
from fastvae.kernels import philox
from fastvae.kernels.formulas import ACTIVATIONS, SILU
from fastvae.parameters import Parameters, Shape

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
        self._kernels = kernels

    def initialise(self, seed: np.uint64, position: int) -> None:
        """Draw the weights: normal with He's variance 2 / inputs before a rectifier, Glorot's 2 / (inputs + outputs)
        before any other activation. Biases are 0. `position` is the layer's place in the model: its noise."""
        self._kernels.normal_noise(seed, philox.INITIALISATION, position, 0, self.weight)
        fan = self.inputs if self.activation in RECTIFIERS else self.inputs + self.outputs
        self.weight *= np.float32((2.0 / fan) ** 0.5)
        self.bias[:] = 0

    def buffers(self, batch: int, backward: bool = True) -> Buffers:
        """Buffers for `batch` rows; without `backward`, the gradient has none of its own."""
        out = np.empty((batch, self.outputs), np.float32)
        return Buffers(out, np.empty_like(out) if self._code == SILU else out, np.empty_like(out) if backward else out)

    def forward(self, x: np.ndarray, buffers: Buffers) -> np.ndarray:
        """Write and return `buffers.out`."""
        self._kernels.dense_forward(x, self.weight, self.bias, self._code, buffers.out, buffers.saved)
        return buffers.out

    def backward(
        self, x: np.ndarray, buffers: Buffers, d_x: np.ndarray | None, gradients: Mapping[str, np.ndarray]
    ) -> None:
        """Write this layer's entries of `gradients`, and `d_x` unless it is None; overwrite `buffers.d_out`."""
        d_weight, d_bias = gradients[self._weight_name], gradients[self._bias_name]
        self._kernels.dense_backward(x, buffers.saved, self.weight, self._code, buffers.d_out, d_x, d_weight, d_bias)


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
    """

    def __init__(self, name: str, widths: tuple[int, ...], activation: str, last_activation: str | None = None):
        last = len(widths) - 2
        self.outputs = widths[-1]
        self.layers = [
            Dense(f"{name}.{i}", a, b, (last_activation or activation) if i == last else activation)
            for i, (a, b) in enumerate(pairwise(widths))
        ]

    def buffers(self, batch: int, backward: bool = True) -> list[Buffers]:
        """Buffers for `batch` rows, one entry a layer."""
        return [layer.buffers(batch, backward) for layer in self.layers]

    def forward(self, x: np.ndarray, buffers: list[Buffers]) -> np.ndarray:
        """Return the last layer's output, which lies in the last of `buffers`."""
        for layer, buffer in zip(self.layers, buffers, strict=True):
            x = layer.forward(x, buffer)
        return x

    def backward(
        self, x: np.ndarray, buffers: list[Buffers], d_x: np.ndarray | None, gradients: Mapping[str, np.ndarray]
    ) -> None:
        """Write all gradients, from the `d_out` of the last of `buffers`, which the caller has filled."""
        for i in reversed(range(len(self.layers))):
            below = buffers[i - 1] if i else None
            self.layers[i].backward(below.out if below else x, buffers[i], below.d_out if below else d_x, gradients)
