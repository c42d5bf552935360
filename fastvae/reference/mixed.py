"""Rows of tables whose columns are of several kinds: the nll of each value and its derivatives, kind by kind.

Each of `KINDS` is a function of x, the output a and theta, (N,) each: nll, d nll / da, d nll / dtheta.
"""

import numpy as np

from fastvae.reference.activations import sigmoid, softplus
from fastvae.reference.likelihoods import LOG_RATE_HIGHEST, log_gamma

LOG_SIZE_LOWEST, LOG_SIZE_HIGHEST = -9.0, 12.0


def digamma(y):
    """d log Gamma(y) / dy, y > 0: its asymptotic series at y + 10, and ten steps down."""
    up = y + 10.0
    v = 1 / up**2
    series = np.log(up) - 0.5 / up - v * (1 / 12 - v * (1 / 120 - v * (1 / 252 - v * (1 / 240 - v / 132))))
    return series - sum(1 / (y + k) for k in range(10))


def gaussian(x, a, log_sigma):
    """-log N(x; a, sigma^2)."""
    r = (a - x) * np.exp(-log_sigma)
    return r**2 / 2 + log_sigma + 0.5 * np.log(2 * np.pi), r * np.exp(-log_sigma), 1 - r**2


def poisson(x, a, theta):
    """-log of the probability of a count of mean e^a."""
    limited = np.minimum(a, LOG_RATE_HIGHEST)
    return np.exp(limited) * (1 + a - limited) - x * a + log_gamma(x + 1), np.exp(limited) - x, np.zeros_like(x)


def negative_binomial(x, a, log_size):
    """-log of the probability of a count of mean m = e^a and variance m + m^2 / r, with r = e^log_size."""
    inside = (log_size >= LOG_SIZE_LOWEST) & (log_size <= LOG_SIZE_HIGHEST)
    r, limited = np.exp(np.clip(log_size, LOG_SIZE_LOWEST, LOG_SIZE_HIGHEST)), np.minimum(a, LOG_RATE_HIGHEST)
    m = np.exp(limited)
    slope = r * (m - x) / (r + m)
    nll = log_gamma(r) - log_gamma(x + r) + log_gamma(x + 1) + (x + r) * np.log1p(m / r) + x * (np.log(r) - limited)
    d_r = np.log1p(m / r) + (x - m) / (r + m) + digamma(r) - digamma(x + r)
    return nll + slope * (a - limited), slope, np.where(inside, r * d_r, 0.0)


def bernoulli(x, a, theta):
    """-log of the probability of x = 1 or 0, at the logit a."""
    return x * softplus(-a) + (1 - x) * softplus(a), (1 - x) * sigmoid(a) - x * sigmoid(-a), np.zeros_like(x)


def continuous_bernoulli(x, a, theta):
    """-log of the density a e^(x a) / (e^a - 1) on [0, 1]; Loaiza-Ganem and Cunningham 2019."""
    y = np.maximum(np.abs(a), 1e-3)
    even = np.abs(a) < 1e-3
    q = np.minimum(np.abs(a), 1e-3) ** 2
    log_norm = np.where(even, q / 24 - np.abs(a) / 2, np.log(-np.expm1(-y) / y))
    tail = np.where(even, 0.5 - np.abs(a) / 12 * (1 - q / 60), 1 / y - np.exp(-y) / -np.expm1(-y))
    value = log_norm + np.where(a < 0, -x * a, (1 - x) * a)
    return value, np.where(a < 0, tail, 1 - tail) - x, np.zeros_like(x)


def continuous_bernoulli_forward_backward(x, logits):
    """nll (B,) of x (B, D) in [0, 1], and its gradient by the logits."""
    nll, slope, _ = continuous_bernoulli(x, logits, 0.0)
    return nll.sum(axis=1), slope


KINDS = {
    "gaussian": gaussian,
    "poisson": poisson,
    "negative_binomial": negative_binomial,
    "bernoulli": bernoulli,
    "continuous_bernoulli": continuous_bernoulli,
}
COUNTS = ("poisson", "negative_binomial")


def mixed_terms(x, a, theta, kinds, stops):
    """The nll of each value (N, D), 0 where x (N, D) is missing, its gradient by a (N, A) and by theta, (N, D).

    `kinds` are names, "categorical" among them: -log softmax(a) at level x.
    """
    nll, d_a, d_theta = np.zeros(x.shape), np.zeros(a.shape), np.zeros(x.shape)
    first = 0
    for j, (kind, stop) in enumerate(zip(kinds, stops, strict=True)):
        rows = np.flatnonzero(~np.isnan(x[:, j]))
        value = x[rows, j]
        if kind == "categorical":
            own = a[rows, first:stop]
            largest = own.max(axis=1, keepdims=True)
            norm = largest + np.log(np.exp(own - largest).sum(axis=1, keepdims=True))
            level = value.astype(int)
            nll[rows, j] = norm[:, 0] - own[np.arange(len(rows)), level]
            d_a[rows, first:stop] = np.exp(own - norm)
            d_a[rows, first + level] -= 1
        else:
            nll[rows, j], d_a[rows, first], d_theta[rows, j] = KINDS[kind](
                value, a[rows, first], np.full(len(rows), theta[j])
            )
        first = stop
    return nll, d_a, d_theta


def mixed_inputs(x, centre, inverse, kinds, stops, ends):
    """What an encoder is given (N, U) of x (N, D): see the contract of the kernels."""
    out, first, place = np.zeros((len(x), ends[-1])), 0, 0
    for j, (kind, stop, end) in enumerate(zip(kinds, stops, ends, strict=True)):
        missing = np.isnan(x[:, j])
        rows, width = np.flatnonzero(~missing), stop - first
        if kind == "categorical":
            out[rows, place + x[rows, j].astype(int)] = 1
        else:
            value = np.log1p(x[rows, j]) if kind in COUNTS else x[rows, j]
            out[rows, place] = (value - centre[j]) * inverse[j]
        if end - place > width:
            out[missing, place + width] = 1
        first, place = stop, end
    return out
