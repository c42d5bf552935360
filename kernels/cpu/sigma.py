"""A Gaussian's sigma that is not fixed: one for all columns, or one a column."""

import numpy as np

from fastvae.kernels.cpu.compiler import kernel, reduction
from fastvae.kernels.formulas import (
    LEAST_ABOVE,
    MEMORY,
    ONE,
    SIGMA_RATE,
    ZERO,
    exp,
    f32,
    log_sigma_gradient,
    log_sigma_of_squares,
    remembered_log_sigma,
    soft_log_sigma,
    soft_parameter,
    soft_slope,
    squared_error_term,
)

RATE, LEAST, NEW = f32(SIGMA_RATE), f32(LEAST_ABOVE), f32(1.0 - MEMORY)


@kernel
def sigma_forward(parameter, lowest, log_sigma, inverse):
    """See the contract in `fastvae.kernels`."""
    each = parameter.size > 1
    for j in range(log_sigma.size):
        k = j if each else 0
        log_sigma[j] = soft_log_sigma(RATE * parameter[k], lowest[k])
        inverse[j] = exp(-log_sigma[j])


@reduction
def sigma_backward(d_xhat, inverse, parameter, lowest, weight, weights, d_parameter):
    """See the contract in `fastvae.kernels`."""
    rows, columns = d_xhat.shape
    each, count = parameter.size > 1, columns if parameter.size == 1 else 1
    d_parameter[:] = ZERO
    seen = f32(rows * count) if weights.size == 0 else ZERO
    for i in range(rows):
        total = ZERO
        if weights.size == 0:
            for j in range(columns):
                if each:
                    d_parameter[j] += d_xhat[i, j] * d_xhat[i, j]
                else:
                    total += d_xhat[i, j] * d_xhat[i, j]
        elif weights[i] != ZERO:  # a row of d_xhat has its weight already; the squares have it once more
            seen += weights[i] * f32(count)
            for j in range(columns):  # no inverse of a weight: those below 3e-39 have none in float32
                if each:
                    d_parameter[j] += d_xhat[i, j] * d_xhat[i, j] / weights[i]
                else:
                    total += d_xhat[i, j] * d_xhat[i, j] / weights[i]
        if not each:
            d_parameter[0] += total
    for k in range(parameter.size):
        slope = RATE * soft_slope(RATE * parameter[k], lowest[k])
        d_parameter[k] = slope * log_sigma_gradient(d_parameter[k], seen, f32(weight), inverse[k])


@reduction
def sigma_optimal(x, xhat, lowest, log_sigma, inverse):
    """See the contract in `fastvae.kernels`."""
    rows, columns = xhat.shape
    each, whole, repeats = lowest.size > 1, 0.0, max(rows // max(len(x), 1), 1)
    log_sigma[:] = ZERO
    for i in range(rows):
        total = ZERO
        for j in range(columns):
            term = squared_error_term(x[i // repeats, j], xhat[i, j], ONE)[0]
            if each:
                log_sigma[j] += term
            else:
                total += term
        whole += np.float64(total)
    for j in range(columns):
        if each:
            log_sigma[j] = log_sigma_of_squares(log_sigma[j], f32(rows), lowest[j])
        else:
            log_sigma[j] = log_sigma_of_squares(f32(whole), f32(rows) * f32(columns), lowest[0])
        inverse[j] = exp(-log_sigma[j])


@kernel
def sigma_remember(log_sigma, share, lowest, step, parameter):
    """See the contract in `fastvae.kernels`."""
    for k in range(parameter.size):
        old = soft_log_sigma(RATE * parameter[k], lowest[k])
        new = remembered_log_sigma(old, log_sigma[k], f32(step), f32(share), NEW)
        parameter[k] = soft_parameter(new, lowest[k], LEAST) / RATE
