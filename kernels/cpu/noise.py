"""Noise where no other kernel draws its own: arrays of normals and uniforms, binarisation."""

from fastvae.kernels import philox
from fastvae.kernels.cpu.compiler import kernel
from fastvae.kernels.formulas import bernoulli_draw, uniform

COLUMNS = 4  # in one block of noise


@kernel
def normal_noise(seed, stream, step, first_row, out):
    """See the contract in `fastvae.kernels`."""
    rows, columns = out.shape
    for i in range(rows):
        for block in range((columns + COLUMNS - 1) // COLUMNS):
            values = philox.normals(seed, stream, step, first_row + i, block)
            for j in range(COLUMNS * block, min(COLUMNS * block + COLUMNS, columns)):
                out[i, j] = values[j - COLUMNS * block]


@kernel
def uniform_noise(seed, stream, step, first_row, out):
    """See the contract in `fastvae.kernels`."""
    rows, columns = out.shape
    for i in range(rows):
        for block in range((columns + COLUMNS - 1) // COLUMNS):
            values = philox.words(seed, stream, step, first_row + i, block)
            for j in range(COLUMNS * block, min(COLUMNS * block + COLUMNS, columns)):
                out[i, j] = uniform(values[j - COLUMNS * block])


@kernel
def binarize_inplace(x, seed, step, first_row):
    """See the contract in `fastvae.kernels`."""
    rows, columns = x.shape
    full = columns // COLUMNS
    for i in range(rows):
        for block in range(full):
            w0, w1, w2, w3 = philox.words(seed, philox.BINARIZATION, step, first_row + i, block)
            j = COLUMNS * block
            x[i, j] = bernoulli_draw(w0, x[i, j])
            x[i, j + 1] = bernoulli_draw(w1, x[i, j + 1])
            x[i, j + 2] = bernoulli_draw(w2, x[i, j + 2])
            x[i, j + 3] = bernoulli_draw(w3, x[i, j + 3])
        if full * COLUMNS < columns:
            values = philox.words(seed, philox.BINARIZATION, step, first_row + i, full)
            for j in range(COLUMNS * full, columns):
                x[i, j] = bernoulli_draw(values[j - COLUMNS * full], x[i, j])
