"""Yes or no."""

import numpy as np

from fastvae.likelihoods.kinds.kind import Kind
from fastvae.reference import sigmoid

LEAST_SHARE = 1e-4  # of either, at first


class BernoulliKind(Kind):
    """Yes or no."""

    NAME, WORD, SUPPORT, WHOLE, LEVELS = "bernoulli", "binary", (0.0, 1.0), True, True

    def mean(self, a, theta):  # noqa: D102
        return sigmoid(a[:, 0])

    def draw(self, a, theta, rng):  # noqa: D102
        return (rng.random(len(a)) < self.mean(a, theta)).astype(np.float64)

    def best(self, mean):  # noqa: D102
        return (mean > 0.5).astype(np.float64)

    def start(self, x, levels):  # noqa: D102
        p = np.clip(x.mean(), LEAST_SHARE, 1 - LEAST_SHARE)
        return np.array([np.log(p / (1 - p))]), 0.0, float((x.std() or 1.0) / (p * (1 - p)))
