"""log Z of a Boltzmann machine of two groups of units, s and t, between which alone there are weights.

    -E(s, t) = s' W t + a' s + b' t        Z = sum over s of exp(a' s) prod_j (1 + exp(b_j + s' W_j))

A restricted Boltzmann machine is one, and so is a deep one with two hidden layers: s = h1, t = (v, h2). Annealed
importance sampling goes from a machine without weights to this one by machines whose parameters lie between, t summed
out: Neal 2001; Salakhutdinov and Murray 2008. The reverse goes back, from draws of this machine: together they hold
log Z between them, the first from below and the second from above, in expectation (Burda, Grosse and Salakhutdinov
2015). Draws of this machine are those of chains, of which nobody knows how far they have come: the second is a bound as
far as these are.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fastvae.kernels import cpu, philox
from fastvae.kernels.cpu import blas
from fastvae.reference import softplus

ANNEALING, REVERSE = 1 << 29, 1 << 30  # steps of the noise: those of each direction begin here


def sigmoid(a: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-a), by a function that NumPy has as vector instructions and that never overflows."""
    return 0.5 * np.tanh(0.5 * a) + 0.5  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Bipartite:
    """Parameters: weight (S, T), a (S,), b (T,); and those of the machine without weights, a_first and b_first, which
    should have about the same means."""

    weight: np.ndarray
    a: np.ndarray
    b: np.ndarray
    a_first: np.ndarray
    b_first: np.ndarray

    def between(self, beta: float) -> tuple[np.ndarray, np.ndarray]:
        """The biases at `beta`, where the weights are beta W."""
        return (1 - beta) * self.a_first + beta * self.a, (1 - beta) * self.b_first + beta * self.b

    def log_p(self, beta: float, s: np.ndarray, product: np.ndarray) -> np.ndarray:
        """log sum_t exp(-E) at `beta`, of s (n, S) and s W (n, T): (n,) float64."""
        a, b = self.between(beta)
        terms = softplus(np.float32(beta) * product + b.astype(np.float32))
        return s @ a + terms.sum(axis=1, dtype=np.float64)  # type: ignore[no-any-return]

    @property
    def log_z_first(self) -> float:
        """log Z at beta 0."""
        return float(softplus(self.a_first).sum() + softplus(self.b_first).sum())


@dataclass(frozen=True)
class Partition:
    """Estimates of log Z, with the standard errors and effective sample sizes of the weights behind them.

    Attributes
    ----------
    log_z, mcse, ess
        By annealed importance sampling: in expectation not above log Z.
    reverse, reverse_mcse, reverse_ess
        By its reverse: not below, if the chains that it begins with have forgotten where they came from.
    chains, temperatures
        Of each direction.
    """

    log_z: float
    mcse: float
    ess: float
    reverse: float
    reverse_mcse: float
    reverse_ess: float
    chains: int
    temperatures: int


class Chains:
    """Rows s (n, S) and s W, moved by Gibbs sampling with noise of their own for each step."""

    def __init__(self, machine: Bipartite, n: int, seed: np.uint64, first_step: int):
        self._machine, self._seed, self._step = machine, seed, first_step
        self._noise = [np.empty((n, size), np.float32) for size in machine.weight.shape]
        self.s = self._draw(0, np.broadcast_to(sigmoid(machine.a_first), (n, len(machine.a))))
        self.product = self.s @ machine.weight

    def _draw(self, group: int, mean: np.ndarray) -> np.ndarray:
        noise = self._noise[group]
        cpu.uniform_noise(self._seed, philox.CHAIN, self._step, 0, noise)
        self._step += 1
        return (noise <= mean).astype(np.float32)

    def move(self, beta: float) -> None:
        """t given s, then s given t, at `beta`."""
        machine, beta = self._machine, np.float32(beta)
        a, b = (array.astype(np.float32) for array in machine.between(beta))
        t = self._draw(1, sigmoid(beta * self.product + b))
        self.s = self._draw(0, sigmoid(beta * (t @ machine.weight.T) + a))
        self.product = self.s @ machine.weight


def _mean_of(log_weights: np.ndarray) -> tuple[float, float, float]:
    """log mean exp, its standard error, and the effective sample size."""
    largest = log_weights.max()
    weights = np.exp(log_weights - largest)
    mean = weights.mean()
    error = weights.std(ddof=1) / mean / np.sqrt(len(weights)) if len(weights) > 1 else np.nan
    return float(largest + np.log(mean)), float(error), float(weights.sum() ** 2 / np.square(weights).sum())


def _annealed(machine: Bipartite, chains: Chains, betas: np.ndarray) -> np.ndarray:
    """log weights (n,) of chains that are at the first of `betas` and go to the last."""
    total = np.zeros(len(chains.s))
    for i, (before, after) in enumerate(_pairs(betas)):
        if i:
            chains.move(before)
        total += machine.log_p(after, chains.s, chains.product) - machine.log_p(before, chains.s, chains.product)
    return total


def _pairs(betas: np.ndarray) -> Iterator[tuple[float, float]]:
    yield from zip(betas[:-1].tolist(), betas[1:].tolist(), strict=True)


def partition(
    machine: Bipartite, n_chains: int, temperatures: int, seed: np.uint64, burn_in: int | None = None
) -> Partition:
    """Estimate log Z by so many chains and temperatures, in both directions.

    The chains of the reverse begin where as many steps of Gibbs sampling at beta 1, `burn_in` or as many as there are
    temperatures, take them from the machine without weights. Noise: Philox, stream CHAIN.
    """
    betas = np.linspace(0.0, 1.0, temperatures + 1)
    with blas.one_thread():
        forward = _annealed(machine, Chains(machine, n_chains, seed, ANNEALING), betas)
        chains = Chains(machine, n_chains, seed, REVERSE)
        for _ in range(temperatures if burn_in is None else burn_in):
            chains.move(1.0)
        backward = _annealed(machine, chains, betas[::-1])
    log_z, mcse, ess = _mean_of(forward)
    ratio, reverse_mcse, reverse_ess = _mean_of(backward)
    first = machine.log_z_first
    return Partition(first + log_z, mcse, ess, first - ratio, reverse_mcse, reverse_ess, n_chains, temperatures)
