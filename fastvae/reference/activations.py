"""Activations: value and derivative, both from the argument a."""

from collections.abc import Callable

import numpy as np

LEAKY_SLOPE = 0.01


def sigmoid(a):
    """1 / (1 + e^-a)."""
    e = np.exp(-np.abs(a))
    return np.where(a < 0, e, 1.0) / (1.0 + e)


def softplus(a):
    """ln(1 + e^a)."""
    return np.maximum(a, 0.0) + np.log1p(np.exp(-np.abs(a)))


def silu(a):
    """a / (1 + e^-a)."""
    return a * sigmoid(a)


def d_silu(a):
    """s + a s (1 - s), with s = sigmoid(a)."""
    return sigmoid(a) + a * sigmoid(a) * sigmoid(-a)


ACTIVATIONS: dict[str, tuple[Callable, Callable]] = {
    "identity": (lambda a: a, np.ones_like),
    "relu": (lambda a: np.maximum(a, 0.0), lambda a: np.where(a > 0, 1.0, 0.0)),
    "leaky_relu": (lambda a: np.where(a > 0, a, LEAKY_SLOPE * a), lambda a: np.where(a > 0, 1.0, LEAKY_SLOPE)),
    "tanh": (np.tanh, lambda a: 4 * sigmoid(2 * a) * sigmoid(-2 * a)),  # 1 - tanh^2 without its cancellation
    "sigmoid": (sigmoid, lambda a: sigmoid(a) * sigmoid(-a)),
    "softplus": (softplus, sigmoid),
    "silu": (silu, d_silu),
}
