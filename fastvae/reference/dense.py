"""Dense layers; columns side by side."""

import numpy as np

from fastvae.reference.activations import ACTIVATIONS


def dense_forward(x, weight, bias, activation):
    """y = activation(x @ weight + bias)."""
    return ACTIVATIONS[activation][0](x @ weight + bias)


def dense_backward(x, weight, bias, activation, d_y):
    """d_x, d_weight, d_bias."""
    d_a = d_y * ACTIVATIONS[activation][1](x @ weight + bias)
    return d_a @ weight.T, x.T @ d_a, d_a.sum(axis=0)


def concatenate(a, b):
    """a (B, D) and b (N, C) side by side, each row of b beside the B / N rows of a that go with it."""
    return np.concatenate([a, np.repeat(b, len(a) // len(b), axis=0)], axis=1)


def concatenate_backward(d_out, columns):
    """The gradient of a, which has so many columns."""
    return d_out[:, :columns]
