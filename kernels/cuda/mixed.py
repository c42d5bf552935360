"""Rows of tables whose columns are of several kinds, on the device: a warp for each row, a lane for each column."""

import numpy as np

from fastvae.kernels.cuda.declaration import COUNT, FLOATS, INTEGERS, WARP, kernel
from fastvae.kernels.cuda.driver import cuda
from fastvae.kernels.cuda.instructions import part, sum_of_warp
from fastvae.kernels.cuda.sigma import SLICES, THREADS, sum_of_slices
from fastvae.kernels.formulas import ONE, SIGMA_RATE, ZERO, exp, f32, log, soft_slope
from fastvae.kernels.mixed import CATEGORICAL, column_terms, seen_value

ROWS = 4  # of a block of (WARP, ROWS) threads
RATE = f32(SIGMA_RATE)
u32, u64, i64 = np.uint32, np.uint64, np.int64


@part
def log_sum_exp(a, first, stop):
    """log sum exp of the numbers first ... stop - 1 of an array."""
    largest, k = a[first], first + u64(1)
    while k < stop:
        largest = a[k] if a[k] > largest else largest
        k = k + u64(1)
    total, k = ZERO, first
    while k < stop:
        total += exp(a[k] - largest)
        k = k + u64(1)
    return largest + log(total)


@kernel(FLOATS, FLOATS, FLOATS, FLOATS, INTEGERS, INTEGERS, FLOATS, *[COUNT] * 4, block=(WARP, ROWS))
def mixed_forward(x, a, theta, log_scale, kinds, stops, nll, repeats, rows, columns, outputs):
    """`mixed_forward` of the contract, of `rows` rows of a, `repeats` for each of x."""
    lane, row = u32(cuda.threadIdx.x), u32(cuda.blockIdx.x) * u32(ROWS) + u32(cuda.threadIdx.y)
    total, j = ZERO, lane
    while row < rows and j < columns:
        value = x[u64(row // repeats) * u64(columns) + u64(j)]
        start = u64(row) * u64(outputs)
        first = start + u64(stops[u32(j - u32(1))] if j > u32(0) else i64(0))
        if value == value:  # else it is missing
            total += log_scale[j]
            if kinds[j] == CATEGORICAL:
                total += log_sum_exp(a, first, start + u64(stops[j])) - a[first + u64(value)]
            else:
                total += column_terms(kinds[j], value, a[first], theta[j])[0]
        j = u32(j + u32(WARP))
    total = sum_of_warp(total)
    if row < rows and lane == u32(0):
        nll[row] = total


@kernel(
    FLOATS, FLOATS, FLOATS, FLOATS, INTEGERS, INTEGERS, COUNT, FLOATS, FLOATS, FLOATS, FLOATS, *[COUNT] * 4,
    block=(WARP, ROWS),
)  # fmt: skip
def mixed_forward_backward(
    x, a, theta, log_scale, kinds, stops, weight, nll, d_a, d_theta, reals, repeats, rows, columns, outputs
):
    """`mixed_forward_backward` of the contract, of `rows` rows of a, `repeats` for each of x."""
    lane, row = u32(cuda.threadIdx.x), u32(cuda.blockIdx.x) * u32(ROWS) + u32(cuda.threadIdx.y)
    total, j, factor = ZERO, lane, reals[weight]
    while row < rows and j < columns:
        value = x[u64(row // repeats) * u64(columns) + u64(j)]
        start = u64(row) * u64(outputs)
        first, stop = start + u64(stops[u32(j - u32(1))] if j > u32(0) else i64(0)), start + u64(stops[j])
        by_theta, k = ZERO, first
        if value != value:
            while k < stop:
                d_a[k] = ZERO
                k = k + u64(1)
        elif kinds[j] == CATEGORICAL:
            norm, level = log_sum_exp(a, first, stop), first + u64(value)
            total += norm - a[level] + log_scale[j]
            while k < stop:
                d_a[k] = factor * exp(a[k] - norm) - (factor if k == level else ZERO)
                k = k + u64(1)
        else:
            term, slope, by_theta = column_terms(kinds[j], value, a[first], theta[j])
            total += term + log_scale[j]
            d_a[first] = factor * slope
        d_theta[u64(row) * u64(columns) + u64(j)] = factor * by_theta
        j = u32(j + u32(WARP))
    total = sum_of_warp(total)
    if row < rows and lane == u32(0):
        nll[row] = total


@kernel(
    FLOATS, FLOATS, FLOATS, INTEGERS, INTEGERS, INTEGERS, FLOATS, COUNT, COUNT, COUNT, block=(WARP, ROWS)
)  # fmt: skip
def mixed_inputs(x, centre, inverse, kinds, stops, ends, out, rows, columns, width):
    """`mixed_inputs` of the contract."""
    lane, row = u32(cuda.threadIdx.x), u32(cuda.blockIdx.x) * u32(ROWS) + u32(cuda.threadIdx.y)
    j = lane
    while row < rows and j < columns:
        value, before = x[u64(row) * u64(columns) + u64(j)], u32(j - u32(1))
        first = stops[before] if j > u32(0) else i64(0)
        place = ends[before] if j > u32(0) else i64(0)
        own, start, end = stops[j] - first, u64(row) * u64(width) + u64(place), ends[j] - place
        k = i64(0)
        while k < end:
            out[start + u64(k)] = ONE if value != value and k == own else ZERO
            k = k + i64(1)
        if value == value:
            if kinds[j] == CATEGORICAL:
                out[start + u64(value)] = ONE
            else:
                out[start] = seen_value(kinds[j], value, centre[j], inverse[j])
        j = u32(j + u32(WARP))


@kernel(FLOATS, FLOATS, FLOATS, FLOATS, COUNT, COUNT, block=(WARP, SLICES))
def mixed_parameter_backward(d_theta, parameter, lowest, d_parameter, rows, columns):
    """`mixed_parameter_backward` of the contract: a block for WARP of the columns."""
    shared = cuda.shared.array(THREADS, np.float32)
    j, i, total = u32(cuda.blockIdx.x) * u32(WARP) + u32(cuda.threadIdx.x), u32(cuda.threadIdx.y), ZERO
    while j < columns and i < rows:
        total += d_theta[u64(i) * u64(columns) + u64(j)]
        i = u32(i + u32(SLICES))
    total = sum_of_slices(total, shared, True)
    if j < columns and cuda.threadIdx.y == 0:
        d_parameter[j] = total * (RATE * soft_slope(RATE * parameter[j], lowest[j]))
