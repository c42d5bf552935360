"""Likelihoods: nll and its gradient; a sigma that is not fixed."""

import math

import numpy as np

from fastvae.reference.activations import sigmoid, softplus

LOG_RATE_HIGHEST = 30.0


def gaussian_terms(x, xhat, sigma):
    """log N(x; xhat, sigma^2) of each column; sigma a number, or (D,)."""
    return -((x - xhat) ** 2 / (2 * sigma**2) + np.log(sigma) + 0.5 * np.log(2 * np.pi))


def squared_error_forward_backward(x, xhat, sigma):
    """nll (B,) of N(x; xhat, diag(sigma^2)) and its gradient by xhat; sigma a number, or (D,)."""
    return -gaussian_terms(x, xhat, sigma).sum(axis=1), (xhat - x) / sigma**2


def soft_sigma(parameter, lowest):
    """sigma and d log sigma / d parameter: log sigma = lowest + softplus(10 parameter - lowest)."""
    a = 10 * parameter - lowest
    return np.exp(lowest + softplus(a)), 10 * sigmoid(a)


def d_log_sigma(x, xhat, sigma, weights=1.0):
    """The sum over the batch of nll, of rows with weights (B,), differentiated by the logarithm of each column's sigma:
    (D,)."""
    return (np.reshape(weights, (-1, 1)) * (1 - ((x - xhat) / sigma) ** 2)).sum(axis=0)


def optimal_sigma(x, xhat, lowest):
    """sigma^2 = mean of (x - xhat)^2, over all columns or of each, as `lowest` (1,) or (D,) has it; log sigma is at
    least that. Rybkin et al. 2021."""
    squares = (x - xhat) ** 2
    return np.sqrt(np.maximum(squares.mean(axis=0) if len(lowest) > 1 else squares.mean(), np.exp(2 * lowest)))


def remembered_sigma(old, seen, step, share):
    """A running mean of sigma^2: of all batches at first, later of about ten; this one is `share` of a whole one."""
    new = 1.0 if step == 1 else share * max(0.1, 1 / step)
    return np.sqrt((1 - new) * old**2 + new * seen**2)


def bernoulli_terms(x, logits):
    """x log p + (1 - x) log(1 - p) of each column, with log p = -softplus(-a)."""
    return -(x * softplus(-logits) + (1 - x) * softplus(logits))


def bernoulli_forward_backward(x, logits):
    """nll (B,) and its gradient by the logits."""
    return -bernoulli_terms(x, logits).sum(axis=1), (1 - x) * sigmoid(logits) - x * sigmoid(-logits)


log_gamma = np.vectorize(math.lgamma, otypes=[float])


def divergence_forward_backward(x, mean):
    """KL[Bernoulli(x) || Bernoulli(mean)], summed over columns, and its derivative by the mean."""
    value = x * np.log(x / mean) + (1 - x) * np.log((1 - x) / (1 - mean))
    return value.sum(axis=1), (mean - x) / (mean * (1 - mean))


def poisson_terms(x, log_rate):
    """x a - e^a - log x! of each column of counts, a the log rate; above a = 30 the tangent of e^a takes its place."""
    limited = np.minimum(log_rate, LOG_RATE_HIGHEST)
    return x * log_rate - np.exp(limited) * (1 + log_rate - limited) - log_gamma(x + 1)


def poisson_forward_backward(x, log_rate):
    """nll (B,) of counts and its gradient by the log rate."""
    return -poisson_terms(x, log_rate).sum(axis=1), np.exp(np.minimum(log_rate, LOG_RATE_HIGHEST)) - x
