"""The likelihoods on the device: a warp for each row, one pass over it, the gradient in the same pass."""

import math

import numpy as np

from fastvae.kernels.cuda.declaration import COUNT, FLOATS, WARP, kernel
from fastvae.kernels.cuda.driver import cuda
from fastvae.kernels.cuda.instructions import VECTOR, load4, store4, sum_of_warp
from fastvae.kernels.cuda.settings import INVERSE_SIGMA, LOG_SIGMA, SLOPE
from fastvae.kernels.formulas import HALF, ZERO, bernoulli_term, f32, sigmoid, squared_error_term
from fastvae.kernels.scalars import EXAMPLE_WEIGHT

ROWS = 4  # of a block of (WARP, ROWS) threads
FLAT = 256  # threads of a block that does not know rows
HALF_LOG_TWO_PI = np.float32(0.5 * math.log(2.0 * math.pi))
u32, u64 = np.uint32, np.uint64


@kernel(FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, COUNT, COUNT, COUNT, block=(WARP, ROWS))
def bernoulli(x, logits, reals, nll, d_logits, backward, rows, columns):
    """`bernoulli_forward` of the contract, or `bernoulli_forward_backward` where `backward` is 1."""
    lane, row = u32(cuda.threadIdx.x), u32(cuda.blockIdx.x) * u32(ROWS) + u32(cuda.threadIdx.y)
    total, start, weight = ZERO, u64(row) * u64(columns), reals[EXAMPLE_WEIGHT]
    if row < rows:
        if columns % VECTOR == u32(0):
            c = u32(lane * VECTOR)
            while c < columns:
                k = start + u64(c)
                x0, x1, x2, x3 = load4(x, k)
                a0, a1, a2, a3 = load4(logits, k)
                t0, s0 = bernoulli_term(x0, a0)
                t1, s1 = bernoulli_term(x1, a1)
                t2, s2 = bernoulli_term(x2, a2)
                t3, s3 = bernoulli_term(x3, a3)
                total += (t0 + t1) + (t2 + t3)
                if backward:
                    store4(d_logits, k, (weight * s0, weight * s1, weight * s2, weight * s3))
                c = u32(c + u32(WARP) * VECTOR)
        else:
            c = lane
            while c < columns:
                k = start + u64(c)
                term, slope = bernoulli_term(x[k], logits[k])
                total += term
                if backward:
                    d_logits[k] = weight * slope
                c = u32(c + u32(WARP))
    total = sum_of_warp(total)
    if row < rows and lane == u32(0):
        nll[row] = total


@kernel(FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, COUNT, COUNT, COUNT, block=(WARP, ROWS))
def squared_error(x, xhat, reals, nll, d_xhat, backward, rows, columns):
    """`squared_error_forward` of the contract, or `squared_error_forward_backward` where `backward` is 1."""
    lane, row = u32(cuda.threadIdx.x), u32(cuda.blockIdx.x) * u32(ROWS) + u32(cuda.threadIdx.y)
    total, start = ZERO, u64(row) * u64(columns)
    inverse, slope = reals[INVERSE_SIGMA], reals[SLOPE]
    constant = f32(columns) * (reals[LOG_SIGMA] + HALF_LOG_TWO_PI)
    if row < rows:
        if columns % VECTOR == u32(0):
            c = u32(lane * VECTOR)
            while c < columns:
                k = start + u64(c)
                x0, x1, x2, x3 = load4(x, k)
                y0, y1, y2, y3 = load4(xhat, k)
                t0, r0 = squared_error_term(x0, y0, inverse)
                t1, r1 = squared_error_term(x1, y1, inverse)
                t2, r2 = squared_error_term(x2, y2, inverse)
                t3, r3 = squared_error_term(x3, y3, inverse)
                total += (t0 + t1) + (t2 + t3)
                if backward:
                    store4(d_xhat, k, (r0 * slope, r1 * slope, r2 * slope, r3 * slope))
                c = u32(c + u32(WARP) * VECTOR)
        else:
            c = lane
            while c < columns:
                k = start + u64(c)
                term, r = squared_error_term(x[k], xhat[k], inverse)
                total += term
                if backward:
                    d_xhat[k] = r * slope
                c = u32(c + u32(WARP))
    total = sum_of_warp(total)
    if row < rows and lane == u32(0):
        nll[row] = HALF * total + constant


@kernel(FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, COUNT, COUNT, COUNT, block=(WARP, ROWS))
def gaussian(x, xhat, log_sigma, inverse, reals, nll, d_xhat, backward, rows, columns):
    """`gaussian_forward` of the contract, or `gaussian_forward_backward` where `backward` is 1."""
    lane, row = u32(cuda.threadIdx.x), u32(cuda.blockIdx.x) * u32(ROWS) + u32(cuda.threadIdx.y)
    total, logs, start, weight = ZERO, ZERO, u64(row) * u64(columns), reals[EXAMPLE_WEIGHT]
    if row < rows:
        if columns % VECTOR == u32(0):
            c = u32(lane * VECTOR)
            while c < columns:
                k = start + u64(c)
                x0, x1, x2, x3 = load4(x, k)
                y0, y1, y2, y3 = load4(xhat, k)
                l0, l1, l2, l3 = load4(log_sigma, u64(c))
                i0, i1, i2, i3 = load4(inverse, u64(c))
                t0, r0 = squared_error_term(x0, y0, i0)
                t1, r1 = squared_error_term(x1, y1, i1)
                t2, r2 = squared_error_term(x2, y2, i2)
                t3, r3 = squared_error_term(x3, y3, i3)
                total += (t0 + t1) + (t2 + t3)
                logs += (l0 + l1) + (l2 + l3)
                if backward:
                    store4(d_xhat, k, (weight * (r0 * i0), weight * (r1 * i1), weight * (r2 * i2), weight * (r3 * i3)))
                c = u32(c + u32(WARP) * VECTOR)
        else:
            c = lane
            while c < columns:
                k = start + u64(c)
                term, r = squared_error_term(x[k], xhat[k], inverse[c])
                total += term
                logs += log_sigma[c]
                if backward:
                    d_xhat[k] = weight * (r * inverse[c])
                c = u32(c + u32(WARP))
    total = sum_of_warp(total)
    logs = sum_of_warp(logs)
    if row < rows and lane == u32(0):
        nll[row] = HALF * total + (logs + f32(columns) * HALF_LOG_TWO_PI)


@kernel(FLOATS, COUNT, block=(FLAT,))
def sigmoid_inplace(logits, size):
    """`sigmoid_inplace` of the contract over `size` numbers."""
    thread, threads = u32(cuda.grid(1)), u32(cuda.gridsize(1))
    whole = size - size % VECTOR
    k = u32(thread * VECTOR)
    while k < whole:
        a0, a1, a2, a3 = load4(logits, u64(k))
        store4(logits, u64(k), (sigmoid(a0), sigmoid(a1), sigmoid(a2), sigmoid(a3)))
        k = u32(k + threads * VECTOR)
    k = u32(whole + thread)
    while k < size:
        logits[k] = sigmoid(logits[k])

        k = u32(k + threads)


@kernel(FLOATS, FLOATS, COUNT, COUNT, block=(FLAT,))
def scale_inplace(x, reals, place, size):
    """`scale_inplace` of the contract over `size` numbers; the factor stands at that place of `reals`."""
    factor = reals[place]
    thread, threads = u32(cuda.grid(1)), u32(cuda.gridsize(1))
    whole = size - size % VECTOR
    k = u32(thread * VECTOR)
    while k < whole:
        x0, x1, x2, x3 = load4(x, u64(k))
        store4(x, u64(k), (factor * x0, factor * x1, factor * x2, factor * x3))
        k = u32(k + threads * VECTOR)
    k = u32(whole + thread)
    while k < size:
        x[k] *= factor

        k = u32(k + threads)
