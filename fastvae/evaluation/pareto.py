"""How heavy the tail of importance weights is: Pareto k-hat, the shape of the generalised Pareto distribution that fits
the largest of them.

P(excess > y) = (1 + k y / sigma)^(-1/k): moments of order 1/k and above are infinite. With k below 1/2 the weights have
a variance; above the `threshold` their mean cannot be told from so many of them. Vehtari, Simpson, Gelman, Yao and
Gabry 2024; the fit is that of Zhang and Stephens 2009.
"""

import math

import numpy as np

FEWEST = 5  # weights in a tail that is fitted
PRIOR_SHAPE, PRIOR_WEIGHT = 0.5, 10.0  # what k-hat is drawn to, as by so many weights (Vehtari et al., appendix C)
ROUNDED = 1e-3  # nats by which log weights may be apart that are alike: what float32 rounds of thousands of nats
LEAST_QUARTILE = 1e-280  # of the largest excess: what is less is taken as that
GRID, PRIOR_SCALE = 30, 3.0  # of Zhang and Stephens: points of the grid, besides sqrt(M), and their spread


def threshold(samples: int) -> float:
    """min(1 - 1 / log10 K, 0.7): where the shape of the weights' tail is above it, K of them do not suffice for a
    standard error (Vehtari, Simpson, Gelman, Yao and Gabry 2024, section 3.2.4)."""
    return min(1.0 - 1.0 / math.log10(samples), 0.7) if samples > 1 else -math.inf


def tail_length(samples: int) -> int:
    """M = min(0.2 K, 3 sqrt K), rounded up: how many of K weights are their tail."""
    return math.ceil(min(0.2 * samples, 3.0 * math.sqrt(samples)))


def khat(largest: np.ndarray) -> np.ndarray:
    """The shape k of the tail of each row's weights, (N,).

    Parameters
    ----------
    largest : (N, M + 1)
        Logarithms of the M + 1 largest weights of a row, in any order; what is added to all of a row changes nothing.
        The smallest is where the tail begins.

    Returns
    -------
    (N,) float64
        NaN where the tail has fewer than `FEWEST` weights, or a logarithm is NaN; -inf where all of them are alike but
        for rounding, so that there is no tail: then the proposal is the posterior.
    """
    rows, count = len(largest), largest.shape[1] - 1
    if count < FEWEST:
        return np.full(rows, math.nan)
    ordered = np.sort(np.asarray(largest, np.float64), axis=1)
    top = ordered[:, -1:]
    weights = np.exp(np.where(top == -math.inf, 0.0, ordered - np.where(np.isfinite(top), top, 0.0)))
    excesses = weights[:, 1:] - weights[:, :1]
    alike = excesses[:, -1] <= ROUNDED  # False for NaN
    excesses[alike] = np.arange(1, count + 1)
    return np.where(alike, -math.inf, _fitted(excesses))


def _fitted(x: np.ndarray) -> np.ndarray:
    """The fit to excesses (N, M), rising in each row, with the prior's weight.

    With theta = -k / sigma the likelihood has one maximum for each theta, at k = mean log(1 - theta x). theta is
    averaged over a grid, by the likelihood at each point.
    """
    count = x.shape[1]
    points = GRID + math.isqrt(count)
    quartile = x[:, int(count / 4 + 0.5) - 1]
    quartile = np.maximum(quartile, LEAST_QUARTILE * x[:, -1])
    spread = 1.0 - np.sqrt(points / (np.arange(1, points + 1) - 0.5))
    theta = 1.0 / x[:, -1:] + spread / (PRIOR_SCALE * quartile[:, None])  # (N, points)
    shapes = np.empty_like(theta)
    for j in range(points):  # one after the other: (N, M) numbers at a time
        shapes[:, j] = np.log1p(-theta[:, j : j + 1] * x).mean(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):  # theta = k = 0 at a point: an exponential's
        ratio = np.where(shapes == 0, 1.0 / x.mean(axis=1, keepdims=True), -theta / shapes)
    likelihood = count * (np.log(ratio) - shapes - 1.0)
    likelihood -= likelihood.max(axis=1, keepdims=True)
    posterior = np.exp(likelihood)
    mean = (theta * posterior).sum(axis=1, keepdims=True) / posterior.sum(axis=1, keepdims=True)
    k = np.log1p(-mean * x).mean(axis=1)
    return (k * count + PRIOR_SHAPE * PRIOR_WEIGHT) / (count + PRIOR_WEIGHT)
