"""The neural autoregressive distribution estimator (NADE): Larochelle and Murray 2011; Uria et al. 2016.

Columns stand in the order of the model; x (B, D) of 0 and 1, W and V (D, H), c (H,), b (D,).
"""

import numpy as np

from fastvae.reference.activations import sigmoid
from fastvae.reference.likelihoods import bernoulli_forward_backward


def prefix_units(x, W, c):
    """h_d = sigmoid(c + sum_{j<d} x_j W_j) of each column, (B, D, H)."""
    before = np.cumsum(x[:, :, None] * W, axis=1) - x[:, :, None] * W
    return sigmoid(c + before)


def prefix_forward(x, W, c, V, b):
    """logits_d = b_d + V_d . h_d, (B, D)."""
    return b + np.einsum("bdh,dh->bd", prefix_units(x, W, c), V)


def prefix_backward(x, W, c, V, d_logits):
    """d_W, d_c, d_V, d_b. Uria et al. 2016, algorithm 1: d_a of a column is what all later ones say of it."""
    h = prefix_units(x, W, c)
    d_a = d_logits[:, :, None] * V * h * (1 - h)
    later = np.cumsum(d_a[:, ::-1], axis=1)[:, ::-1] - d_a
    d_W = np.einsum("bd,bdh->dh", x, later)
    return d_W, d_a.sum(axis=(0, 1)), np.einsum("bd,bdh->dh", d_logits, h), d_logits.sum(axis=0)


def nade_log_prob(x, W, c, V, b):
    """log p(x) = sum_d log p(x_d | x_<d), (B,)."""
    return -bernoulli_forward_backward(x, prefix_forward(x, W, c, V, b))[0]
