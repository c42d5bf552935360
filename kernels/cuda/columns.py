"""Columns on the device: two arrays as one, side by side, and the gradient of the first; in another order; cut off."""

import numpy as np

from fastvae.kernels.cuda.declaration import COUNT, FLOATS, INTEGERS, WARP, kernel
from fastvae.kernels.cuda.driver import cuda
from fastvae.kernels.formulas import ZERO

ROWS = 8  # rows of a block of (WARP, ROWS) threads
u32, u64, i64 = np.uint32, np.uint64, np.int64


@kernel(FLOATS, FLOATS, FLOATS, COUNT, COUNT, COUNT, COUNT, block=(WARP, ROWS))
def concatenate(a, b, out, rows, columns, beside, repeats):
    """A row each warp: `columns` numbers of a, then `beside` numbers of a row of b, which `repeats` rows share."""
    row, column = u32(cuda.blockIdx.x) * u32(ROWS) + u32(cuda.threadIdx.y), u32(cuda.threadIdx.x)
    if row < rows:
        width = u32(columns + beside)
        start, other = u64(row) * u64(columns), u64(row // repeats) * u64(beside)
        while column < width:
            k = u64(row) * u64(width) + u64(column)
            out[k] = a[start + u64(column)] if column < columns else b[other + u64(u32(column - columns))]
            column = u32(column + u32(WARP))


@kernel(FLOATS, FLOATS, COUNT, COUNT, COUNT, block=(WARP, ROWS))
def concatenate_backward(d_out, d_a, rows, columns, width):
    """A row each warp: the first `columns` of `width` numbers."""
    row, column = u32(cuda.blockIdx.x) * u32(ROWS) + u32(cuda.threadIdx.y), u32(cuda.threadIdx.x)
    while row < rows and column < columns:
        d_a[u64(row) * u64(columns) + u64(column)] = d_out[u64(row) * u64(width) + u64(column)]
        column = u32(column + u32(WARP))


@kernel(FLOATS, INTEGERS, FLOATS, COUNT, COUNT, block=(WARP, ROWS))
def take_columns(x, order, out, rows, columns):
    """A row each warp: the columns of x in another order."""
    row, column = u32(cuda.blockIdx.x) * u32(ROWS) + u32(cuda.threadIdx.y), u32(cuda.threadIdx.x)
    while row < rows and column < columns:
        start = u64(row) * u64(columns)
        out[start + u64(column)] = x[start + u64(order[column])]
        column = u32(column + u32(WARP))


@kernel(FLOATS, INTEGERS, COUNT, COUNT, COUNT, block=(WARP, ROWS))
def cut_columns(x, depths, first, rows, columns):
    """A row each warp: 0 where a column is no deeper than the row, x being `rows` rows from `first` on of a whole."""
    row, column = u32(cuda.blockIdx.x) * u32(ROWS) + u32(cuda.threadIdx.y), u32(cuda.threadIdx.x)
    while row < rows and column < columns:
        if depths[column] <= i64(u32(first + row)):
            x[u64(row) * u64(columns) + u64(column)] = ZERO
        column = u32(column + u32(WARP))
