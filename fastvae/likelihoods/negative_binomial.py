"""Negative binomial: counts that vary more than a Poisson's."""

from typing import Any

import numpy as np

from fastvae.kernels import philox
from fastvae.likelihoods.kinds.negative_binomial import NegativeBinomialKind
from fastvae.likelihoods.mixed import Mixed
from fastvae.likelihoods.poisson import Poisson
from fastvae.passes import Pass


class NegativeBinomial(Mixed):
    """Counts of mean m = exp(a), a the decoder's outputs, and variance m + m^2 / r, with a size r for each column,
    which is learned: nll = sum_D log Gamma(r) - log Gamma(x + r) + log x! + (x + r) log(1 + m / r) + x (log r - a).

    A probability mass, as "poisson", which it is where r is large.
    """

    NAME, SUPPORT, WHOLE, LINEAR, LEARNS = "negative_binomial", (0.0, np.inf), True, False, True
    SEEN, MEAN = "log1p", "exp"

    def __init__(self, columns: int = 1):
        super().__init__((NegativeBinomialKind.NAME,) * columns, (1,) * columns, (False,) * columns)

    def seen(self, p: Pass, x: np.ndarray) -> np.ndarray:
        """See `Poisson`."""
        return Poisson(self.columns).seen(p, x)

    def initialise(self, deviation: np.ndarray, mean: np.ndarray) -> None:
        """Sizes by the means and variances of the columns."""
        wide, squares = mean.astype(np.float64), deviation.astype(np.float64) ** 2
        self.set_logs(NegativeBinomialKind.log_size(wide, squares))

    def intercept(self, mean: np.ndarray) -> np.ndarray:
        """See `Poisson`."""
        return Poisson(self.columns).intercept(mean)

    def mean(self, p: Pass, a: np.ndarray) -> np.ndarray:
        """Write exp(a) over a."""
        p.add("exp_inplace", a)
        return a

    def draw(
        self, mean: np.ndarray, kernels: Any, seed: np.uint64, call: int, columns: slice = slice(None)
    ) -> np.ndarray:
        """Poisson's counts at rates from a Gamma distribution, by NumPy's generator."""
        rng = np.random.Generator(np.random.Philox(key=int(seed), counter=[0, 0, call, philox.OBSERVATION]))
        return NegativeBinomialKind.counts(mean.astype(np.float64), self.theta[columns], rng).astype(mean.dtype)

    def check(
        self,
        X: Any,
        found: tuple[np.ndarray, np.ndarray],
        scaling: tuple[np.ndarray, np.ndarray],
        name: str = "X",
        asked: Any = None,
    ) -> None:
        """As `Poisson` does."""
        Poisson(self.columns).check(X, found, scaling, name, asked, self.NAME)
