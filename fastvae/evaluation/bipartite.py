"""log Z of a Boltzmann machine of two groups of units, s and t, between which alone there are weights.

    -E(s, t) = s' W t + a' s + b' t        Z = sum over s of exp(a' s) prod_j (1 + exp(b_j + s' W_j))

A restricted Boltzmann machine is one, and so is a deep one with two hidden layers: s = h1, t = (v, h2). Annealed
importance sampling goes from a machine without weights to this one by machines whose parameters lie between, t summed
out: Neal 2001; Salakhutdinov and Murray 2008. The reverse goes back, from draws of this machine: together they hold
log Z between them, the first from below and the second from above, in expectation (Burda, Grosse and Salakhutdinov
2015). Draws of this machine are those of chains, of which nobody knows how far they have come: the second is a bound as
far as these are.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np

from fastvae.evaluation.result import LogLikelihood
from fastvae.kernels import philox
from fastvae.kernels.cpu import blas
from fastvae.kernels.cpu.calls import FUNCTIONS
from fastvae.reference import softplus

LOG_2_PI = float(np.log(2 * np.pi))
ANNEALING, REVERSE = 1 << 29, 1 << 30  # steps of the noise: those of each direction begin here


def sigmoid(a: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-a), by a function that NumPy has as vector instructions and that never overflows."""
    return 0.5 * np.tanh(0.5 * a) + 0.5


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
        return s @ a + terms.sum(axis=1, dtype=np.float64)

    def drawn(self, activation: np.ndarray, noise: "Noise") -> np.ndarray:
        """t (n, T) given beta s W + b."""
        return (noise.uniform(1) <= sigmoid(activation)).astype(np.float32)

    @property
    def log_z_first(self) -> float:
        """log Z at beta 0."""
        return float(softplus(self.a_first).sum() + softplus(self.b_first).sum())


@dataclass(frozen=True)
class GaussianBipartite(Bipartite):
    """With t real: -E(s, t) = -|t - b|^2 / 2 + s' W t + a' s; b_first is not used, as b does for every `beta`."""

    def between(self, beta: float) -> tuple[np.ndarray, np.ndarray]:
        """As for binary t; b as it is."""
        return super().between(beta)[0], self.b

    def log_p(self, beta: float, s: np.ndarray, product: np.ndarray) -> np.ndarray:
        """log of the integral over t: T/2 log 2 pi + beta b' W' s + beta^2 |W' s|^2 / 2 + a' s."""
        a, b = self.between(beta)
        product = product.astype(np.float64)
        terms = beta * (product @ b) + 0.5 * beta**2 * np.square(product).sum(axis=1)
        return s @ a + terms + 0.5 * len(self.b) * LOG_2_PI

    def drawn(self, activation: np.ndarray, noise: "Noise") -> np.ndarray:
        """t (n, T) given beta s W + b, its mean."""
        return activation + noise.normal(1)

    @property
    def log_z_first(self) -> float:
        """log Z at beta 0."""
        return float(softplus(self.a_first).sum() + 0.5 * len(self.b) * LOG_2_PI)


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


class OfPartition(LogLikelihood):
    """Whose rows share one error, that of log Z."""

    @property
    def mean_mcse(self) -> float:
        """Monte Carlo standard error of the mean: that of log Z, which no number of rows makes smaller."""
        return float(np.sqrt(np.mean(np.square(self.mcse))))

    @classmethod
    def made(cls, method: str, kind: str, values: np.ndarray, log_z: Partition, seconds: float) -> Self:
        """From log p(x) + log Z (N,), or a bound on it. Its `details` are those of log Z, and the means by it and by
        its reverse."""
        both = {"mean": float(values.mean() - log_z.log_z), "mean_by_reverse": float(values.mean() - log_z.reverse)}
        each = np.ones(len(values))
        return cls(
            method=method,
            kind=kind,
            values=values - log_z.log_z,
            mcse=log_z.mcse * each,
            ess=log_z.ess * each,
            khat=np.nan * each,
            n_samples=log_z.chains,
            seconds=seconds,
            details=asdict(log_z) | both,
        )


class Noise:
    """Of n chains with groups of units of these sizes: Philox, stream CHAIN, a step of its own for each draw."""

    def __init__(self, n: int, sizes: tuple[int, ...], seed: np.uint64, first_step: int):
        self._seed, self._step = seed, first_step
        self._room = [np.empty((n, size), np.float32) for size in sizes]

    def _filled(self, draw: Callable[..., None], group: int) -> np.ndarray:
        draw(self._seed, philox.CHAIN, self._step, 0, self._room[group])
        self._step += 1
        return self._room[group]

    def uniform(self, group: int) -> np.ndarray:
        """In (0, 1), one for each unit of a group."""
        return self._filled(FUNCTIONS["uniform_noise"], group)

    def normal(self, group: int) -> np.ndarray:
        """N(0, 1), one for each unit of a group."""
        return self._filled(FUNCTIONS["normal_noise"], group)


class Chains:
    """Rows s (n, S) and s W, moved by Gibbs sampling with noise of their own for each step."""

    def __init__(self, machine: Bipartite, n: int, seed: np.uint64, first_step: int):
        self._machine, self._noise = machine, Noise(n, machine.weight.shape, seed, first_step)
        self._draw(np.broadcast_to(sigmoid(machine.a_first), (n, len(machine.a))))

    def _draw(self, mean: np.ndarray) -> None:
        self.s = (self._noise.uniform(0) <= mean).astype(np.float32)
        self.product = self.s @ self._machine.weight

    def move(self, beta: float) -> None:
        """t given s, then s given t, at `beta`."""
        machine, by = self._machine, np.float32(beta)
        a, b = (array.astype(np.float32) for array in machine.between(beta))
        t = machine.drawn(by * self.product + b, self._noise)
        self._draw(sigmoid(by * (t @ machine.weight.T) + a))


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
