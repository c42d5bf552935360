"""Noise on the device: a thread draws what one block of Philox serves, four columns of a row."""

import numpy as np

from fastvae.kernels.cuda.declaration import COUNT, FLOATS, INTEGERS, kernel
from fastvae.kernels.cuda.driver import cuda
from fastvae.kernels.cuda.instructions import part
from fastvae.kernels.cuda.settings import whole
from fastvae.kernels.formulas import bernoulli_draw, corrupted, uniform
from fastvae.kernels.philox import BINARIZATION, normals, words

FLAT = 256  # threads of a block
NORMAL, UNIFORM = range(2)
u32, u64 = np.uint32, np.uint64


@part
def write(out, start, column, columns, values):
    """Up to four values of a row, as far as it goes."""
    for i in range(4):
        if column + u32(i) < columns:
            out[start + u64(column + u32(i))] = values[i]


@kernel(*[COUNT] * 7, FLOATS, INTEGERS, COUNT, COUNT, COUNT, block=(FLAT,))
def draw(
    seed_place, stream_place, stream_offset, step_place, step_offset, row_place, row_offset, out, integers, kind, rows,
    columns,
):  # fmt: skip
    """`normal_noise` of the contract, or `uniform_noise` where `kind` is UNIFORM."""
    blocks, row = (columns + u32(3)) // u32(4), u32(cuda.blockIdx.y)
    seed, step = u64(integers[seed_place]), whole(integers, step_place, step_offset)
    stream, first = whole(integers, stream_place, stream_offset), whole(integers, row_place, row_offset)
    while row < rows:
        place, start = u32(first + row), u64(row) * u64(columns)
        block = u32(cuda.grid(1))
        while block < blocks:
            if kind == u32(NORMAL):
                write(out, start, block * u32(4), columns, normals(seed, stream, step, place, block))
            else:
                w0, w1, w2, w3 = words(seed, stream, step, place, block)
                write(out, start, block * u32(4), columns, (uniform(w0), uniform(w1), uniform(w2), uniform(w3)))
            block = u32(block + u32(cuda.gridsize(1)))
        row = u32(row + u32(cuda.gridDim.y))


@kernel(FLOATS, *[COUNT] * 5, INTEGERS, COUNT, COUNT, block=(FLAT,))
def binarize_inplace(x, seed_place, step_place, step_offset, row_place, row_offset, integers, rows, columns):
    """`binarize_inplace` of the contract."""
    blocks, row = (columns + u32(3)) // u32(4), u32(cuda.blockIdx.y)
    seed, step = u64(integers[seed_place]), whole(integers, step_place, step_offset)
    first = whole(integers, row_place, row_offset)
    while row < rows:
        place, start = u32(first + row), u64(row) * u64(columns)
        block = u32(cuda.grid(1))
        while block < blocks:
            drawn = words(seed, u32(BINARIZATION), step, place, block)
            for i in range(4):
                column = block * u32(4) + u32(i)
                if column < columns:
                    x[start + u64(column)] = bernoulli_draw(drawn[i], x[start + u64(column)])
            block = u32(block + u32(cuda.gridsize(1)))
        row = u32(row + u32(cuda.gridDim.y))


@kernel(FLOATS, COUNT, COUNT, *[COUNT] * 7, FLOATS, INTEGERS, FLOATS, COUNT, COUNT, block=(FLAT,))
def corrupt(
    x, kind, amount, seed_place, stream_place, stream_offset, step_place, step_offset, row_place, row_offset, out,
    integers, reals, rows, columns,
):  # fmt: skip
    """`corrupt` of the contract."""
    blocks, row = (columns + u32(3)) // u32(4), u32(cuda.blockIdx.y)
    seed, step = u64(integers[seed_place]), whole(integers, step_place, step_offset)
    stream, first = whole(integers, stream_place, stream_offset), whole(integers, row_place, row_offset)
    while row < rows:
        place, start = u32(first + row), u64(row) * u64(columns)
        block = u32(cuda.grid(1))
        while block < blocks:
            drawn, normal = words(seed, stream, step, place, block), normals(seed, stream, step, place, block)
            for i in range(4):
                column = block * u32(4) + u32(i)
                if column < columns:
                    k = start + u64(column)
                    out[k] = corrupted(x[k], kind, reals[amount], drawn[i], normal[i])
            block = u32(block + u32(cuda.gridsize(1)))
        row = u32(row + u32(cuda.gridDim.y))
