"""Whether q(z|x) is as wide as the true posterior p(z|x)."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.evaluation.densities import Given, Joint
from fastvae.evaluation.pareto import khat, tail_length, threshold

MOST_ROUNDS, LEAST_ROUNDS = 12, 3  # of adaptation
SETTLED = 0.15  # by what logarithms of variances still change then
PIECE_NUMBERS = 1 << 21  # of z at a time, 16 MiB


@dataclass(frozen=True)
class PosteriorWidth:
    """The variance of p(z|x) over that of q(z|x), dimension by dimension, both about the mean of q.

    Attributes
    ----------
    ratio : (Z,) float64
        The mean over examples. Above 1, q is too narrow: importance weights have a heavy tail then; below 1, too wide.
        Of a Gaussian posterior with correlations, the best diagonal q is narrower than its marginals: a ratio of 1 to 3
        is that of a model that is well.
    gap, gap_error
        Nats an example between the bound of `n_samples` samples, drawn from q with its variances times `ratio`, and the
        ELBO, both from draws of these examples; with its standard error over examples. At most KL[q(z|x) || p(z|x)] in
        expectation, and near it where `ess_widened` is not small.
    ess, ess_widened
        Medians over the examples of the effective sample size of the weights: from q, and from q with its variances
        times `ratio`.
    unreliable, unreliable_widened
        Shares of the examples whose weights have a Pareto k-hat above the threshold for `n_samples`, with either.
    n_examples, n_samples
        How many examples, and draws of z for each.
    """

    ratio: np.ndarray
    gap: float
    gap_error: float
    ess: float
    ess_widened: float
    unreliable: float
    unreliable_widened: float
    n_examples: int
    n_samples: int

    def summary(self) -> dict[str, Any]:
        """What JSON can hold."""
        return vars(self) | {"ratio": self.ratio.tolist()}


def posterior_width(joint: Joint, indices: np.ndarray, n_samples: int, rng: np.random.Generator) -> PosteriorWidth:
    """Compare q(z|x) with p(z|x) for examples `indices` (n,) int64, by `n_samples` >= 2 weighted draws of z each.

    ratio_j = mean over x of E_p(z|x)[(z_j - mu_j)^2] / exp(logvar_j), by self-normalised importance weights. Draws from
    a q that is far too narrow do not come to where the posterior is; so the variances of the proposal are multiplied by
    the ratios that were found, one a dimension for all examples, and new draws are weighed, until they settle: adaptive
    importance sampling (Cappe, Douc, Guillin, Marin and Robert 2008). The last draws have not adapted anything.
    """
    given = joint.rows(indices)
    mu, logvar = joint.encode(given)
    deviation, variances = np.exp(0.5 * logvar), np.ones(mu.shape[1])
    weigh = _Weighing(joint, given, mu, deviation, n_samples, rng)
    elbo, _, first_ess, first_khat, second = weigh(variances)
    last_khat = first_khat
    for i in range(MOST_ROUNDS):
        change = np.log(second)
        if i >= LEAST_ROUNDS and np.abs(change).mean() < SETTLED:
            break
        variances = variances * second
        _, bound, ess, last_khat, second = weigh(variances)
    gaps = bound - elbo
    error = float(gaps.std(ddof=1) / math.sqrt(len(gaps))) if len(gaps) > 1 else math.nan
    reached = threshold(n_samples)
    return PosteriorWidth(
        ratio=variances * second,
        gap=float(gaps.mean()),
        gap_error=error,
        ess=float(np.median(first_ess)),
        ess_widened=float(np.median(ess)),
        unreliable=float((first_khat > reached).mean()),
        unreliable_widened=float((last_khat > reached).mean()),
        n_examples=len(given),
        n_samples=n_samples,
    )


class _Weighing:
    """Draws from q, with its variances multiplied, and what their weights say."""

    def __init__(
        self, joint: Joint, given: Given, mu: np.ndarray, deviation: np.ndarray, n_samples: int,
        rng: np.random.Generator,
    ):  # fmt: skip
        self.joint, self.given, self.mu, self.deviation = joint, given, mu, deviation
        self.n_samples, self.rng = n_samples, rng

    def __call__(self, variances: np.ndarray) -> tuple[np.ndarray, ...]:
        """For variances times (Z,): mean log weight, bound, effective sample size and k-hat, each (n,), and the mean
        over examples of the second moment (Z,) of (z - mu) / deviation of the proposal."""
        count, dimensions = self.mu.shape
        means, bounds, sizes, shapes = (np.empty(count) for _ in range(4))
        second, step = np.zeros(dimensions), max(1, PIECE_NUMBERS // (self.n_samples * dimensions))
        for start in range(0, count, step):
            piece = slice(start, min(count, start + step))
            eps = self.rng.standard_normal((piece.stop - start, self.n_samples, dimensions))
            deviation = self.deviation[piece] * np.sqrt(variances)
            logs = self.joint(self.given[piece], self.mu[piece, None] + deviation[:, None] * eps)
            logs += log_normal(eps, deviation)
            weights, bounds[piece] = normalised(logs)
            means[piece], sizes[piece] = logs.mean(axis=1), 1 / np.square(weights).sum(axis=1)
            tail = min(self.n_samples, tail_length(self.n_samples) + 1)
            shapes[piece] = khat(np.partition(logs, -tail, axis=1)[:, -tail:])
            second += np.einsum("nk,nkz->z", weights, np.square(eps))
        return means, bounds, sizes, shapes, second / count


def log_normal(eps: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """-log N(z; mu, diag(deviation^2)) (n, K) of z = mu + deviation eps, with eps (n, K, Z) and deviation (n, Z)."""
    logs = np.log(deviation).sum(axis=1) + 0.5 * eps.shape[2] * math.log(2 * math.pi)
    return 0.5 * np.square(eps).sum(axis=2) + logs[:, None]


def normalised(logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (n, K) that sum to 1, of log weights (n, K), and the logarithm of the mean weight (n,); all alike where
    none is above 0."""
    most = logs.max(axis=1, keepdims=True)
    weights = np.exp(logs - np.where(np.isfinite(most), most, 0))
    weights[~np.isfinite(most[:, 0])] = 1
    total = weights.sum(axis=1, keepdims=True)
    return weights / total, (most + np.log(total) - math.log(logs.shape[1]))[:, 0]
