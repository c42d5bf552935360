"""Hamiltonian Monte Carlo along a path of densities from one that can be drawn from to p(x, z).

    f_beta(z) = r(z)^(1 - beta) p(x, z)^beta,        r(z) = N(mean, deviation^2), the prior or q(z|x)

Duane, Kennedy, Pendleton and Roweth 1987; Neal 2011, "MCMC using Hamiltonian dynamics". Arrays are float64: N examples
with C chains each, (N, C) and (N, C, Z).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fastvae.kernels import philox
from fastvae.kernels.memory import empty

Evaluate = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # z -> log p(x|z), and its gradient by z
HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
JITTER = 0.3  # by what share a step size is less or more than the adapted one: no trajectory is a period
USE_SHIFT = 8  # of a use in the number of a stream, above the streams of `philox`
TARGET = 0.8  # mean probability of acceptance that step sizes are adapted to
TURN = 3.0  # the longest trajectory, in `Path.units` of time; half a period of a Gaussian is pi
PILOT_CHAINS, PILOT_TEMPERATURES, PILOT_TRANSITIONS = 4, 25, 3  # of an example; visited; at each
SURE, WIDEST = 2.0, 10.0  # by how many deviations `widening` is above 1; and how far it goes
WARM_UP, GAIN, WINDOW = 10, 0.5, 2  # transitions at the first; of log steps by acceptance; smoothed over 2 w + 1


class State(NamedTuple):
    """Where chains are: z (N, C, Z), with log p(x|z) (N, C) and its gradient (N, C, Z)."""

    z: np.ndarray
    log_likelihood: np.ndarray
    gradient: np.ndarray


@dataclass(frozen=True)
class Path:
    """The densities f_beta of some examples.

    Attributes
    ----------
    mean, deviation : (N, 1, Z)
        Of r: a prior, or q(z|x), perhaps widened.
    scale : (N, 1, Z)
        About the deviations of p(z|x): what the coordinates are measured by where beta is 1.
    """

    mean: np.ndarray
    deviation: np.ndarray
    scale: np.ndarray

    def log_ratio(self, state: State) -> np.ndarray:
        """log p(x, z) - log r(z), (N, C); -inf where it is no number."""
        ratio = state.log_likelihood + self._log_prior(state.z) - self._log_base(state.z)
        return np.where(np.isnan(ratio), -np.inf, ratio)

    def log_density(self, state: State, beta: np.ndarray) -> np.ndarray:
        """log f_beta (N, C), for beta (C,)."""
        return beta * (state.log_likelihood + self._log_prior(state.z)) + (1.0 - beta) * self._log_base(state.z)

    def slope(self, state: State, beta: np.ndarray) -> np.ndarray:
        """The gradient of log f_beta by z, (N, C, Z)."""
        base = (self.mean - state.z) / np.square(self.deviation)
        beta = beta[:, None]
        return beta * (state.gradient - state.z) + (1.0 - beta) * base

    def units(self, beta: np.ndarray) -> np.ndarray:
        """About the deviations of f_beta (N, C, Z), if p(z|x) is a Gaussian: precisions add up."""
        beta = beta[:, None]
        return 1.0 / np.sqrt((1.0 - beta) / np.square(self.deviation) + beta / np.square(self.scale))

    def _log_base(self, z: np.ndarray) -> np.ndarray:
        logs = np.log(self.deviation).sum(axis=-1) + HALF_LOG_2PI * z.shape[-1]
        return -0.5 * np.square((z - self.mean) / self.deviation).sum(axis=-1) - logs

    @staticmethod
    def _log_prior(z: np.ndarray) -> np.ndarray:
        return -0.5 * np.square(z).sum(axis=-1) - HALF_LOG_2PI * z.shape[-1]


def leapfrog(
    path: Path, beta: np.ndarray, state: State, velocity: np.ndarray, step: np.ndarray, count: int, evaluate: Evaluate
) -> tuple[State, np.ndarray]:
    """Follow dz/dt = u v, dv/dt = u d log f_beta / dz for `count` steps (N, C, Z) in units of z: the map keeps volume,
    and goes back to where it began with the velocity v (N, C, Z) reversed."""
    velocity = velocity + 0.5 * step * path.slope(state, beta)
    for i in range(count):
        z = state.z + step * velocity
        state = State(z, *evaluate(z))
        velocity = velocity + (step if i < count - 1 else 0.5 * step) * path.slope(state, beta)
    return state, velocity


def transition(
    path: Path,
    beta: np.ndarray,
    state: State,
    step: np.ndarray,
    noise: np.ndarray,
    uniform: np.ndarray,
    count: int,
    evaluate: Evaluate,
) -> tuple[State, np.ndarray]:
    """A step of Hamiltonian Monte Carlo, which leaves f_beta as it is and is its own reverse.

    Parameters
    ----------
    beta : (C,)
        Of each chain.
    step : (N, C)
        Of the leapfrog, in `Path.units`.
    noise : (N, C, Z)
        From N(0, I): the velocities, all of them new.
    uniform : (N, C)
        In (0, 1]: what decides about acceptance (Metropolis et al. 1953).
    count
        Leapfrog steps.

    Returns
    -------
    state, probability : (N, C)
        The probability with which the proposal was accepted; one that is not finite never is.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # a step that is too long is refused
        lengths = step[..., None] * path.units(beta)
        proposed, velocity = leapfrog(path, beta, state, noise, lengths, count, evaluate)
        before = path.log_density(state, beta) - 0.5 * np.square(noise).sum(axis=-1)
        after = path.log_density(proposed, beta) - 0.5 * np.square(velocity).sum(axis=-1)
        change = np.where(np.isnan(after - before), -np.inf, after - before)
    accepted = np.log(uniform) < change
    state = State(*(np.where(accepted.reshape(accepted.shape + (1,) * (new.ndim - 2)), new, old)
                    for new, old in zip(proposed, state, strict=True)))  # fmt: skip
    return state, np.exp(np.minimum(change, 0.0))


class Noise:
    """The noise of the chains of some examples: that of example i and chain c is a function of the seed, the use, i, c
    and the step alone.

    Parameters
    ----------
    uses
        (use, chains) of chains that stand beside each other: what is drawn for one use, a number, is independent of
        what is drawn for another.
    first_row, rows
        The examples.
    columns
        Z.
    """

    def __init__(
        self, kernels: Any, seed: np.uint64, uses: Sequence[tuple[int, int]], first_row: int, rows: int, columns: int
    ):
        self._kernels, self._seed, self._uses = kernels, seed, uses
        self._first_row, self._rows, self._columns = first_row, rows, columns

    def normals(self, stream: int, step: int) -> np.ndarray:
        """N(0, 1), (N, C, Z) float64."""
        padded = -(-self._columns // philox.COLUMNS) * philox.COLUMNS  # a chain's columns begin with a block of noise
        return self._drawn(self._kernels.normal_noise, stream, step, padded)[..., : self._columns]

    def uniforms(self, stream: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Two arrays (N, C) float64, uniform in (0, 1]."""
        both = self._drawn(self._kernels.uniform_noise, stream, step, 2)
        return both[..., 0], both[..., 1]

    def _drawn(self, kernel: Callable[..., None], stream: int, step: int, columns: int) -> np.ndarray:
        parts = []
        for use, chains in self._uses:
            out = empty(self._rows, chains * columns)
            kernel(self._seed, stream + (use << USE_SHIFT), step, self._first_row, out)
            parts.append(out.reshape(self._rows, chains, columns))
        return np.concatenate(parts, axis=1).astype(np.float64)


def adapted_steps(
    path: Path, betas: np.ndarray, noise: Noise, count: int, evaluate: Evaluate
) -> tuple[np.ndarray, np.ndarray]:
    """Step sizes (N, T + 1) of each example at each beta (T + 1,), in `Path.units`: those at which chains of a pilot
    were accepted with probability `TARGET`, found as they went from r to p(x, z), and smoothed over beta. And where
    these chains came to, z (N, C, Z).

    Robbins and Monro 1951; Andrieu and Thoms 2008. Whoever weighs chains uses others, for which these are constants.
    """
    rows, last = len(path.mean), len(betas) - 1
    if last < 2:
        return np.ones((rows, last + 1)), np.broadcast_to(path.mean, (rows, PILOT_CHAINS, path.mean.shape[2]))
    visited = np.unique(np.linspace(1, last - 1, min(last - 1, PILOT_TEMPERATURES)).round().astype(int))
    z = path.mean + path.deviation * noise.normals(philox.CHAIN, 0)
    state, number = State(z, *evaluate(z)), 0
    logs, log_step, longest = [], np.zeros(rows), math.log(TURN / count)
    for t in visited:
        beta, first = np.full(PILOT_CHAINS, betas[t]), t == visited[0]
        for _ in range(WARM_UP if first else PILOT_TRANSITIONS):
            step = np.repeat(np.exp(log_step)[:, None], PILOT_CHAINS, axis=1)
            state, probability = move(path, beta, state, step, noise, number, count, evaluate)
            log_step = log_step + (1.0 if first else GAIN) * (probability.mean(axis=1) - TARGET)
            log_step, number = np.minimum(log_step, longest), number + 1
        logs.append(log_step)
    places = np.arange(len(logs))
    smooth = np.array(
        [np.mean(logs[max(0, i - WINDOW) : i + WINDOW + 1], axis=0) for i in range(len(logs))]
    )  # (places, N)
    at = np.interp(np.arange(last + 1), visited, places)
    low = at.astype(int)
    high, share = np.minimum(low + 1, places[-1]), at - low
    return np.exp((1.0 - share) * smooth[low].T + share * smooth[high].T), state.z


def widening(z: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """By what factor (N, 1, 1) the chains of a pilot z (N, C, Z) lie wider apart than `scale` (N, 1, Z) has it, one for
    all dimensions: from 1 to `WIDEST`, and 1 unless that is more than chance alone makes of it."""
    chains, columns = z.shape[1:]
    squares = np.square((z - z.mean(axis=1, keepdims=True)) / scale).sum(axis=1, keepdims=True) / (chains - 1)
    ratio = squares.mean(axis=2, keepdims=True)
    sure = ratio > 1.0 + SURE * math.sqrt(2.0 / ((chains - 1) * columns))  # deviations of a mean of chi squares
    return np.where(sure, np.minimum(np.sqrt(ratio), WIDEST), 1.0)


def move(
    path: Path,
    beta: np.ndarray,
    state: State,
    step: np.ndarray,
    noise: Noise,
    number: int,
    count: int,
    evaluate: Evaluate,
) -> tuple[State, np.ndarray]:
    """Transition number `number` of chains, see `transition`, with step sizes `step` (N, C) that are jittered."""
    uniform, other = noise.uniforms(philox.ACCEPTANCE, number)
    jittered = step * (1.0 + JITTER * (2.0 * other - 1.0))
    return transition(path, beta, state, jittered, noise.normals(philox.MOMENTUM, number), uniform, count, evaluate)
