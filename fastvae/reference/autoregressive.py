"""Masked layers, and the masked autoencoder that they make (MADE; Germain et al. 2015)."""

import numpy as np

from fastvae.reference.activations import ACTIVATIONS
from fastvae.reference.dense import dense_backward
from fastvae.reference.likelihoods import bernoulli_forward_backward


def staircase(depths, inputs):
    """M (inputs, outputs): 1 where an input is among the first depths[j], which output j sees, else 0."""
    return (np.arange(inputs)[:, None] < depths).astype(float)


def masked_forward(x, weight, bias, activation, mask):
    """y = activation(x @ (weight * M) + bias)."""
    return ACTIVATIONS[activation][0](x @ (weight * mask) + bias)


def masked_backward(x, weight, bias, activation, mask, d_y):
    """d_x, d_weight, d_bias; what is masked has no gradient."""
    d_x, d_weight, d_bias = dense_backward(x, weight * mask, bias, activation, d_y)
    return d_x, d_weight * mask, d_bias


def made_masks(columns, widths):
    """Masks of the hidden layers, of the output, and of the direct connections, for columns in their own order.

    Degrees as Germain et al. have them: column d (from 1) has degree d, unit k of a hidden layer one of 1 ... D - 1. A
    hidden unit sees what has its degree at most (equation 8), an output what has less than its own (equation 9).
    """
    column = np.arange(1, columns + 1)
    below, masks = column, []
    for width in widths:
        unit = np.array([min(1 + k * (columns - 1) // width, columns - 1) for k in range(width)])
        masks.append((below[:, None] <= unit).astype(float))
        below = unit
    output = (below[:, None] < column).astype(float)
    return masks, output, (column[:, None] < column).astype(float)


def made_logits(x, parameters, widths, activation):
    """a_d of p(x_d = 1 | x_<d) = sigmoid(a_d), (B, D), of one ordering, that of the columns."""
    masks, of_output, of_direct = made_masks(x.shape[1], widths)
    h = x
    for i, mask in enumerate(masks):
        h = masked_forward(h, parameters[f"hidden.{i}.weight"], parameters[f"hidden.{i}.bias"], activation, mask)
    a = h @ (parameters["output.weight"] * of_output) + parameters["output.bias"]
    return a + x @ (parameters["direct.weight"] * of_direct) if "direct.weight" in parameters else a


def made_log_prob(x, parameters, widths, activation):
    """log p(x) = sum_d log p(x_d | x_<d), (B,)."""
    return -bernoulli_forward_backward(x, made_logits(x, parameters, widths, activation))[0]


def mixture_log_prob(log_probs):
    """log p(x) of equal parts of K models, from log p_k(x) (K, B): log 1/K sum_k p_k(x)."""
    largest = np.max(log_probs, axis=0)
    return largest + np.log(np.mean(np.exp(log_probs - largest), axis=0))
