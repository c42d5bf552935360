"""The network of a restricted Boltzmann machine, and a step of its training.

    binary v    -E(v, h) = visible' v + v' W h + hidden' h
    real v      -E(v, h) = -1/2 |v - visible|^2 + v' W h + hidden' h, the values of a row by sigma

    log p(v) = -F(v) - log Z,   -F(v) = (what v alone has) + sum_j softplus(hidden_j + v' W_j)

The gradient: what -E changes by under the data, less the same under chains, which persist from step to step (PCD;
Tieleman 2008) or begin at the data (CD-k; Hinton 2002). Means of the hidden units stand in for draws where a gradient
is made of them. Centred: see `boltzmann_network`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.kernels.formulas import IDENTITY, SIGMOID
from fastvae.layers import Half, Layer
from fastvae.models.boltzmann_network import BoltzmannNetwork
from fastvae.parameters import Shape
from fastvae.passes import Pass

NAMES = "visible", "hidden"  # of the layers


@dataclass(frozen=True)
class Architecture:
    """What decides the parameters, and what a step does."""

    inputs: int
    hidden: int
    visible: str
    k: int
    persistent: bool
    chains: int
    centre: bool
    sigma: float | str = 1.0


class RBMNetwork(BoltzmannNetwork):
    """Visible and hidden units; see `boltzmann_network.BoltzmannNetwork`."""

    ENERGY = "free-energy"  # by means of h given v

    def describe(self, a: Architecture, complete: bool) -> None:  # noqa: D102
        super().describe(a, True)
        self.inputs = {"x": a.inputs, "z": a.hidden}
        self.describe_units(NAMES, (a.inputs, a.hidden), a.visible, a.sigma)
        self.DRAWS, self.centred = 2 * a.k + 1, a.centre

    def state_shapes(self) -> dict[str, Shape]:
        """Of each chain, h: given that, v is drawn anew, so that one product of v serves gradient and chain."""
        a = self.architecture
        return {"chains": (a.chains, a.hidden)} if a.persistent else {}

    def gibbs(self, p: Pass, chain: np.ndarray, draw: int = 0) -> tuple[np.ndarray, ...]:
        """Write a step of chains h (B, H), over which it is written. Return v, the means of h that it is drawn by, and
        the means of v."""
        mean = self.visible_mean(p, chain)
        v = self._drawn_visible(p, mean, draw)
        h = self._upwards(p, 0, v, SIGMOID)
        self._drawn(p, h, draw + 1, chain)
        return v, h, mean

    def step(self, p: Pass, optimizers: Sequence[Any]) -> None:  # noqa: D102
        a, v = self.architecture, self.scaled(p, p.input("x"), -1.0)
        h = self._upwards(p, 0, v, SIGMOID)
        self.loss(p, v, h)
        self.gradient(p, (v, h), -1 / p.rows, True)
        chain = self.chain(p) if a.persistent else self._drawn(p, h, 2 * a.k, p.empty(a.hidden))
        for i in range(a.k):
            units = self.gibbs(p, chain, 2 * i)
        self.gradient(p, units[:2], 1 / p.rows, not a.persistent)  # chains that begin at rows count as these
        self.follow(p, (h,))
        p.update(optimizers[0], [*self.trained(), self.likelihood])

    def codes(self, p: Pass) -> list[np.ndarray]:
        """Write the means of h given v (B, H)."""
        return p.returns(self._upwards(p, 0, self.scaled(p, p.input("x"), -1.0), SIGMOID))

    def wiring(self) -> dict[str, Half]:
        """See `engine.Network`; sigma is part of the weights."""
        weight, (visible, hidden) = self.weights[0].weight, (bias.value.copy() for bias in self.biases)
        sigma = self.sigma.astype(np.float32)
        up = Layer("hidden", weight / sigma[:, None], hidden, "sigmoid")
        down = Layer("visible", np.ascontiguousarray(weight.T) * sigma, visible * sigma)
        return {"encode": Half([], {"codes": up}), "decode": Half([], {"mean": down})}

    def inferred(self, p: Pass) -> list[np.ndarray]:
        """Write v, and what h gets from it (B, H)."""
        v = self.scaled(p, p.input("x"), -1.0)
        return p.returns(v, self._upwards(p, 0, v, IDENTITY))

    def decode(self, p: Pass) -> list[np.ndarray]:
        """Write the means of rows given those of h."""
        return p.returns(self.scaled(p, self.visible_mean(p, p.input("z")), 1.0))
