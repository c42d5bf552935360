"""Fractions of 1."""

import numpy as np

from fastvae.likelihoods.bisection import solve
from fastvae.likelihoods.kinds.kind import Kind

MOST_LOGIT = 1e4  # that is found for a mean
EVEN = 1e-3  # logits that count as 0


class ContinuousBernoulliKind(Kind):
    """A number in [0, 1], of density a e^(x a) / (e^a - 1). Loaiza-Ganem and Cunningham 2019."""

    NAME, WORD, SUPPORT = "continuous_bernoulli", "fraction", (0.0, 1.0)

    @staticmethod
    def mean_of(a: np.ndarray) -> np.ndarray:
        """The mean at logits a, of any shape: 1 / (1 - e^-a) - 1 / a."""
        even, y = np.abs(a) < EVEN, np.maximum(np.abs(a), EVEN)
        rest = np.where(even, 0.5 - np.abs(a) / 12, 1 / y - np.exp(-y) / -np.expm1(-y))
        return np.where(a < 0, rest, 1 - rest)

    def logit(self, mean: np.ndarray) -> np.ndarray:
        """The logits at which the mean is that, of any shape."""
        return solve(self.mean_of, mean, -MOST_LOGIT, MOST_LOGIT)

    @staticmethod
    def quantile(a: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Below which x lies with probability u: log(1 + u (e^a - 1)) / a."""
        size = np.maximum(np.abs(a), 1e-6)
        up = a > 0  # then 1 - x has the logit -a
        x = -np.log1p(np.where(up, 1 - u, u) * np.expm1(-size)) / size
        return np.clip(np.where(up, 1 - x, x), 0.0, 1.0)

    def mean(self, a, theta):  # noqa: D102
        return self.mean_of(a[:, 0])

    def draw(self, a, theta, rng):  # noqa: D102
        return self.quantile(a[:, 0], rng.random(len(a)))

    def start(self, x, levels):  # noqa: D102
        a = self.logit(np.array([x.mean()]))
        ends = self.mean_of(np.array([a[0] - 10 * EVEN, a[0] + 10 * EVEN]))
        return a, 0.0, float((x.std() or 1.0) * 20 * EVEN / max(ends[1] - ends[0], 1e-12))
