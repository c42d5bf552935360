"""Numbers."""

import numpy as np

from fastvae.likelihoods.kinds.kind import Kind


class GaussianKind(Kind):
    """A number."""

    NAME, WORD, DEVIATION = "gaussian", "number", True

    def mean(self, a, theta):  # noqa: D102
        return a[:, 0]

    def draw(self, a, theta, rng):  # noqa: D102
        return a[:, 0] + np.exp(theta) * rng.standard_normal(len(a))

    def start(self, x, levels):  # noqa: D102
        return np.array([x.mean()]), float(np.log(x.std() or 1.0)), 1.0
