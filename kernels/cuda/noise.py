"""Noise on the device: a thread draws what one block of Philox serves, four columns of a row."""

import numpy as np

from fastvae.kernels.cuda.device import COUNT, FLOATS, INTEGERS, cuda, kernel, part
from fastvae.kernels.formulas import uniform
from fastvae.kernels.philox import normals, words
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
    blocks = (columns + u32(3)) // u32(4)
    seed, step = u64(integers[SEED]), u32(integers[NOISE_STEP])
    row = u32(cuda.blockIdx.y)
    place = u32(integers[FIRST_ROW]) + first_row + row
    block = u32(cuda.grid(1))
    while block < blocks:
        start = u64(row) * u64(columns)
        if kind == u32(NORMAL):
            write(out, start, block * u32(4), columns, normals(seed, stream, step, place, block))
        else:
            w0, w1, w2, w3 = words(seed, stream, step, place, block)
            write(out, start, block * u32(4), columns, (uniform(w0), uniform(w1), uniform(w2), uniform(w3)))
        block = u32(block + u32(cuda.gridsize(1)))
