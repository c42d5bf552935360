"""Noise where no other kernel draws its own: arrays of normals and uniforms, binarisation."""

from fastvae.kernels import philox
from fastvae.kernels.cpu.compiler import kernel
from fastvae.kernels.formulas import bernoulli_draw, uniform


@kernel
def normal_noise(seed, stream, step, first_row, out):
    """See the contract in `fastvae.kernels`."""
    rows, columns = out.shape
    for i in range(rows):
        for block in range((columns + philox.COLUMNS - 1) // philox.COLUMNS):
            values = philox.normals(seed, stream, step, first_row + i, block)
            for j in range(philox.COLUMNS * block, min(philox.COLUMNS * block + philox.COLUMNS, columns)):
                out[i, j] = values[j - philox.COLUMNS * block]


@kernel
def uniform_noise(seed, stream, step, first_row, out):
    """See the contract in `fastvae.kernels`."""
    rows, columns = out.shape
    for i in range(rows):
        for block in range((columns + philox.COLUMNS - 1) // philox.COLUMNS):
            values = philox.words(seed, stream, step, first_row + i, block)
            for j in range(philox.COLUMNS * block, min(philox.COLUMNS * block + philox.COLUMNS, columns)):
                out[i, j] = uniform(values[j - philox.COLUMNS * block])


@kernel
def binarize_inplace(x, seed, step, first_row):
    """See the contract in `fastvae.kernels`."""
    rows, columns = x.shape
    full = columns // philox.COLUMNS
    for i in range(rows):
        for block in range(full):
            w0, w1, w2, w3 = philox.words(seed, philox.BINARIZATION, step, first_row + i, block)
            j = philox.COLUMNS * block
            x[i, j] = bernoulli_draw(w0, x[i, j])
            x[i, j + 1] = bernoulli_draw(w1, x[i, j + 1])
            x[i, j + 2] = bernoulli_draw(w2, x[i, j + 2])
            x[i, j + 3] = bernoulli_draw(w3, x[i, j + 3])
        if full * philox.COLUMNS < columns:
            values = philox.words(seed, philox.BINARIZATION, step, first_row + i, full)
            for j in range(philox.COLUMNS * full, columns):
                x[i, j] = bernoulli_draw(values[j - philox.COLUMNS * full], x[i, j])
