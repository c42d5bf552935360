"""One of some levels."""

import numpy as np

from fastvae.likelihoods.kinds.kind import Kind

LEAST_SHARE = 1e-4  # of a level, at first


class CategoricalKind(Kind):
    """One of K levels, by softmax(a)."""

    NAME = "categorical"

    def mean(self, a, theta):  # noqa: D102
        e = np.exp(a - a.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def draw(self, a, theta, rng):  # noqa: D102
        below = np.cumsum(self.mean(a, theta), axis=1)
        return np.minimum((rng.random((len(a), 1)) * below[:, -1:] >= below).sum(axis=1), a.shape[1] - 1).astype(float)

    def guess(self, a, theta):  # noqa: D102
        return a.argmax(axis=1).astype(np.float64)

    def start(self, x, levels):  # noqa: D102
        counts = np.bincount(x.astype(np.int64), minlength=levels)
        p = np.maximum(counts / counts.sum(), LEAST_SHARE)
        return np.log(p), 0.0, 1 / p
