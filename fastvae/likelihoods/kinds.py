"""Kinds of columns of a mixed table, each with its likelihood: what is made of the decoder's outputs, in NumPy.

The nll of each, and its gradient, are in `fastvae.kernels.mixed`.
"""

from typing import ClassVar

import numpy as np

from fastvae.kernels.mixed import LOG_SIZE_HIGHEST, LOG_SIZE_LOWEST
from fastvae.reference import sigmoid

LEAST_MEAN, LEAST_SHARE = 1e-3, 1e-4  # of counts and of levels, at first
MOST = 2.0**53  # rate of counts that are drawn; beyond, counts are no whole numbers of float64
MOST_LOGIT = 30.0  # of a continuous Bernoulli that is found for a mean
EVEN = 1e-3  # logits of a continuous Bernoulli that count as 0


class Kind:
    """Base of the kinds. Outputs a are (N, K), with K levels of a category, else K = 1; theta is a number.

    Attributes
    ----------
    NAME
        Of the likelihood.
    """

    NAME: ClassVar[str]

    def mean(self, a: np.ndarray, theta: float) -> np.ndarray:
        """The mean of p(x|z) (N,), of a category the probabilities of its levels (N, K)."""
        raise NotImplementedError

    def draw(self, a: np.ndarray, theta: float, rng: np.random.Generator) -> np.ndarray:
        """Values (N,) from p(x|z)."""
        raise NotImplementedError

    def guess(self, a: np.ndarray, theta: float) -> np.ndarray:
        """The best single value (N,): the mean, or the most probable value of what is a choice."""
        return self.mean(a, theta)

    def start(self, x: np.ndarray, levels: int) -> tuple[np.ndarray, float, float | np.ndarray]:
        """From all values x (N,) that are there: outputs (K,) at which p(x|z) is as wide as they are, theta, and by how
        much an output changes where what the encoder sees does, a number or (K,)."""
        raise NotImplementedError


class GaussianKind(Kind):
    """A number."""

    NAME = "gaussian"

    def mean(self, a, theta):  # noqa: D102
        return a[:, 0]

    def draw(self, a, theta, rng):  # noqa: D102
        return a[:, 0] + np.exp(theta) * rng.standard_normal(len(a))

    def start(self, x, levels):  # noqa: D102
        return np.array([x.mean()]), float(np.log(x.std() or 1.0)), 1.0


class PoissonKind(Kind):
    """A count, as wide as its mean says."""

    NAME = "poisson"

    def mean(self, a, theta):  # noqa: D102
        return np.exp(np.minimum(a[:, 0], np.log(MOST)))

    def draw(self, a, theta, rng):  # noqa: D102
        return rng.poisson(self.mean(a, theta)).astype(np.float64)

    def start(self, x, levels):  # noqa: D102
        return np.log([max(x.mean(), LEAST_MEAN)]), 0.0, float(np.log1p(x).std() or 1.0)


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


class BernoulliKind(Kind):
    """Yes or no."""

    NAME = "bernoulli"

    def mean(self, a, theta):  # noqa: D102
        return sigmoid(a[:, 0])

    def draw(self, a, theta, rng):  # noqa: D102
        return (rng.random(len(a)) < self.mean(a, theta)).astype(np.float64)

    def guess(self, a, theta):  # noqa: D102
        return (a[:, 0] > 0).astype(np.float64)

    def start(self, x, levels):  # noqa: D102
        p = np.clip(x.mean(), LEAST_SHARE, 1 - LEAST_SHARE)
        return np.array([np.log(p / (1 - p))]), 0.0, float((x.std() or 1.0) / (p * (1 - p)))


class ContinuousBernoulliKind(Kind):
    """A number in [0, 1], of density a e^(x a) / (e^a - 1). Loaiza-Ganem and Cunningham 2019."""

    NAME = "continuous_bernoulli"

    def mean(self, a, theta):  # noqa: D102
        safe = np.where(np.abs(a[:, 0]) < EVEN, 1.0, a[:, 0])
        return np.where(np.abs(a[:, 0]) < EVEN, 0.5 + a[:, 0] / 12, 1 / -np.expm1(-safe) - 1 / safe)

    def draw(self, a, theta, rng):  # noqa: D102
        u, size = rng.random(len(a)), np.maximum(np.abs(a[:, 0]), 1e-6)
        drawn = -np.log1p(u * np.expm1(-size)) / size  # of -|a|: the density falls from 0
        return np.clip(np.where(a[:, 0] > 0, 1 - drawn, drawn), 0.0, 1.0)

    def start(self, x, levels):  # noqa: D102
        low, high, wanted = -MOST_LOGIT, MOST_LOGIT, x.mean()
        for _ in range(60):  # by halves: the mean rises with the logit
            middle = 0.5 * (low + high)
            low, high = (middle, high) if self.mean(np.array([[middle]]), 0.0)[0] < wanted else (low, middle)
        ends = self.mean(np.array([[middle - EVEN], [middle + EVEN]]), 0.0)
        return np.array([middle]), 0.0, float((x.std() or 1.0) * 2 * EVEN / (ends[1] - ends[0]))


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


KINDS: dict[str, Kind] = {
    kind.NAME: kind()
    for kind in (
        GaussianKind, PoissonKind, NegativeBinomialKind, BernoulliKind, ContinuousBernoulliKind, CategoricalKind,
    )
}  # fmt: skip
