"""Minibatches on the device: which rows come next, and their values in the model's units."""

import functools
from typing import Any

import numpy as np
from numba import from_dtype, uint64

from fastvae.kernels.cuda.declaration import COUNT, FLOATS, INTEGERS, WARP, Kernel, kernel
from fastvae.kernels.cuda.driver import cuda
from fastvae.kernels.cuda.instructions import sum_of_warp
from fastvae.kernels.formulas import ONE, ZERO
from fastvae.kernels.permutation import half_bits, permuted
from fastvae.kernels.philox import SHUFFLE, words

ROWS, FLAT = 8, 256  # rows of a block of (WARP, ROWS) threads; threads of a block that goes over a flat buffer
u32, u64, i64 = np.uint32, np.uint64, np.int64


@kernel(uint64, COUNT, uint64, uint64, INTEGERS, COUNT, block=(FLAT,))
def shuffled_indices(seed, epoch, count, start, out, size):
    """`shuffled_indices` of the contract."""
    first, second = words(seed, u32(SHUFFLE), epoch, u32(0), u32(0)), words(seed, u32(SHUFFLE), epoch, u32(0), u32(1))
    bits, k = half_bits(count), u32(cuda.grid(1))
    while k < size:
        out[k] = i64(permuted(u64(start + u64(k)), count, bits, first, second))
        k = u32(k + u32(cuda.gridsize(1)))


@functools.cache
def gathering(data: np.dtype, scaling: np.dtype) -> Kernel:
    """`gather` of the contract for data of that type, flat, under offset and scale of that type; where `chosen` is 0,
    the rows in order, and the indices do not count."""
    kind, factors = from_dtype(data)[::1], from_dtype(scaling)[::1]
    exact: Any = scaling.type

    def gather(values, indices, chosen, offset, scale, out, rows, columns):
        """A row each warp."""
        row, column = u32(cuda.blockIdx.x) * u32(ROWS) + u32(cuda.threadIdx.y), u32(cuda.threadIdx.x)
        if row < rows:
            start = u64(indices[row] if chosen else i64(row)) * u64(columns)
            while column < columns:
                value = exact(values[start + u64(column)])
                out[u64(row) * u64(columns) + u64(column)] = (value - offset[column]) / scale[column]
                column = u32(column + u32(WARP))

    gather.__name__ = gather.__qualname__ = f"gather_{data.name}_{scaling.name}"
    return kernel(kind, INTEGERS, COUNT, factors, factors, FLOATS, COUNT, COUNT, block=(WARP, ROWS))(gather)


@kernel(FLOATS, COUNT, COUNT, COUNT, INTEGERS, FLOATS, COUNT, COUNT, block=(WARP, ROWS))
def count_outside(x, lowest_place, highest_place, outside, integers, reals, rows, columns):
    """Add to the whole number `outside` how many numbers are not in lowest ... highest, as NaN is not."""
    lowest, highest = reals[lowest_place], reals[highest_place]
    row, column = u32(cuda.blockIdx.x) * u32(ROWS) + u32(cuda.threadIdx.y), u32(cuda.threadIdx.x)
    found = ZERO
    while row < rows and column < columns:
        value = x[u64(row) * u64(columns) + u64(column)]
        if not (lowest <= value <= highest):
            found += ONE
        column = u32(column + u32(WARP))
    found = sum_of_warp(found)
    if cuda.threadIdx.x == 0 and found > ZERO:
        cuda.atomic.add(integers, outside, i64(found))


@kernel(FLOATS, COUNT, FLOATS, COUNT, block=(FLAT,))
def threshold_inplace(x, place, reals, size):
    """`threshold_inplace` of the contract over `size` numbers."""
    threshold = reals[place]
    k = u32(cuda.grid(1))
    while k < size:
        x[k] = ONE if x[k] > threshold else ZERO
        k = u32(k + u32(cuda.gridsize(1)))
