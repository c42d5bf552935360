"""The aggregated posterior q(z) = mean over x of q(z|x), held against the prior N(0, I)."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

MOST_DRAWS = 500  # of z in the test
SIMULATIONS = 99  # of the test's statistic under N(0, I): p-values come in steps of 1 / 100
BANDWIDTHS = 3  # of the kernel: squared widths Z / 4, Z and 4 Z


@dataclass(frozen=True)
class AggregatedPosterior:
    """q(z) = 1/N sum_n q(z|x_n) against N(0, I).

    Attributes
    ----------
    mean, variance, skewness, excess_kurtosis : (Z,) float64
        Moments of q(z), exact for these N examples: nothing is drawn. Of N(0, I): 0, 1, 0, 0.
    largest_correlation
        Of two dimensions, by its absolute value; 0 for one dimension.
    correlated
        Which two.
    gain, gain_error
        Nats an example by which the ELBO rises with N(m, S) as the prior, m and S the moments of q(z) on one half of
        the examples, on the other half, with its standard error. In expectation at most KL[q(z) || N(0, I)].
    statistic
        MMD^2 of draws of q(z) and N(0, I), unbiased: 0 in expectation where they are equal; may be negative.
    distance
        The root of the MMD^2 over what it is of a distribution that is far from N(0, I) everywhere: from 0 to about 1.
    p_value
        Of the hypothesis that q(z) = N(0, I).
    draws
        Draws of q(z) in the test, one from each of as many examples.
    kolmogorov : (Z,) float64
        The largest difference between the distribution functions of q(z_j), by a draw from each example, and of
        N(0, 1): it also shows what has the moments of N(0, 1), such as two bands with nothing between.
    """

    mean: np.ndarray
    variance: np.ndarray
    skewness: np.ndarray
    excess_kurtosis: np.ndarray
    largest_correlation: float
    correlated: tuple[int, int]
    gain: float
    gain_error: float
    statistic: float
    distance: float
    p_value: float
    draws: int
    kolmogorov: np.ndarray

    def summary(self) -> dict[str, Any]:
        """What JSON can hold."""
        found = {name: value for name, value in vars(self).items() if not isinstance(value, np.ndarray)}
        arrays = {name: value.tolist() for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return found | {"correlated": list(self.correlated)} | arrays


def aggregated_posterior(
    mu: np.ndarray, logvar: np.ndarray, rng: np.random.Generator, simulations: int = SIMULATIONS
) -> AggregatedPosterior:
    """Hold q(z) of examples with these mu and logvar (N, Z), N >= 2, against N(0, I): see `AggregatedPosterior`.

    The test is that of the maximum mean discrepancy (Gretton et al. 2012) with N(0, I), whose kernel means are known
    in closed form (so that it is a test of Baringhaus and Henze 1988), summed over three Gaussian kernels. Its p-value
    is exact whatever N and Z: the statistic has its rank among those of `simulations` samples of N(0, I) of the same
    size. Where the examples are independent and q(z) is N(0, I), it is at most a with probability at most a.
    """
    count, variance = len(mu), np.exp(logvar)
    mean = mu.mean(axis=0)
    apart = mu - mean
    second = (np.square(apart) + variance).mean(axis=0)
    third = (apart**3 + 3 * apart * variance).mean(axis=0)
    fourth = (apart**4 + 6 * np.square(apart) * variance + 3 * np.square(variance)).mean(axis=0)
    covariance = _covariance(mu, variance)
    correlation = np.triu(covariance / np.sqrt(np.outer(second, second)), 1)
    place = np.unravel_index(np.argmax(np.abs(correlation)), correlation.shape)
    gain, error = gaussian_gain(mu, variance, rng.permutation(count))
    chosen = rng.permutation(count)[:MOST_DRAWS]
    z = mu[chosen] + np.sqrt(variance[chosen]) * rng.standard_normal((len(chosen), mu.shape[1]))
    memory = np.empty((len(z), len(z)), np.float32)
    statistic = squared_mmd(z, memory)
    null = [squared_mmd(rng.standard_normal(z.shape), memory) for _ in range(simulations)]
    return AggregatedPosterior(
        mean, second, third / second**1.5, fourth / second**2 - 3, float(correlation[place]),
        (int(place[0]), int(place[1])), gain, error, statistic,
        math.sqrt(max(0.0, statistic) / _prior_with_itself(mu.shape[1])),
        (1 + sum(value >= statistic for value in null)) / (1 + simulations), len(z),
        kolmogorov(mu + np.sqrt(variance) * rng.standard_normal(mu.shape)),
    )  # fmt: skip


def kolmogorov(z: np.ndarray) -> np.ndarray:
    """max_t |F(t) - Phi(t)| (Z,) of the columns of z (N, Z): Kolmogorov's distance from N(0, 1)."""
    normal = np.vectorize(NormalDist().cdf, otypes=[float])(np.sort(z, axis=0))
    steps = np.arange(len(z) + 1)[:, None] / len(z)
    return np.maximum(steps[1:] - normal, normal - steps[:-1]).max(axis=0)


def _covariance(mu: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Of q(z): that of the means, and the mean of the variances."""
    return np.atleast_2d(np.cov(mu.T, bias=True)) + np.diag(variance.mean(axis=0))


def gaussian_gain(mu: np.ndarray, variance: np.ndarray, order: np.ndarray) -> tuple[float, float]:
    """E_q[log N(z; m, S) - log N(z; 0, I)], the mean over examples, with its standard error over examples: m and S are
    the moments of q(z) on the half to which an example does not belong, by its place in `order` (N,)."""
    halves, gains = (order[::2], order[1::2]), np.empty(len(mu))
    for fitted, judged in (halves, halves[::-1]):
        mean, covariance = mu[fitted].mean(axis=0), _covariance(mu[fitted], variance[fitted])
        precision, apart = np.linalg.inv(covariance), mu[judged] - mean
        square = (apart @ precision * apart).sum(axis=1) + variance[judged] @ np.diag(precision)
        own = (np.square(mu[judged]) + variance[judged]).sum(axis=1)
        gains[judged] = 0.5 * (own - square - np.linalg.slogdet(covariance)[1])
    return float(gains.mean()), float(gains.std(ddof=1) / math.sqrt(len(gains)))


def _widths(dimensions: int) -> list[float]:
    """Squared widths of the kernels, each a quarter of the one before."""
    return [4.0 * dimensions / 4**i for i in range(BANDWIDTHS)]


def _prior_with_itself(dimensions: int) -> float:
    """Sum over the kernels of E k(g, g'), g and g' from N(0, I)."""
    return sum((h / (2 + h)) ** (dimensions / 2) for h in _widths(dimensions))


def squared_mmd(z: np.ndarray, memory: np.ndarray | None = None) -> float:
    """MMD^2 of draws z (n, Z) and N(0, I), unbiased: mean k(z, z') - 2 mean E k(z, g) + E k(g, g'), summed over the
    kernels k(a, b) = exp(-|a - b|^2 / (2 h)) with h = 4 Z, Z and Z / 4. `memory` (n, n) float32 is written
    over."""
    count, dimensions = z.shape
    lengths = np.square(z).sum(axis=1)
    narrow, half = z.astype(np.float32), (0.5 * lengths).astype(np.float32)
    kernel = np.matmul(narrow, narrow.T, out=memory)
    kernel -= half
    kernel -= half[:, None]  # -|a - b|^2 / 2
    np.minimum(kernel, 0, out=kernel)
    widths = _widths(dimensions)
    kernel /= np.float32(widths[0])
    np.exp(kernel, out=kernel)
    total = 0.0
    for i, h in enumerate(widths):
        if i:  # a quarter of the width is the fourth power
            np.square(kernel, out=kernel)
            np.square(kernel, out=kernel)
        pairs = (float(kernel.sum()) - float(np.trace(kernel))) / (count * (count - 1))
        with_prior = (h / (1 + h)) ** (dimensions / 2) * np.exp(-lengths / (2 * (1 + h)))
        total += pairs - 2 * float(with_prior.mean()) + (h / (2 + h)) ** (dimensions / 2)
    return total
