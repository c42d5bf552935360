"""Counts that are wider than their mean says."""

from typing import Any

import numpy as np

from fastvae.kernels.mixed import LOG_SIZE_HIGHEST, LOG_SIZE_LOWEST
from fastvae.likelihoods.kinds.poisson import LEAST_MEAN, MOST, PoissonKind


class NegativeBinomialKind(PoissonKind):
    """A count with a variance m + m^2 / r, r = e^theta."""

    NAME, WORD = "negative_binomial", "count"

    @staticmethod
    def log_size(mean: Any, variance: Any) -> Any:
        """log r = log(m^2 / (variance - m)) of columns, kept well within its limits."""
        mean, excess = np.maximum(mean, LEAST_MEAN), np.maximum(np.subtract(variance, mean), LEAST_MEAN)
        return np.clip(2 * np.log(mean) - np.log(excess), LOG_SIZE_LOWEST / 2, LOG_SIZE_HIGHEST / 2)

    @staticmethod
    def counts(mean: np.ndarray, theta: Any, rng: np.random.Generator) -> np.ndarray:
        """Counts of these means: a Poisson's, at rates from a Gamma distribution."""
        r = np.exp(np.clip(theta, LOG_SIZE_LOWEST, LOG_SIZE_HIGHEST))
        return rng.poisson(np.minimum(rng.gamma(r, np.minimum(mean, MOST) / r), MOST)).astype(np.float64)

    def draw(self, a, theta, rng):  # noqa: D102
        return self.counts(self.mean(a, theta), theta, rng)

    def start(self, x, levels):  # noqa: D102
        a, _, slope = super().start(x, levels)
        return a, float(self.log_size(x.mean(), x.var())), slope
