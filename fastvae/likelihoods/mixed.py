"""Mixed tables: columns of several kinds, each with a likelihood of its own; values may be missing."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastvae.kernels import mixed as terms
from fastvae.kernels import philox
from fastvae.kernels.memory import empty
from fastvae.kernels.slots import Slot
from fastvae.likelihoods.base import Weigh
from fastvae.likelihoods.gaussian import LOG_SIGMA_LOWEST
from fastvae.likelihoods.kinds import KINDS
from fastvae.likelihoods.soft import SoftLikelihood
from fastvae.parameters import Shape
from fastvae.passes import Each, Pass
from fastvae.reference import mixed_inputs, mixed_terms


class Mixed(SoftLikelihood):
    """The product over the columns whose value is there of the likelihoods of their kinds, in the user's units.

    Parameters
    ----------
    kinds
        Of each column, keys of `fastvae.kernels.mixed.KINDS`.
    levels
        Of each column that is a category how many values it has; else 1.
    gaps
        Of each column whether the encoder is told that its value is missing.

    Attributes
    ----------
    theta : (D,)
        log sigma of a Gaussian in the model's units, log r of a negative binomial; of others nothing.
    """

    NAME, LINEAR = "mixed", True
    CENTRE, INVERSE, LOG_SCALE = "mixed.centre", "mixed.inverse", "mixed.log_scale"

    def __init__(self, kinds: Sequence[str], levels: Sequence[int], gaps: Sequence[bool]):
        super().__init__(len(kinds))
        self.kinds, self.levels, self.gaps = tuple(kinds), tuple(levels), tuple(gaps)
        self.codes = np.array([terms.KINDS[kind] for kind in kinds], np.int64)
        self.stops = np.cumsum(self.levels, dtype=np.int64)
        self.ends = np.cumsum(np.add(self.levels, self.gaps), dtype=np.int64)
        self.lowest, self.centre, self.inverse, self.log_scale = (empty(self.columns) for _ in range(4))
        self.lowest[:], self.centre[:], self.inverse[:], self.log_scale[:] = LOG_SIGMA_LOWEST, 0, 1, 0

    @property
    def inputs(self) -> int:
        """How many numbers an encoder is given of a row."""
        return int(self.ends[-1])

    @property
    def outputs(self) -> int:
        """How many a decoder gives."""
        return int(self.stops[-1])

    # ---- parameters ---------------------------------------------------------------------------------------------

    def shapes(self) -> dict[str, Shape]:
        """One parameter a column."""
        return {self.PARAMETER: (self.columns,)}

    def constants(self) -> dict[str, np.ndarray]:
        """The lowest theta, what the encoder sees counts by, and the logarithm of each column's unit, (D,) each."""
        named = (self.LOWEST, self.lowest), (self.CENTRE, self.centre), (self.INVERSE, self.inverse)
        return dict([*named, (self.LOG_SCALE, self.log_scale)])

    def learn(self, x: np.ndarray, scale: np.ndarray) -> None:
        """Take from rows x (N, D) in the model's units, NaN where a value is missing, and from their unit (D,), how
        wide each column is."""
        theta = np.zeros(self.columns)
        self.starts = [np.zeros(levels) for levels in self.levels]
        self.slopes: list[Any] = [1.0] * self.columns
        for j, kind in enumerate(self.kinds):
            known = x[~np.isnan(x[:, j]), j]
            if not len(known):
                continue
            own = KINDS[kind]
            self.starts[j], theta[j], self.slopes[j] = own.start(known, self.levels[j])
            self.log_scale[j] = np.log(scale[j])
            if own.DEVIATION:
                self.lowest[j] = theta[j] + LOG_SIGMA_LOWEST
            elif not own.OUTPUT_PER_LEVEL:
                seen = own.seen(known)
                self.centre[j], self.inverse[j] = seen.mean(), 1 / (seen.std() or 1.0)
        self.set_logs(theta)

    def alone(self) -> "Mixed":
        """Another of the same columns, with parameters of its own, for `learn` and `terms`."""
        other = Mixed(self.kinds, self.levels, self.gaps)
        other.parameter = np.zeros(self.columns, np.float32)
        return other

    @property
    def theta(self) -> np.ndarray:
        """See the class."""
        return self.logs

    @property
    def sigma(self) -> np.ndarray:
        """Of each Gaussian column its standard deviation, in the model's units; NaN of the others."""
        with np.errstate(over="ignore"):  # one that has diverged is infinite, which the loss will show
            return np.where(self.codes == terms.GAUSSIAN, np.exp(self.theta), np.nan)

    def intercept(self, mean: np.ndarray) -> np.ndarray:
        """The decoder's outputs (A,) at which each column is as it is in the data."""
        return np.concatenate(self.starts)

    # ---- in a pass ----------------------------------------------------------------------------------------------

    def seen(self, p: Pass, x: np.ndarray) -> np.ndarray:
        """Write what an encoder is given: numbers, counts by their logarithm, a 1 for a category's level; and which of
        the values that may be missing are."""
        seen = p.empty(self.inputs)
        p.add("mixed_inputs", x, self.centre, self.inverse, self.codes, self.stops, self.ends, seen)
        return seen

    def _theta(self, p: Pass) -> Each:
        theta, inverse = p.each(self.columns), p.each(self.columns)
        p.add("sigma_forward", self.parameter, self.lowest, theta, inverse)
        return theta

    def loss(
        self, p: Pass, x: np.ndarray, a: np.ndarray, weight: float | Slot, weigh: Weigh | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Likelihood`."""
        nll, d_a, d_theta = self._both(p, x, a, weight)
        weights = self._weigh(p, nll, d_a, weigh)
        if weights is not None:
            p.add("scale_rows_inplace", weights, d_theta)
        p.gradient(self, ("mixed_parameter_backward", d_theta, self.parameter, self.lowest))
        return nll, d_a

    def _both(
        self, p: Pass, x: np.ndarray, a: np.ndarray, weight: float | Slot
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        nll, d_a, d_theta = p.beside(a), p.beside(a, a.shape[1]), p.beside(a, self.columns)
        columns = self._theta(p), self.log_scale, self.codes, self.stops
        p.add("mixed_forward_backward", x, a, *columns, weight, nll, d_a, d_theta)
        return nll, d_a, d_theta

    def nll_and_gradient(self, p: Pass, x: np.ndarray, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Likelihood`."""
        nll, d_a, _ = self._both(p, x, a, 1.0)
        return nll, d_a

    def nll(self, p: Pass, x: np.ndarray, a: np.ndarray, nll: np.ndarray) -> np.ndarray:
        """Write nll (B,)."""
        p.add("mixed_forward", x, a, self._theta(p), self.log_scale, self.codes, self.stops, nll)
        return nll

    def mean(self, p: Pass, a: np.ndarray) -> np.ndarray:
        """The decoder's outputs themselves: what they mean is said by `guess`, `draw` and `mean_of`."""
        return a

    # ---- over arrays of the host --------------------------------------------------------------------------------

    def _by_column(self, a: np.ndarray) -> list[tuple[Any, np.ndarray, float]]:
        """Of each column its kind, its outputs (N, K), and theta."""
        parts = np.split(a.astype(np.float64), self.stops[:-1], axis=1)
        return [(KINDS[kind], part, theta) for kind, part, theta in zip(self.kinds, parts, self.theta, strict=True)]

    def guess(self, a: np.ndarray) -> np.ndarray:
        """The best single values (N, D) at outputs a (N, A): means; of categories, and of yes or no, the most probable
        one."""
        return np.column_stack([kind.best(kind.mean(own, theta)) for kind, own, theta in self._by_column(a)])

    def mean_of(self, j: int, a: np.ndarray) -> np.ndarray:
        """Of column j the means (N,) at outputs a (N, A), of a category the probabilities (N, K)."""
        own = a[:, self.stops[j] - self.levels[j] : self.stops[j]].astype(np.float64)
        return KINDS[self.kinds[j]].mean(own, self.theta[j])

    def draw(
        self, mean: np.ndarray, kernels: Any, seed: np.uint64, call: int, columns: slice = slice(None)
    ) -> np.ndarray:
        """Values (N, D) from p(x|z), by the outputs of the decoder (N, A) and NumPy's generator."""
        rng = np.random.Generator(np.random.Philox(key=int(seed), counter=[0, 0, call, philox.OBSERVATION]))
        return self.drawn(mean, rng)[:, columns].astype(mean.dtype)

    def drawn(self, a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Values (N, D) from p(x|z), at outputs a (N, A)."""
        return np.column_stack([kind.draw(own, theta, rng) for kind, own, theta in self._by_column(a)])

    def terms(self, x: np.ndarray, a: np.ndarray) -> np.ndarray:
        """log p(x_j | z) of each value (N, D) in nats, 0 where it is missing, at outputs a (N, A): in NumPy."""
        x, a = x.astype(np.float64), a.astype(np.float64)
        there = np.where(np.isnan(x), 0.0, self.log_scale)
        return -mixed_terms(x, a, self.theta, self.kinds, self.stops)[0] - there

    def shown(self, x: np.ndarray) -> np.ndarray:
        """What an encoder is given (N, U): as `seen`, in NumPy."""
        centre, inverse = self.centre.astype(np.float64), self.inverse.astype(np.float64)
        return mixed_inputs(x.astype(np.float64), centre, inverse, self.kinds, self.stops, self.ends)
