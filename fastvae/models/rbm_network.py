"""The network of a restricted Boltzmann machine, and a step of its training.

    binary v    -E(v, h) = visible' v + v' W h + hidden' h
    real v      -E(v, h) = -1/2 |v - visible|^2 + v' W h + hidden' h, in units of a column's noise

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


class RBMNetwork(BoltzmannNetwork):
    """Visible and hidden units; see `boltzmann_network.BoltzmannNetwork`."""

    ENERGY = "free-energy"  # by means of h given v

    def describe(self, a: Architecture, complete: bool) -> None:  # noqa: D102
        super().describe(a, True)
        self.inputs = {"x": a.inputs, "z": a.hidden}
        self.describe_units(NAMES, (a.inputs, a.hidden), a.visible)
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
        a, v = self.architecture, p.input("x")
        h, nll = self._upwards(p, 0, v, SIGMOID), p.empty()
        self.likelihood.nll(p, v, self.visible_logits(p, h), nll)
        p.loss(loss=(nll, p.slots.real("example weight")))
        self.gradient(p, (v, h), -1 / p.rows)
        chain = self.chain(p) if a.persistent else self._drawn(p, h, 2 * a.k, p.empty(a.hidden))
        for i in range(a.k):
            units = self.gibbs(p, chain, 2 * i)
        self.gradient(p, units[:2], 1 / p.rows)
        self.follow(p, (h,))
        p.update(optimizers[0], self.trained())

    def codes(self, p: Pass) -> list[np.ndarray]:
        """Write the means of h given v (B, H)."""
        return p.returns(self._upwards(p, 0, p.input("x"), SIGMOID))

    def inferred(self, p: Pass) -> list[np.ndarray]:
        """Write v, as it is read, and what h gets from it (B, H)."""
        v = p.input("x")
        return p.returns(v, self._upwards(p, 0, v, IDENTITY))

    def decode(self, p: Pass) -> list[np.ndarray]:
        """Write the means of v given those of h."""
        return p.returns(self.visible_mean(p, p.input("z")))
