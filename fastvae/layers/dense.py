"""Dense layers: y = activation(x @ weight + bias), and a linear path beside others.

With `depths` (outputs,) the weight is a staircase: output j sees the first depths[j] inputs alone,

    y_j = activation(sum_{i < depths_j} x_i weight_ij + bias_j)

It has its full shape, with zeros where nothing is connected; its gradient there is 0, so that no optimizer moves them.
What the zeros would cost is left out, block by block. Germain et al. 2015 mask dense layers so; here outputs are sorted
by their depths.
"""

from collections.abc import Iterable, Iterator
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

LAYERS: dict[str, Any] = {}  # layers and activations of one's own, by name: see `fastvae.own`
Width = int | str  # of a dense layer; or the name of a layer of one's own, which keeps the width


class Linear:
    """out += x @ weight, with x (B, inputs) and out (B, outputs): a path beside layers that write `out` first, and
    whose last one is linear. It starts at 0.

    What has weights is called with a pass and its input, and writes its forward; it returns its output, and a function
    that writes the backward.

    Parameters
    ----------
    name
        Of the layer: that of its parameters begins so.
    inputs, outputs
        How many.
    depths : (outputs,) int64, optional
        How many inputs each output sees, the first ones; from one to the next they do not decrease.
    """

    bias: Any  # (outputs,), or None where there is none

    def __init__(self, name: str, inputs: int, outputs: int, depths: np.ndarray | None = None):
        self.name, self.inputs, self.outputs = name, inputs, outputs
        self.weight_name = f"{name}.weight"
        self.depths, self._ops, self._mask = depths, "dense", tuple[np.ndarray, ...]()  # of its ops: stem, operand
        if depths is not None:
            if len(depths) != outputs or not 0 <= depths[0] <= depths[-1] <= inputs or (np.diff(depths) < 0).any():
                raise ValueError(f"layer {name!r}: depths must be {outputs} numbers of 0 ... {inputs} that do not fall")
            self.depths = np.ascontiguousarray(depths, np.int64)
            self._ops, self._mask = "masked", (self.depths,)
            seeing = outputs - np.searchsorted(self.depths, np.arange(inputs), side="right")
            self._seen = np.concatenate([[0], np.cumsum(seeing)])  # weights in the rows before each

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
        p.add(f"{self._ops}_accumulate", x, self.weight, *self._mask, out)

        def backprop(d_out: np.ndarray, inputs: bool = True, add_to: np.ndarray | None = None) -> np.ndarray | None:
            p.gradient(self, (x, d_out))
            return self._write_d_x(p, out, IDENTITY, d_out, add_to) if inputs else None

        return out, backprop

    def _write_d_x(
        self, p: Pass, saved: np.ndarray, code: int, d_out: np.ndarray, add_to: np.ndarray | None
    ) -> np.ndarray:
        d_x = p.beside(d_out, self.inputs) if add_to is None else add_to
        self._add_backward_input(p, saved, code, d_out, add_to is not None, d_x)
        return d_x

    def _add_backward_input(
        self, p: Pass, saved: np.ndarray, code: int, d_out: np.ndarray, accumulate: bool, d_x: np.ndarray | None
    ) -> None:
        p.add(f"{self._ops}_backward_input", saved, self.weight, code, *self._mask, d_out, accumulate, d_x)

    # ---- what an optimizer asks for -----------------------------------------------------------------------------

    def rows(self, part: int, parts: int) -> tuple[int, int]:
        """The rows of the weight that are part `part` of `parts`: as many of its numbers each, about."""
        if self.depths is None or not self._seen[-1]:
            return self.inputs * part // parts, self.inputs * (part + 1) // parts
        first, last = np.searchsorted(self._seen, self._seen[-1] * np.array([part, part + 1]) / parts)
        return int(first) if part else 0, int(last) if part + 1 < parts else self.inputs

    def write_gradient(self, program: Any, use: Any, part: int, parts: int, accumulate: bool) -> None:
        """See `passes.Owner`; a use is x (B, inputs) with the gradient (B, outputs) before the activation."""
        gradients = [self.parameters.gradient(name) for name in self.shapes()]
        operands = *use, *self.rows(part, parts), accumulate, *self._mask
        program.add(f"{self._ops}_backward_weight", *operands, *gradients, *[None] * (2 - len(gradients)))

    def write_step(
        self, program: Any, op: str, use: Any, part: int, parts: int, flat: Iterable[np.ndarray], numbers: list[Any]
    ) -> None:
        """Write part `part` of `parts` of the gradient of one use together with an optimizer's step, by its op for
        that, on the flat buffers that it changes, and with its numbers."""
        name = op.replace("dense", self._ops)
        program.add(name, *use, *self.rows(part, parts), *self._mask, *self.arrays(*flat), *numbers)

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

    def __init__(
        self, name: str, inputs: int, outputs: int, activation: str = "identity", depths: np.ndarray | None = None
    ):
        check_name("activation", activation, ACTIVATIONS)
        super().__init__(name, inputs, outputs, depths)
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
        place in the model: its noise. What a mask cuts off is 0."""
        self._kernels.normal_noise(seed, philox.INITIALISATION, position, 0, self.weight)
        fan = self.inputs if self.activation in RECTIFIERS else self.inputs + self.outputs
        self.weight *= np.asarray(gain * (2.0 / fan) ** 0.5, np.float32)
        if self.depths is not None:
            self.weight[np.arange(self.inputs)[:, None] >= self.depths] = 0
        self.bias[:] = 0

    def __call__(self, p: Pass, x: np.ndarray) -> tuple[np.ndarray, Backprop]:  # type: ignore[override]
        """Write y (B, outputs)."""
        out = p.beside(x, self.outputs)
        saved = p.beside(x, self.outputs) if self._code == SILU and p.backward else out
        p.outputs[self.name] = out
        p.add(f"{self._ops}_forward", x, self.weight, self.bias, self._code, *self._mask, out, saved)

        def backprop(d_out: np.ndarray, inputs: bool = True, add_to: np.ndarray | None = None) -> np.ndarray | None:
            if inputs:
                d_x = self._write_d_x(p, saved, self._code, d_out, add_to)
            else:
                self._add_backward_input(p, saved, self._code, d_out, False, None)
            p.gradient(self, (x, d_out))
            return d_x if inputs else None

        return out, backprop


def activations() -> tuple[str, ...]:
    """The names of all, those of one's own too."""
    return *ACTIVATIONS, *(name for name, kind in LAYERS.items() if hasattr(kind, "formula"))


def mirrored(hidden: tuple[Width, ...]) -> tuple[Width, ...]:
    """The widths the other way round, each with the layers of one's own that follow it."""
    found: list[Width] = []
    for i, width in enumerate(hidden):
        if not isinstance(width, str):
            after = next((j for j in range(i + 1, len(hidden)) if not isinstance(hidden[j], str)), len(hidden))
            found[:0] = hidden[i:after]
    return tuple(found)


class MLP:
    """Dense layers one after the other; with no layer, the identity.

    Parameters
    ----------
    name
        Prefix of the layers' names: `name.0`, `name.1`, ...
    widths
        Inputs, then the outputs of each layer; or the name of one of one's own.
    activation, last_activation
        Of all layers, and of the last one where it differs; the former may be the name of one of one's own.
    linear
        Whether a linear path goes beside them; only where there are several layers, and the last one is linear.
    """

    def __init__(
        self,
        name: str,
        widths: tuple[Width, ...],
        activation: str,
        last_activation: str | None = None,
        linear: bool = False,
    ):
        dense = [i for i, width in enumerate(widths) if not isinstance(width, str)]
        first = self.outputs = int(widths[0])
        self.layers: list[Any] = []

        def add(kind: Any, *how: Any) -> None:
            self.layers.append(kind(f"{name}.{len(self.layers)}", self.outputs, *how))
            self.outputs = self.layers[-1].outputs

        for i, width in enumerate(widths[1:], start=1):
            own = (last_activation or activation) if i == dense[-1] else activation
            if isinstance(width, str):
                add(LAYERS[width])
            elif own in LAYERS:
                add(Dense, width, "identity")
                add(LAYERS[own])
            else:
                add(Dense, width, own)
        several = linear and len(self.layers) > 1
        self.linear = Linear(f"{name}.linear", first, self.outputs) if several else None

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
