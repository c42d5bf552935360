"""Fractions of 1."""

import numpy as np

from fastvae.likelihoods.kinds.kind import Kind

MOST_LOGIT = 30.0  # that is found for a mean
EVEN = 1e-3  # logits that count as 0


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
