"""Rows of tables whose columns are of several kinds: what an encoder is given of them, and their loss."""

import numpy as np

from fastvae.kernels.cpu.addresses import integers_at
from fastvae.kernels.cpu.compiler import kernel, part, reduction
from fastvae.kernels.formulas import ONE, SIGMA_RATE, ZERO, exp, f32, log, soft_slope
from fastvae.kernels.mixed import CATEGORICAL, column_terms, seen_value

RATE = f32(SIGMA_RATE)


@part
def log_sum_exp(a, i, first, stop):
    """log sum exp of the numbers first ... stop - 1 of a row, and the largest of them."""
    largest = a[i, first]
    for k in range(first + 1, stop):
        largest = a[i, k] if a[i, k] > largest else largest
    total = ZERO
    for k in range(first, stop):
        total += exp(a[i, k] - largest)
    return largest + log(total), largest


@reduction
def mixed_forward(x, a, theta, log_scale, kinds, stops, nll):
    """See the contract in `fastvae.kernels`."""
    (rows, columns), repeats = x.shape, len(a) // max(len(x), 1)
    kind, stop = integers_at(kinds, columns), integers_at(stops, columns)
    for n in range(rows):
        for i in range(n * repeats, (n + 1) * repeats):
            total, first = ZERO, 0
            for j in range(columns):
                value = x[n, j]
                if value == value:  # else it is missing
                    total += log_scale[j]
                    if kind[j] == CATEGORICAL:
                        total += log_sum_exp(a, i, first, stop[j])[0] - a[i, first + np.int64(value)]
                    else:
                        total += column_terms(kind[j], value, a[i, first], theta[j])[0]
                first = stop[j]
            nll[i] = total


@reduction
def mixed_forward_backward(x, a, theta, log_scale, kinds, stops, weight, nll, d_a, d_theta):
    """See the contract in `fastvae.kernels`."""
    (rows, columns), repeats, factor = x.shape, len(a) // max(len(x), 1), f32(weight)
    kind, stop = integers_at(kinds, columns), integers_at(stops, columns)
    for n in range(rows):
        for i in range(n * repeats, (n + 1) * repeats):
            total, first = ZERO, 0
            for j in range(columns):
                value, last = x[n, j], stop[j]
                d_theta[i, j] = ZERO
                if value != value:
                    for k in range(first, last):
                        d_a[i, k] = ZERO
                elif kind[j] == CATEGORICAL:
                    total += log_scale[j]
                    norm = log_sum_exp(a, i, first, last)[0]
                    level = first + np.int64(value)
                    total += norm - a[i, level]
                    for k in range(first, last):
                        d_a[i, k] = factor * exp(a[i, k] - norm)
                    d_a[i, level] -= factor
                else:
                    term, slope, by_theta = column_terms(kind[j], value, a[i, first], theta[j])
                    total += term + log_scale[j]
                    d_a[i, first] = factor * slope
                    d_theta[i, j] = factor * by_theta
                first = last
            nll[i] = total


@kernel
def mixed_inputs(x, centre, inverse, kinds, stops, ends, out):
    """See the contract in `fastvae.kernels`."""
    rows, columns = x.shape
    kind, stop, end = integers_at(kinds, columns), integers_at(stops, columns), integers_at(ends, columns)
    for i in range(rows):
        first = place = 0
        for j in range(columns):
            value, width = x[i, j], stop[j] - first
            missing = value != value
            for k in range(place, end[j]):
                out[i, k] = ZERO
            if kind[j] == CATEGORICAL:
                if not missing:
                    out[i, place + np.int64(value)] = ONE
            elif not missing:
                out[i, place] = seen_value(kind[j], value, centre[j], inverse[j])
            if end[j] - place > width and missing:
                out[i, place + width] = ONE
            first, place = stop[j], end[j]


@reduction
def mixed_parameter_backward(d_theta, parameter, lowest, d_parameter):
    """See the contract in `fastvae.kernels`."""
    rows, columns = d_theta.shape
    d_parameter[:] = ZERO
    for i in range(rows):
        for j in range(columns):
            d_parameter[j] += d_theta[i, j]
    for j in range(columns):
        d_parameter[j] *= RATE * soft_slope(RATE * parameter[j], lowest[j])
