"""Hidden units that a row's columns move one after the other, on the device: see `cpu.prefix`.

Forward: a block for each row, a thread for one unit after the other; the units of GROUP columns lie in shared memory
until the block's warps have added up what the outputs see of them.

Backward: `prefix_later` gives what all later chunks say of a row's units at the end of each chunk, a thread for each
row and unit; with that `prefix_gradients` has a thread for each chunk and unit, which goes over the rows in order,
through the chunk forwards, keeping h, and then backwards.
"""

import numpy as np

from fastvae.kernels.cuda.declaration import COUNT, FLOATS, WARP, kernel
from fastvae.kernels.cuda.driver import cuda
from fastvae.kernels.cuda.instructions import sum_of_warp
from fastvae.kernels.formulas import ONE, ZERO, sigmoid
from fastvae.kernels.ops import CHUNK

WARPS = 4
UNITS = WARP * WARPS  # of the forward's block at a time
GROUP = 32  # columns, a divisor of CHUNK
ROWS = 8  # of a block of `prefix_later`
HELD, STATES = GROUP * UNITS, CHUNK * WARP  # numbers of shared memory
u32, u64 = np.uint32, np.uint64


@kernel(*[FLOATS] * 7, COUNT, COUNT, COUNT, COUNT, block=(WARP, WARPS))
def prefix_forward(x, weight, bias, output_weight, output_bias, carried, logits, rows, columns, units, kept):
    """`prefix_forward` of the contract, of `kept` numbers of `carried` a row."""
    shared = cuda.shared.array(HELD, np.float32)
    lane, warp, row = u32(cuda.threadIdx.x), u32(cuda.threadIdx.y), u32(cuda.blockIdx.x)
    thread, seen, left = u32(warp * u32(WARP) + lane), u64(row) * u64(columns), u32(0)
    while row < rows and left < units:
        k, start = u32(left + thread), u32(0)
        a = bias[k] if k < units else ZERO
        while start < columns:
            if k < units and start % u32(CHUNK) == u32(0):
                carried[u64(row) * u64(kept) + u64(start // u32(CHUNK)) * u64(units) + u64(k)] = a
            stop, d, h = min(u32(start + u32(GROUP)), columns), start, sigmoid(a)
            while d < stop:
                shared[u32(d - start) * u32(UNITS) + thread] = h if k < units else ZERO
                if x[seen + u64(d)] != ZERO and k < units:
                    a += weight[u64(d) * u64(units) + u64(k)]
                    h = sigmoid(a)
                d = u32(d + u32(1))
            cuda.syncthreads()
            d = u32(start + warp)
            while d < stop:
                total, j = ZERO, lane
                while j < u32(UNITS) and u32(left + j) < units:
                    h = shared[u32(d - start) * u32(UNITS) + j]
                    total += h * output_weight[u64(d) * u64(units) + u64(u32(left + j))]
                    j = u32(j + u32(WARP))
                total = sum_of_warp(total)
                if lane == u32(0):  # the same thread for a column each time
                    before = output_bias[d] if left == u32(0) else logits[seen + u64(d)]
                    logits[seen + u64(d)] = before + total
                d = u32(d + u32(WARPS))
            cuda.syncthreads()
            start = stop
        left = u32(left + u32(UNITS))


@kernel(*[FLOATS] * 6, *[COUNT] * 6, block=(WARP, ROWS))
def prefix_later(x, weight, output_weight, carried, d_logits, later, first, last, rows, columns, units, kept):
    """later (rows, kept) = what the columns of later chunks say of a unit's argument, at the end of each chunk, for
    units first ... last - 1."""
    row = u32(cuda.blockIdx.x) * u32(ROWS) + u32(cuda.threadIdx.y)
    k = u32(first + u32(cuda.blockIdx.y) * u32(WARP) + u32(cuda.threadIdx.x))
    chunk, d_a, seen = u32((columns + u32(CHUNK - 1)) // u32(CHUNK)), ZERO, u64(row) * u64(columns)
    while row < rows and k < last and chunk > u32(0):
        chunk = u32(chunk - u32(1))
        place = u64(row) * u64(kept) + u64(chunk) * u64(units) + u64(k)
        later[place] = d_a
        d = u32(chunk * u32(CHUNK))
        stop, a = min(u32(d + u32(CHUNK)), columns), carried[place]
        h = sigmoid(a)
        while d < stop:
            at = u64(d) * u64(units) + u64(k)
            d_a += d_logits[seen + u64(d)] * output_weight[at] * (h * (ONE - h))
            if x[seen + u64(d)] != ZERO:
                a += weight[at]
                h = sigmoid(a)
            d = u32(d + u32(1))


@kernel(*[FLOATS] * 10, *[COUNT] * 7, block=(WARP,))
def prefix_gradients(
    x, weight, output_weight, carried, d_logits, later, d_weight, d_bias, d_output_weight, d_output_bias,
    first, last, accumulate, rows, columns, units, kept,
):  # fmt: skip
    """`prefix_backward` of the contract: a chunk of columns for each block's y, WARP units for its x."""
    states = cuda.shared.array(STATES, np.float32)  # each thread has a column of its own
    lane, chunk = u32(cuda.threadIdx.x), u32(cuda.blockIdx.y)
    k, start = u32(first + u32(cuda.blockIdx.x) * u32(WARP) + lane), u32(chunk * u32(CHUNK))
    stop, row, total = min(u32(start + u32(CHUNK)), columns), u32(0), ZERO
    if k < last:
        d = start
        while d < stop and not accumulate:
            at = u64(d) * u64(units) + u64(k)
            d_weight[at], d_output_weight[at] = ZERO, ZERO
            d = u32(d + u32(1))
        while row < rows:
            place, seen = u64(row) * u64(kept) + u64(chunk) * u64(units) + u64(k), u64(row) * u64(columns)
            a, d_a, d = carried[place], later[place], start
            h = sigmoid(a)
            while d < stop:
                states[u32(d - start) * u32(WARP) + lane] = h
                if x[seen + u64(d)] != ZERO:
                    a += weight[u64(d) * u64(units) + u64(k)]
                    h = sigmoid(a)
                d = u32(d + u32(1))
            while d > start:
                d = u32(d - u32(1))
                at, slope = u64(d) * u64(units) + u64(k), d_logits[seen + u64(d)]
                h = states[u32(d - start) * u32(WARP) + lane]
                if x[seen + u64(d)] != ZERO:
                    d_weight[at] += d_a
                d_output_weight[at] += slope * h
                d_a += slope * output_weight[at] * (h * (ONE - h))
            total += d_a
            row = u32(row + u32(1))
        if chunk == u32(0):
            d_bias[k] = d_bias[k] + total if accumulate else total
    d = u32(start + lane)
    while first == u32(0) and cuda.blockIdx.x == 0 and d < stop:
        total, row = ZERO, u32(0)
        while row < rows:
            total += d_logits[u64(row) * u64(columns) + u64(d)]
            row = u32(row + u32(1))
        d_output_bias[d] = d_output_bias[d] + total if accumulate else total
        d = u32(d + u32(WARP))
