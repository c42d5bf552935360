"""Reductions of the likelihoods, with their gradients in the same pass."""

import math

import numpy as np

from fastvae.kernels.cpu.compiler import kernel, reduction
from fastvae.kernels.formulas import ZERO, bernoulli_term, f32, sigmoid, squared_error_term

HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


@reduction
def squared_error_forward(x, xhat, log_sigma, inverse, nll):
    """See the contract in `fastvae.kernels`."""
    rows, columns = x.shape
    constant, by = columns * (log_sigma + HALF_LOG_TWO_PI), f32(inverse)
    for i in range(rows):
        total = ZERO
        for j in range(columns):
            total += squared_error_term(x[i, j], xhat[i, j], by)[0]
        nll[i] = f32(0.5 * total + constant)


@reduction
def squared_error_forward_backward(x, xhat, log_sigma, inverse, weight, nll, d_xhat):
    """See the contract in `fastvae.kernels`."""
    rows, columns = x.shape
    constant = columns * (log_sigma + HALF_LOG_TWO_PI)
    by, slope = f32(inverse), f32(weight * inverse)
    for i in range(rows):
        total = ZERO
        for j in range(columns):
            term, r = squared_error_term(x[i, j], xhat[i, j], by)
            total += term
            d_xhat[i, j] = r * slope
        nll[i] = f32(0.5 * total + constant)


@reduction
def bernoulli_forward(x, logits, nll):
    """See the contract in `fastvae.kernels`."""
    rows, columns = x.shape
    for i in range(rows):
        total = ZERO
        for j in range(columns):
            total += bernoulli_term(x[i, j], logits[i, j])[0]
        nll[i] = total


@reduction
def bernoulli_forward_backward(x, logits, weight, nll, d_logits):
    """See the contract in `fastvae.kernels`."""
    rows, columns = x.shape
    factor = f32(weight)
    for i in range(rows):
        total = ZERO
        for j in range(columns):
            term, slope = bernoulli_term(x[i, j], logits[i, j])
            total += term
            d_logits[i, j] = factor * slope
        nll[i] = total


@reduction
def total(values):
    """See the contract in `fastvae.kernels`."""
    found = 0.0
    for i in range(values.size):
        found += np.float64(values[i])
    return found


@kernel
def sigmoid_inplace(logits):
    """See the contract in `fastvae.kernels`."""
    rows, columns = logits.shape
    for i in range(rows):
        for j in range(columns):
            logits[i, j] = sigmoid(logits[i, j])
