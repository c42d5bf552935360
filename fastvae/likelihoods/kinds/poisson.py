"""Counts as wide as their mean says."""

import numpy as np

from fastvae.likelihoods.kinds.kind import Kind

MOST = 2.0**53  # rate of counts that are drawn; beyond, counts are no whole numbers of float64
LEAST_MEAN = 1e-3  # of a column, at first: one of zeros alone has no rate


class PoissonKind(Kind):
    """A count, as wide as its mean says."""

    NAME, SUPPORT, WHOLE, LOG_MEAN = "poisson", (0.0, np.inf), True, True

    def mean(self, a, theta):  # noqa: D102
        return np.exp(np.minimum(a[:, 0], np.log(MOST)))

    def draw(self, a, theta, rng):  # noqa: D102
        return rng.poisson(self.mean(a, theta)).astype(np.float64)

    def seen(self, x):  # noqa: D102
        return np.log1p(x)

    def start(self, x, levels):  # noqa: D102
        return np.log([max(x.mean(), LEAST_MEAN)]), 0.0, float(self.seen(x).std() or 1.0)
