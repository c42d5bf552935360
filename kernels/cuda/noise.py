"""Noise on the device: a thread draws what one block of Philox serves, four columns of a row."""

import numpy as np
from numba import uint64

from fastvae.kernels.cuda.declaration import COUNT, FLOATS, INTEGERS, kernel
from fastvae.kernels.cuda.driver import cuda
from fastvae.kernels.cuda.instructions import part
from fastvae.kernels.formulas import bernoulli_draw, uniform
from fastvae.kernels.philox import BINARIZATION, normals, words
from fastvae.kernels.scalars import FIRST_ROW, NOISE_STEP, SEED

FLAT = 256  # threads of a block
NORMAL, UNIFORM = range(2)
u32, u64 = np.uint32, np.uint64


@part
def write(out, start, column, columns, values):
    """Up to four values of a row, as far as it goes."""
    for i in range(4):
        if column + u32(i) < columns:
            out[start + u64(column + u32(i))] = values[i]


@kernel(FLOATS, INTEGERS, COUNT, COUNT, COUNT, COUNT, COUNT, block=(FLAT,))
def draw(out, integers, stream, kind, first_row, rows, columns):
    """`normal_noise` of the contract, or `uniform_noise` where `kind` is UNIFORM."""
    blocks, row = (columns + u32(3)) // u32(4), u32(cuda.blockIdx.y)
    seed, step = u64(integers[SEED]), u32(integers[NOISE_STEP])
    while row < rows:
        place, start = u32(u32(integers[FIRST_ROW]) + first_row + row), u64(row) * u64(columns)
        block = u32(cuda.grid(1))
        while block < blocks:
            if kind == u32(NORMAL):
                write(out, start, block * u32(4), columns, normals(seed, stream, step, place, block))
            else:
                w0, w1, w2, w3 = words(seed, stream, step, place, block)
                write(out, start, block * u32(4), columns, (uniform(w0), uniform(w1), uniform(w2), uniform(w3)))
            block = u32(block + u32(cuda.gridsize(1)))
        row = u32(row + u32(cuda.gridDim.y))


@kernel(FLOATS, uint64, INTEGERS, COUNT, COUNT, COUNT, block=(FLAT,))
def binarize_inplace(x, seed, integers, first_row, rows, columns):
    """`binarize_inplace` of the contract, with a seed of its own."""
    blocks, row = (columns + u32(3)) // u32(4), u32(cuda.blockIdx.y)
    while row < rows:
        place, start = u32(u32(integers[FIRST_ROW]) + first_row + row), u64(row) * u64(columns)
        block = u32(cuda.grid(1))
        while block < blocks:
            drawn = words(seed, u32(BINARIZATION), u32(integers[NOISE_STEP]), place, block)
            for i in range(4):
                column = block * u32(4) + u32(i)
                if column < columns:
                    x[start + u64(column)] = bernoulli_draw(drawn[i], x[start + u64(column)])
            block = u32(block + u32(cuda.gridsize(1)))
        row = u32(row + u32(cuda.gridDim.y))
