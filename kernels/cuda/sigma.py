"""Sums over the rows of a batch, on the device: a Gaussian's sigma that is not fixed, one for all columns or one a
column; and the KL of latent dimensions. Few numbers.

A block is of (WARP, SLICES) threads, a lane for each column. Where each column has its own sigma, a block has WARP of
them; else one block has all.
"""

import numpy as np

from fastvae.kernels.cuda.declaration import COUNT, FLOATS, INTEGERS, WARP, kernel
from fastvae.kernels.cuda.driver import cuda
from fastvae.kernels.cuda.instructions import part, sum_of_warp
from fastvae.kernels.cuda.settings import STOPPED, whole
from fastvae.kernels.formulas import (
    LEAST_ABOVE,
    MEMORY,
    ONE,
    SIGMA_RATE,
    ZERO,
    exp,
    f32,
    free_part,
    kl_term,
    limited_logvar,
    log_sigma_gradient,
    log_sigma_of_squares,
    remembered_log_sigma,
    soft_log_sigma,
    soft_parameter,
    soft_slope,
    squared_error_term,
)

SLICES = 8  # rows that a block looks at together
THREADS = WARP * SLICES
RATE, LEAST, NEW = f32(SIGMA_RATE), f32(LEAST_ABOVE), f32(1.0 - MEMORY)
u32, u64 = np.uint32, np.uint64


@part
def sum_of_slices(value, shared, each):
    """The sum over the block's threads with the same lane, or with all lanes unless `each`; in one order."""
    lane = u32(cuda.threadIdx.x)
    if not each:
        value = sum_of_warp(value)
    shared[u32(cuda.threadIdx.y) * u32(WARP) + lane] = value
    cuda.syncthreads()
    total = ZERO
    for row in range(SLICES):
        total += shared[u32(row) * u32(WARP) + lane]
    return total


@kernel(FLOATS, FLOATS, FLOATS, FLOATS, COUNT, COUNT, block=(THREADS,))
def sigma_forward(parameter, lowest, log_sigma, inverse, size, columns):
    """`sigma_forward` of the contract, from `size` parameters."""
    j = u32(cuda.grid(1))
    if j < columns:
        k = j if size > u32(1) else u32(0)
        found = f32(soft_log_sigma(RATE * parameter[k], lowest[k]))
        log_sigma[j], inverse[j] = found, exp(-found)


@kernel(*[FLOATS] * 4, COUNT, FLOATS, COUNT, FLOATS, FLOATS, COUNT, COUNT, COUNT, block=(WARP, SLICES))
def sigma_backward(
    d_xhat, inverse, parameter, lowest, weight, weights, weighted, d_parameter, reals, size, rows, columns
):
    """`sigma_backward` of the contract, for `size` parameters; `weights` count where `weighted` is 1."""
    shared = cuda.shared.array(THREADS, np.float32)
    own, each, total = u32(cuda.blockIdx.x) * u32(WARP) + u32(cuda.threadIdx.x), size > u32(1), ZERO
    seen, i = ZERO, u32(0)
    while weighted and i < rows:
        seen += weights[i]
        i = u32(i + u32(1))
    seen = seen if weighted else f32(rows)
    j = own
    while j < columns:
        i = u32(cuda.threadIdx.y)
        while i < rows:
            d = d_xhat[u64(i) * u64(columns) + u64(j)]
            if not weighted:
                total += d * d
            elif weights[i] != ZERO:  # a row of d_xhat has its weight already
                total += d * d / weights[i]
            i = u32(i + u32(SLICES))
        j = u32(j + (columns if each else u32(WARP)))
    total = sum_of_slices(total, shared, each)
    if own < size and cuda.threadIdx.y == 0:
        count = seen if each else seen * f32(columns)
        slope = RATE * soft_slope(RATE * parameter[own], lowest[own])
        d_parameter[own] = slope * log_sigma_gradient(total, count, reals[weight], inverse[own])


@kernel(FLOATS, FLOATS, FLOATS, FLOATS, FLOATS, COUNT, COUNT, COUNT, COUNT, block=(WARP, SLICES))
def sigma_optimal(x, xhat, lowest, log_sigma, inverse, size, rows, columns, repeats):
    """`sigma_optimal` of the contract, with `size` lowest values, of `rows` rows of xhat, `repeats` for each of x."""
    shared = cuda.shared.array(THREADS, np.float32)
    own, each, total = u32(cuda.blockIdx.x) * u32(WARP) + u32(cuda.threadIdx.x), size > u32(1), ZERO
    step = columns if each else u32(WARP)
    j = own
    while j < columns:
        i = u32(cuda.threadIdx.y)
        while i < rows:
            k = u64(i) * u64(columns) + u64(j)
            total += squared_error_term(x[u64(i // repeats) * u64(columns) + u64(j)], xhat[k], ONE)[0]
            i = u32(i + u32(SLICES))
        j = u32(j + step)
    total = sum_of_slices(total, shared, each)
    count, j = f32(rows) if each else f32(rows) * f32(columns), own
    while j < columns and cuda.threadIdx.y == 0:
        found = f32(log_sigma_of_squares(total, count, lowest[j if each else u32(0)]))
        log_sigma[j], inverse[j] = found, exp(-found)
        j = u32(j + step)


@kernel(FLOATS, COUNT, FLOATS, COUNT, COUNT, FLOATS, INTEGERS, FLOATS, INTEGERS, COUNT, block=(THREADS,))
def sigma_remember(log_sigma, share, lowest, step_place, step_offset, parameter, integers, reals, state, size):
    """`sigma_remember` of the contract; nothing moves once the loss has stopped being finite: see `steps`."""
    k = u32(cuda.grid(1))
    if k < size and not state[STOPPED]:
        old = soft_log_sigma(RATE * parameter[k], lowest[k])
        new = remembered_log_sigma(old, log_sigma[k], f32(whole(integers, step_place, step_offset)), reals[share], NEW)
        parameter[k] = soft_parameter(new, lowest[k], LEAST) / RATE


@kernel(FLOATS, FLOATS, COUNT, FLOATS, FLOATS, FLOATS, COUNT, COUNT, block=(WARP, SLICES))
def free_bits(mu, logvar, least, counted, lacking, reals, rows, columns):
    """`free_bits` of the contract: a block for WARP of the dimensions."""
    shared = cuda.shared.array(THREADS, np.float32)
    j, i, total = u32(cuda.blockIdx.x) * u32(WARP) + u32(cuda.threadIdx.x), u32(cuda.threadIdx.y), ZERO
    while j < columns and i < rows:
        k = u64(i) * u64(columns) + u64(j)
        total += kl_term(mu[k], limited_logvar(logvar[k]))
        i = u32(i + u32(SLICES))
    total = sum_of_slices(total, shared, True)
    if j < columns and cuda.threadIdx.y == 0:
        counted[j], lacking[j] = free_part(total, f32(rows), reals[least])
