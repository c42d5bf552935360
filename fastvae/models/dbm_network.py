"""The network of a deep Boltzmann machine with two hidden layers, and a step of its training.

    -E(v, h1, h2) = visible' v + v' W1 h1 + b1' h1 + h1' W2 h2 + b2' h2        p(v, h1, h2) = exp(-E) / Z

The gradient of a variational bound on log p(v): expectations under q(h1) q(h2), a mean field for each row, less those
of chains that persist from step to step. All are centred. Salakhutdinov and Hinton 2009; Montavon and Müller 2012.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.kernels.formulas import IDENTITY, SIGMOID
from fastvae.models.boltzmann_network import BoltzmannNetwork
from fastvae.parameters import Shape
from fastvae.passes import Pass

NAMES = "visible", "hidden.0", "hidden.1"  # of the layers
INFERENCE_STEPS = 30  # of the mean field of rows outside a training


@dataclass(frozen=True)
class Architecture:
    """What decides the parameters, and what a step does."""

    inputs: int
    hidden: tuple[int, ...]
    mean_field_steps: int
    chains: int


class DBMNetwork(BoltzmannNetwork):
    """Three layers of units; see `boltzmann_network.BoltzmannNetwork`."""

    DRAWS = 3

    def describe(self, a: Architecture, complete: bool) -> None:  # noqa: D102
        super().describe(a, True)
        self.inputs = {"x": a.inputs, "z": sum(a.hidden)}
        self.describe_units(NAMES, (a.inputs, *a.hidden))

    def state_shapes(self) -> dict[str, Shape]:
        """Of each chain, h1: given that, v and h2 are drawn anew."""
        return {"chains": (self.architecture.chains, self.sizes[1])}

    def mean_field(self, p: Pass, v: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Write the means of q(h1) and q(h2): `steps` times h1 given h2, then h2 given h1, from the offset of h2, which
        is near its mean over the data: from there one step goes as far as three from elsewhere."""
        below, h1, above = self._upwards(p, 0, v, IDENTITY), p.empty(self.sizes[1]), p.each(1, self.sizes[1])
        h2 = self.offsets[2].row
        p.add("dense_backward_input", h2, self.weights[1].weight, IDENTITY, h2, False, above)
        for i in range(steps):
            self._copied(p, below, h1)
            if i == 0:
                p.add("dense_accumulate", p.cut(np.ones((p.rows, 1), np.float32)), above, h1)
            else:
                self._add_downwards(p, 1, h2, h1)
            p.add("sigmoid_inplace", h1)
            h2 = self._upwards(p, 1, h1, SIGMOID) if i == 0 else h2
            if i > 0:
                p.add("dense_forward", h1, self.weights[1].weight, self.biases[2].value, SIGMOID, h2, h2)
        return h1, h2

    def gibbs(self, p: Pass, chain: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Write a step of chains (B, H1): v and h2 drawn given h1, h1 given both, written over the chain. Return v, the
        means of h1 that it is drawn by, h2, and the means of v."""
        mean = self.visible_mean(p, chain)
        v = self._drawn_visible(p, mean, 0)
        above = self._upwards(p, 1, chain, SIGMOID)
        h2 = self._drawn(p, above, 2, above)
        h1 = self._upwards(p, 0, v, IDENTITY)
        self._add_downwards(p, 1, h2, h1)
        p.add("sigmoid_inplace", h1)
        self._drawn(p, h1, 1, chain)
        return v, h1, h2, mean

    # ---- a step -----------------------------------------------------------------------------------------------------

    def step(self, p: Pass, optimizers: Sequence[Any]) -> None:  # noqa: D102
        a, v, optimizer = self.architecture, p.input("x"), optimizers[0]
        h1, h2 = self.mean_field(p, v, a.mean_field_steps)
        nll = p.empty()
        self.likelihood.nll(p, v, self.visible_logits(p, h1), nll)
        p.weigh(nll)
        p.loss(loss=(nll, p.slots.real("example weight")))
        self.gradient(p, (v, h1, h2), -1 / p.rows, True)
        self.gradient(p, self.gibbs(p, self.chain(p))[:3], 1 / p.rows, False)
        self.follow(p, (h1, h2))
        p.update(optimizer, self.trained())

    # ---- other passes -----------------------------------------------------------------------------------------------

    def codes(self, p: Pass) -> list[np.ndarray]:
        """Write the means of q(h1) and q(h2), side by side."""
        h1, h2 = self.mean_field(p, p.input("x"), INFERENCE_STEPS)
        out = p.empty(self.inputs["z"])
        p.add("concatenate", h1, h2, out)
        return p.returns(out)

    def inferred(self, p: Pass) -> list[np.ndarray]:
        """Write v, as it is read, and the means of q(h1)."""
        v = p.input("x")
        return p.returns(v, self.mean_field(p, v, INFERENCE_STEPS)[0])

    def decode(self, p: Pass) -> list[np.ndarray]:
        """Write the means of v given h1, the first columns of codes."""
        h1 = p.empty(self.sizes[1])
        p.add("concatenate_backward", p.input("z"), h1)
        return p.returns(self.visible_mean(p, h1))
