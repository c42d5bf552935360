"""A weight that is used both ways, as between the layers of a Markov chain, and biases that stand by themselves."""

from types import ModuleType

import numpy as np

from fastvae.kernels import philox
from fastvae.kernels.formulas import IDENTITY
from fastvae.kernels.memory import zeros
from fastvae.layers.dense import Linear
from fastvae.parameters import Parameters
from fastvae.passes import Backprop, Pass


class Bias(Linear):
    """out += bias (1, outputs): a linear path from an input (B, 1) that is 1, which layers share: see `ones`."""

    def __init__(self, name: str, outputs: int):
        super().__init__(name, 1, outputs)
        self.weight_name = f"{name}.bias"


def ones(p: Pass) -> np.ndarray:
    """The input (B, 1) of biases."""
    return p.cut(np.ones((p.rows, 1), np.float32))


class Tied(Linear):
    """A weight (inputs, outputs) that leads up, x @ weight, and down, h @ weight', as often as one likes: the gradients
    of all uses add up. Bengio, Thibodeau-Laufer, Alain and Yosinski 2014."""

    def bind(self, parameters: Parameters, kernels: ModuleType) -> None:
        """Take the views of the parameters, and the kernels to run."""
        super().bind(parameters, kernels)
        self._no_bias = zeros(self.outputs)

    def initialise(self, seed: np.uint64, position: int, gain: float | np.ndarray = 1.0) -> None:
        """Draw the weights: normal with the variance 2 gain^2 / (inputs + outputs) of Glorot and Bengio 2010."""
        self._kernels.normal_noise(seed, philox.INITIALISATION, position, 0, self.weight)
        self.weight *= np.asarray(gain * (2.0 / (self.inputs + self.outputs)) ** 0.5, np.float32)

    def up(self, p: Pass, x: np.ndarray, bias: Bias) -> tuple[np.ndarray, Backprop]:
        """Write a = x @ weight + bias, (B, outputs), from x (B, inputs); the bias has its gradient elsewhere."""
        out = p.beside(x, self.outputs)
        p.add("dense_forward", x, self.weight, bias.weight[0], IDENTITY, out, out)

        def backprop(d_out: np.ndarray, inputs: bool = True, add_to: np.ndarray | None = None) -> np.ndarray | None:
            p.gradient(self, (x, d_out))
            return self._write_d_x(p, out, IDENTITY, d_out, add_to) if inputs else None

        return out, backprop

    def down(self, p: Pass, h: np.ndarray, out: np.ndarray | None = None) -> tuple[np.ndarray, Backprop]:
        """Write a = h @ weight', (B, inputs), from h (B, outputs); added to `out`, where there is one."""
        a = self._write_d_x(p, h, IDENTITY, h, out)

        def backprop(d_out: np.ndarray, inputs: bool = True, add_to: np.ndarray | None = None) -> np.ndarray | None:
            p.gradient(self, (d_out, h))
            if not inputs:
                return None
            if add_to is not None:
                p.add("dense_accumulate", d_out, self.weight, add_to)
                return add_to
            d_h = p.beside(d_out, self.outputs)
            p.add("dense_forward", d_out, self.weight, self._no_bias, IDENTITY, d_h, d_h)
            return d_h

        return a, backprop
