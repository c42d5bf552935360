"""Counts that are wider than their mean says."""

import numpy as np

from fastvae.kernels.mixed import LOG_SIZE_HIGHEST, LOG_SIZE_LOWEST
from fastvae.likelihoods.kinds.poisson import LEAST_MEAN, MOST, PoissonKind


class NegativeBinomialKind(PoissonKind):
    """A count with a variance m + m^2 / r, r = e^theta."""

    NAME = "negative_binomial"

    def draw(self, a, theta, rng):  # noqa: D102
        r, m = np.exp(np.clip(theta, LOG_SIZE_LOWEST, LOG_SIZE_HIGHEST)), self.mean(a, theta)
        return rng.poisson(np.minimum(rng.gamma(r, m / r), MOST)).astype(np.float64)

    def start(self, x, levels):  # noqa: D102
        a, _, slope = super().start(x, levels)
        mean, excess = max(x.mean(), LEAST_MEAN), max(x.var() - x.mean(), LEAST_MEAN)
        return a, float(np.clip(2 * np.log(mean) - np.log(excess), LOG_SIZE_LOWEST / 2, LOG_SIZE_HIGHEST / 2)), slope
