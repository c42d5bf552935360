"""log Z of a Boltzmann machine, by annealed importance sampling and by its reverse.

The reverse goes from draws of the machine back to the one without weights: together they hold log Z between them, the
first from below and the second from above, in expectation (Burda, Grosse and Salakhutdinov 2015). Draws of the machine
are those of chains, of which nobody knows how far they have come: the second is a bound as far as these are.
"""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from fastvae.evaluation.bipartite import Bipartite, Chains
from fastvae.evaluation.observer import Observer, Unobserved
from fastvae.evaluation.result import LogLikelihood, student_quantile
from fastvae.kernels.cpu import blas
from fastvae.kernels.cpu.processor_count import processors

ANNEALING, REVERSE = 1 << 29, 1 << 30  # steps of the noise: those of each direction begin here
PIECE = 50  # transitions, after which an observer is told
AT_ONCE = 1024  # chains whose units are in memory
STEPS = "steps of annealing"
LOWER, BRACKET, ESTIMATE = "lower bound", "bracket", "estimate"  # kinds of results
FAR = 1.0  # nats between both directions, from which on a score says so


@dataclass(frozen=True)
class Partition:
    """Estimates of log Z, with the standard errors and effective sample sizes of the weights behind them.

    Attributes
    ----------
    log_z, mcse, ess
        By annealed importance sampling: in expectation not above log Z.
    reverse, reverse_mcse, reverse_ess
        By its reverse: not below, if the chains that it begins with have forgotten where they came from. NaN where that
        was stopped before any of them came to its end.
    chains, temperatures
        Of each direction; 0 where log Z is exact, and all of these are that.
    complete
        False where it was stopped: there are fewer chains than were asked for.
    """

    log_z: float
    mcse: float
    ess: float
    reverse: float
    reverse_mcse: float
    reverse_ess: float
    chains: int
    temperatures: int
    complete: bool = True

    @classmethod
    def exact(cls, log_z: float) -> Self:
        """Where it is known."""
        return cls(log_z, 0.0, math.inf, log_z, 0.0, math.inf, 0, 0)

    @property
    def middle(self) -> tuple[float, float]:
        """The mean of both directions, whose errors by the logarithm of a mean go to opposite sides; and its standard
        error. Without the reverse, the other."""
        if math.isnan(self.reverse):
            return self.log_z, self.mcse
        return 0.5 * (self.log_z + self.reverse), 0.5 * math.hypot(self.mcse, self.reverse_mcse)

    @property
    def largest(self) -> tuple[float, float]:
        """The larger of both, in expectation not below log Z, and its standard error. Without the reverse, the
        other."""
        return (self.reverse, self.reverse_mcse) if self.reverse > self.log_z else (self.log_z, self.mcse)


EXACTLY_ONE = Partition.exact(0.0)


@dataclass(frozen=True, repr=False)
class OfPartition(LogLikelihood):
    """Whose rows share one error, that of log Z.

    Attributes
    ----------
    partition
        log Z, both ways. `details` have it too, and the mean by either: "mean_by_annealing" and "mean_by_reverse".
    """

    partition: Partition = EXACTLY_ONE

    @property
    def mean_mcse(self) -> float:
        """Monte Carlo standard error of the mean: that of log Z, which no number of rows makes smaller."""
        return float(np.sqrt(np.mean(np.square(self.mcse))))

    def _moved(self, log_z: float) -> np.ndarray:
        used, _ = self.partition.largest if self.kind == LOWER else self.partition.middle
        return self.values + (used - log_z)

    @property
    def lower(self) -> np.ndarray:
        """(N,): by the larger log Z."""
        return self._moved(self.partition.largest[0])

    @property
    def upper(self) -> np.ndarray:
        """(N,): by the smaller log Z."""
        return self._moved(float(np.fmin(self.partition.log_z, self.partition.reverse)))

    @property
    def interval(self) -> np.ndarray:
        """(N, 2): from t standard errors of it below `lower` to as many above `upper`, t as `LogLikelihood` has it."""
        p, t = self.partition, student_quantile(self.degrees_of_freedom)
        ends = [(p.log_z, p.mcse), (p.reverse, p.reverse_mcse)]
        low, high = (np.array([self._moved(log_z + sign * t * error) for log_z, error in ends]) for sign in (1.0, -1.0))
        return np.stack([np.fmin(*low), np.fmax(*high)], axis=1)

    @classmethod
    def made(cls, method: str, kind: str, values: np.ndarray, found: Partition, seconds: float) -> Self:
        """From log p(x) + log Z (N,), or a bound on it. Values of a lower bound are by the larger log Z; others by the
        mean of both. Without the reverse they are an "estimate"."""
        exact, one_way = found.chains == 0, math.isnan(found.reverse)
        log_z, error = found.largest if kind == LOWER else found.middle
        means = {"mean_by_annealing": float(values.mean() - found.log_z)}
        means["mean_by_reverse"] = float(values.mean() - found.reverse)
        details: dict[str, Any] = {} if exact else asdict(found) | means
        return cls(
            method=method,
            kind=ESTIMATE if one_way else kind,
            values=values - log_z,
            mcse=np.full(len(values), error),
            ess=np.full(len(values), np.nan if exact else np.fmin(found.ess, found.reverse_ess)),
            khat=np.full(len(values), np.nan),
            n_samples=found.chains,
            seconds=seconds,
            complete=found.complete,
            details={name: None if value != value else value for name, value in details.items()},
            partition=found,
        )


def _mean_of(log_weights: np.ndarray) -> tuple[float, float, float]:
    """log mean exp, its standard error, and the effective sample size; NaN of none."""
    if not len(log_weights):
        return math.nan, math.nan, math.nan
    largest = log_weights.max()
    weights = np.exp(log_weights - largest)
    mean = weights.mean()
    error = weights.std(ddof=1) / mean / np.sqrt(len(weights)) if len(weights) > 1 else np.nan
    return float(largest + np.log(mean)), float(error), float(weights.sum() ** 2 / np.square(weights).sum())


@contextlib.contextmanager
def _threads() -> Iterator[Callable[..., Any]]:
    """A `map` over as many threads as there are processors."""
    if processors() == 1:
        yield map
        return
    with ThreadPoolExecutor(processors()) as pool:
        yield pool.map


class _Progress:
    """Takes chains along paths, and tells an observer how many steps of all are done."""

    def __init__(self, watcher: Observer, count: int, run: Callable[..., Any]):
        self._watcher, self._count, self._run, self.done = watcher, count, run, 0

    def through(self, path: np.ndarray, blocks: list[Chains]) -> bool:
        """Whether they came to the end of it."""
        for start in range(0, len(path) - 1, PIECE):
            piece = path[start : start + PIECE + 1]
            list(self._run(lambda chains: chains.follow(piece), blocks))  # noqa: B023
            self.done += len(piece) - 1
            self._watcher.progressed(self.done, self._count, STEPS)
            if self.done < self._count and self._watcher.stop_requested():
                return False
        return True


def partition(
    machine: Bipartite,
    n_chains: int,
    temperatures: int,
    seed: np.uint64,
    burn_in: int | None = None,
    observer: Observer | None = None,
) -> Partition:
    """Estimate log Z by so many chains and temperatures, in both directions.

    The chains of the reverse begin where as many steps of Gibbs sampling at beta 1, `burn_in` or as many as there are
    temperatures, take them from the machine without weights. Noise: Philox, stream CHAIN; no bit depends on the number
    of threads.

    Raises
    ------
    KeyboardInterrupt
        The observer had it stop before the first chains had come to their end; later, there is a result of those that
        had.
    """
    betas = np.linspace(0.0, 1.0, temperatures + 1)
    waiting = np.ones(max(temperatures if burn_in is None else burn_in, 1) - 1)
    paths = (ANNEALING, betas), (REVERSE, np.concatenate([waiting, betas[::-1]]))
    each, watcher = sum(len(path) - 1 for _, path in paths), observer or Unobserved()
    found: dict[int, list[np.ndarray]] = {ANNEALING: [], REVERSE: []}
    groups = range(0, n_chains, AT_ONCE)
    with blas.one_thread(), _threads() as run:
        progress = _Progress(watcher, each * len(groups), run)
        for first, (direction, path) in itertools.product(groups, paths):
            blocks = [
                machine.CHAINS(machine, min(machine.BLOCK, n_chains - row), seed, direction, row)
                for row in range(first, min(first + AT_ONCE, n_chains), machine.BLOCK)
            ]
            if not progress.through(path, blocks):
                break
            found[direction] += [block.log_weights for block in blocks]
    forward, backward = (np.concatenate([np.empty(0), *found[way]]) for way in (ANNEALING, REVERSE))
    if not len(forward):
        raise KeyboardInterrupt(
            f"stopped after {progress.done:,} of {temperatures:,} temperatures: log Z is known when the first "
            "chains have gone through all of them; fewer `temperatures` take less time"
        )
    log_z, mcse, ess = _mean_of(forward)
    ratio, reverse_mcse, reverse_ess = _mean_of(backward)
    base = machine.log_z_first
    return Partition(
        base + log_z, mcse, ess, base - ratio, reverse_mcse, reverse_ess, len(forward), temperatures,
        len(backward) == n_chains,
    )  # fmt: skip
