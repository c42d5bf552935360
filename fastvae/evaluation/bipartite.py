"""Boltzmann machines of two groups of units, s and t, between which alone there are weights, and chains that go through
such machines.

    -E(s, t) = s' W t + a' s + b' t        Z = sum over s of exp(a' s) prod_j (1 + exp(b_j + s' W_j))

A restricted Boltzmann machine is one, and so is a deep one with two hidden layers: s = h1, t = (v, h2). Annealed
importance sampling goes from a machine without weights to this one by machines whose parameters lie between, t summed
out: Neal 2001; Salakhutdinov and Murray 2008. See `partition`.
"""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.kernels import philox
from fastvae.kernels.cpu.annealing import anneal
from fastvae.kernels.cpu.calls import FUNCTIONS
from fastvae.reference import sigmoid, softplus

LOG_2_PI = float(np.log(2 * np.pi))
LEAST_MEAN = 1e-3  # of units of the machine without weights, and of how far below 1 they stay
FEW = 20  # units, over whose states log Z is summed


class Chains:
    """Some of the chains of a machine, from row `first_row` on, which begin at its `a_first`.

    Attributes
    ----------
    log_weights : (n,) float64
        Of the path that they have come.
    """

    def __init__(self, machine: "Bipartite", n: int, seed: np.uint64, first_step: int, first_row: int):
        self._machine, self._noise, self._done = machine, (np.uint64(seed), first_step, first_row), 0
        self._begins = True
        self.s, self._t, self.product, self._back = (
            np.zeros((n, machine.weight.shape[group]), np.float32) for group in (0, 1, 1, 0)
        )
        self.log_weights = np.zeros(n)

    def follow(self, path: np.ndarray) -> None:
        """Go along betas (n + 1,): at each but the last one a transition, t given s and then s given t, but none at
        beta 0, where all begin; then log f at the next one less log f at this one, t summed out, is added to
        `log_weights`."""
        machine, (seed, first_step, first_row) = self._machine, self._noise
        self._done = anneal(
            machine.weight, machine.transposed, machine.a, machine.b, machine.a_first, machine.b_first, path,
            int(self._begins), seed, philox.CHAIN, first_step, self._done, first_row, self.s, self._t, self.product,
            self._back, self.log_weights,
        )  # fmt: skip
        self._begins = False


class GaussianChains(Chains):
    """With t real: no unit stays as it is, and products are made as a whole."""

    def follow(self, path: np.ndarray) -> None:
        """As chains of binary units."""
        machine: Any = self._machine
        if self._begins:
            self._draw(0.0, np.zeros_like(self.s))
        for before, after in zip(path[:-1].tolist(), path[1:].tolist(), strict=True):
            if not (self._begins and before == 0.0):
                self._done += 1
                t = np.float32(before) * self.product + machine.b.astype(np.float32)
                t += self._drawn("normal_noise", 2 * self._done - 1, t.shape)
                self._draw(before, t @ machine.transposed)
            self._begins = False
            if before != after:
                self.log_weights += machine.log_p(after, self.s, self.product)
                self.log_weights -= machine.log_p(before, self.s, self.product)

    def _draw(self, beta: float, back: np.ndarray) -> None:
        machine = self._machine
        bias = (1 - beta) * machine.a_first + beta * machine.a
        mean = sigmoid(np.float32(beta) * back + bias.astype(np.float32))
        self.s[...] = self._drawn("uniform_noise", 2 * self._done, mean.shape) <= mean
        self.product = self.s @ machine.weight

    def _drawn(self, op: str, step: int, shape: tuple[int, ...]) -> np.ndarray:
        seed, first_step, first_row = self._noise
        out = np.empty(shape, np.float32)
        FUNCTIONS[op](seed, philox.CHAIN, first_step + step, first_row, out)
        return out


@dataclass(frozen=True)
class Bipartite:
    """Parameters: weight (S, T) float32, a (S,), b (T,) float64; and those of the machine without weights, a_first and
    b_first, which should have about the same means."""

    weight: np.ndarray
    a: np.ndarray
    b: np.ndarray
    a_first: np.ndarray
    b_first: np.ndarray

    CHAINS = Chains
    BLOCK = 8  # chains that a thread takes at a time

    @functools.cached_property
    def transposed(self) -> np.ndarray:
        """weight' (T, S)."""
        return np.ascontiguousarray(self.weight.T)

    @property
    def log_z_first(self) -> float:
        """log Z at beta 0."""
        return float(softplus(self.a_first).sum() + softplus(self.b_first).sum())


@dataclass(frozen=True)
class GaussianBipartite(Bipartite):
    """With t real: -E(s, t) = -|t - b|^2 / 2 + s' W t + a' s; b_first is not used, as b does for every beta.
    `log_scale` is added to log Z: that of units of t."""

    log_scale: float = 0.0

    CHAINS = GaussianChains
    BLOCK = 64

    def log_p(self, beta: float, s: np.ndarray, product: np.ndarray) -> np.ndarray:
        """log of the integral over t of exp(-E) at `beta`, (n,) float64, of s (n, S) and s W: T/2 log 2 pi +
        beta b' W' s + beta^2 |W' s|^2 / 2 + a' s."""
        product = product.astype(np.float64)
        terms = beta * (product @ self.b) + 0.5 * beta**2 * np.square(product).sum(axis=1)
        return s @ ((1 - beta) * self.a_first + beta * self.a) + terms + 0.5 * len(self.b) * LOG_2_PI

    @property
    def log_z_first(self) -> float:
        """log Z at beta 0."""
        return float(softplus(self.a_first).sum() + 0.5 * len(self.b) * LOG_2_PI + self.log_scale)


def enumerated(weight: np.ndarray, a: np.ndarray, b: np.ndarray, binary: bool = True) -> float:
    """log Z of the units v with biases a (S,), binary or real as in `GaussianBipartite`, and the binary h with biases b
    (T,), weight (S, T): v summed out, over all 2^T states of h."""
    found, block = -np.inf, 1 << min(len(b), 12)
    for first in range(0, 1 << len(b), block):
        h = ((np.arange(first, first + block)[:, None] >> np.arange(len(b))) & 1).astype(np.float64)
        product = h @ weight.T
        if binary:
            terms = h @ b + softplus(product + a).sum(axis=1)
        else:
            terms = h @ b + product @ a + 0.5 * np.square(product).sum(axis=1) + 0.5 * len(a) * LOG_2_PI
        found = np.logaddexp(found, terms.max() + np.log(np.exp(terms - terms.max()).sum()))
    return float(found)
