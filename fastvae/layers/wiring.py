"""What a network's layers make of rows, as plain arrays: for those who compute it elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastvae.layers.dense import Dense, Linear


@dataclass(frozen=True, eq=False)
class Layer:
    """y = activation(x @ weight + bias), float32; of a head also + rows @ beside, before the activation.

    Attributes
    ----------
    weight, bias : (inputs, outputs), (outputs,)
    activation
        A name of `kernels.formulas.ACTIVATIONS`.
    beside : (columns, outputs) or None
        Of a linear path from what the half is given.
    """

    name: str
    weight: np.ndarray
    bias: np.ndarray
    activation: str = "identity"
    beside: np.ndarray | None = None

    @classmethod
    def of(cls, layer: Dense, beside: Linear | None = None) -> "Layer":
        """A copy of a layer as it is now."""
        path = None if beside is None else beside.weight.copy()
        return cls(layer.name, layer.weight.copy(), layer.bias.copy(), layer.activation, path)


@dataclass(frozen=True, eq=False)
class Half:
    """Layers one after the other from the rows on, and heads, each of which sees what the last one gives."""

    layers: Sequence[Layer]
    heads: dict[str, Layer]

    @property
    def all(self) -> list[Layer]:
        """The layers in order, the heads last."""
        return [*self.layers, *self.heads.values()]

    @classmethod
    def of(cls, layers: Sequence[Dense], name: str, beside: Linear | None = None) -> "Half":
        """Layers of which the last one is the only head."""
        return cls([Layer.of(layer) for layer in layers[:-1]], {name: Layer.of(layers[-1], beside)})
