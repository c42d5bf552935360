"""One of some levels."""

import numpy as np

from fastvae.likelihoods.kinds.kind import Kind

LEAST_SHARE = 1e-4  # of a level, at first


def chosen(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One place (N,) of each row of weights (N, K), at odds as they say."""
    below = np.cumsum(weights, axis=1)
    places = (rng.random((len(weights), 1)) * below[:, -1:] >= below).sum(axis=1)
    return np.minimum(places, weights.shape[1] - 1)


class CategoricalKind(Kind):
    """One of K levels, by softmax(a)."""

    NAME, WORD, WHOLE, LEVELS, OUTPUT_PER_LEVEL, LOG_MEAN = "categorical", "category", True, True, True, True

    def mean(self, a, theta):  # noqa: D102
        e = np.exp(a - a.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def draw(self, a, theta, rng):  # noqa: D102
        return chosen(self.mean(a, theta), rng).astype(np.float64)

    def best(self, mean):  # noqa: D102
        return mean.argmax(axis=1).astype(np.float64)

    def start(self, x, levels):  # noqa: D102
        counts = np.bincount(x.astype(np.int64), minlength=levels)
        p = np.maximum(counts / counts.sum(), LEAST_SHARE)
        return np.log(p), 0.0, 1 / p
