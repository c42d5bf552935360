"""Minibatches: which rows come next, and their values in the model's units."""

import functools

import numpy as np
from numba import from_dtype

from fastvae.kernels import philox
from fastvae.kernels.cpu.addresses import array_at, call, integers_at, matrix_at
from fastvae.kernels.cpu.compiler import Native, kernel, native, part
from fastvae.kernels.permutation import half_bits, permuted

u64 = np.uint64


@kernel
def shuffled_indices(seed, epoch, count, start, out):
    """See the contract in `fastvae.kernels`."""
    first = philox.words(seed, philox.SHUFFLE, epoch, 0, 0)
    second = philox.words(seed, philox.SHUFFLE, epoch, 0, 1)
    bits = half_bits(u64(count))
    for i in range(out.size):
        out[i] = np.int64(permuted(u64(start + i), u64(count), bits, first, second))


@functools.cache
def gathering(data: np.dtype, scaling: np.dtype) -> Native:
    """`gather` of the contract for data of that type under offset and scale of that type, by addresses; the rows in
    order where that of the indices is 0."""
    kind, exact = from_dtype(data), from_dtype(scaling)

    def gather_at(data, data_row, data_column, indices, count, offset, scale, columns, out):
        chosen = integers_at(indices, count)
        low, by, to = array_at(offset, columns, exact), array_at(scale, columns, exact), matrix_at(out, count, columns)
        for i in range(count):
            row = data + (chosen[i] if indices else i) * data_row
            if data_column == data_size:
                values = array_at(row, columns, kind)
                for j in range(columns):
                    to[i, j] = (values[j] - low[j]) / by[j]
            else:
                for j in range(columns):
                    to[i, j] = (array_at(row + j * data_column, 1, kind)[0] - low[j]) / by[j]

    data_size = data.itemsize
    return native("void(" + ", ".join(["int64"] * 9) + ")")(gather_at)


@part
def count_outside(x, lowest, highest):
    """How many numbers of x (B, D) are not in lowest ... highest, as float32."""
    rows, columns = x.shape
    outside, low, high = 0, np.float32(lowest), np.float32(highest)
    for i in range(rows):
        for j in range(columns):
            outside += not (low <= x[i, j] <= high)
    return outside


@part
def gather(data, indices, offset, scale, out, code):
    """`gather` of the contract; `data` is its address and strides, `code` the address of what `gathering` gives."""
    rows, columns = out.shape
    call(code, (data[0], data[1], data[2], indices, rows, offset, scale, columns, out.ctypes.data))


@part
def read_rows(source, offset, scale, lowest, highest, outside, out, code):
    """`read_rows` of the contract; see `gather`."""
    gather(source, 0, offset, scale, out, code)
    outside[0] += count_outside(out, lowest, highest)


@kernel
def threshold_inplace(x, threshold):
    """See the contract in `fastvae.kernels`."""
    rows, columns = x.shape
    cut = np.float32(threshold)
    for i in range(rows):
        for j in range(columns):
            x[i, j] = np.float32(1.0) if x[i, j] > cut else np.float32(0.0)
