"""Noise where no other kernel draws its own: arrays of normals and uniforms, binarisation."""

import numpy as np
from numba import uint32

from fastvae.kernels import philox
from fastvae.kernels.cpu.addresses import array_at, call, matrix_at, vector_at
from fastvae.kernels.cpu.compiler import kernel, native, part
from fastvae.kernels.formulas import bernoulli_draw, box_muller, corrupted, uniform


@part
def normals_of_pairs(words, out):
    """Two normals for every two words; both arrays may be one memory."""
    for k in range(out.size // 2):
        x, y = box_muller(words[2 * k], words[2 * k + 1])
        out[2 * k] = x
        out[2 * k + 1] = y


@native("void(" + ", ".join(["int64"] * 9) + ")")
def copy_or_draw(noise, seed, stream, step, first_row, out, rows, columns, repeats):
    """out (rows, columns) = what lies at `noise`; where that is 0, `normal_noise` of the contract, `seed` by its bits.
    Of `repeats` rows that belong to one example, each has the next step.

    All words first, into the memory of `out`; then, pair by pair, their normals: that loop vectorises.
    """
    to, words, full = matrix_at(out, rows, columns), array_at(out, rows * columns, uint32), columns // philox.COLUMNS
    if noise:
        values = matrix_at(noise, rows, columns)
        for i in range(rows):
            for j in range(columns):
                to[i, j] = values[i, j]
        return
    for i in range(rows):
        row, example, at = i * columns, first_row + i // repeats, step + i % repeats
        for block in range(full):
            w0, w1, w2, w3 = philox.words(np.uint64(seed), stream, at, example, block)
            k = row + philox.COLUMNS * block
            words[k], words[k + 1], words[k + 2], words[k + 3] = w0, w1, w2, w3
        if full * philox.COLUMNS < columns:
            rest = philox.words(np.uint64(seed), stream, at, example, full)
            for j in range(philox.COLUMNS * full, columns):
                words[row + j] = rest[j - philox.COLUMNS * full]
            if columns % 2:  # its partner has no column
                last = columns - 1 - philox.COLUMNS * full
                to[i, columns - 1] = box_muller(rest[last], rest[last + 1])[0]
    if columns % 2 == 0:
        normals_of_pairs(words, vector_at(out, rows * columns))
    else:
        for i in range(rows):
            start = i * columns
            normals_of_pairs(words[start : start + columns - 1], to[i, : columns - 1])


@part
def normal_noise(seed, stream, step, first_row, out, code):
    """`normal_noise` of the contract; `code` is the address of `copy_or_draw`."""
    rows, columns = out.shape
    call(code, (0, np.int64(seed), stream, step, first_row, out.ctypes.data, rows, columns, 1))


@kernel
def uniform_noise(seed, stream, step, first_row, out):
    """See the contract in `fastvae.kernels`."""
    rows, columns = out.shape
    full = columns // philox.COLUMNS
    for i in range(rows):
        for block in range(full):
            w0, w1, w2, w3 = philox.words(seed, stream, step, first_row + i, block)
            j = philox.COLUMNS * block
            out[i, j], out[i, j + 1], out[i, j + 2], out[i, j + 3] = uniform(w0), uniform(w1), uniform(w2), uniform(w3)
        if full * philox.COLUMNS < columns:
            values = philox.words(seed, stream, step, first_row + i, full)
            for j in range(philox.COLUMNS * full, columns):
                out[i, j] = uniform(values[j - philox.COLUMNS * full])


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


@kernel
def corrupt(x, kind, amount, seed, stream, step, first_row, out):
    """See the contract in `fastvae.kernels`."""
    rows, columns = x.shape
    for i in range(rows):
        for block in range((columns + philox.COLUMNS - 1) // philox.COLUMNS):
            values = philox.words(seed, stream, step, first_row + i, block)
            normal = philox.normals(seed, stream, step, first_row + i, block)
            for j in range(philox.COLUMNS * block, min(philox.COLUMNS * block + philox.COLUMNS, columns)):
                k = j - philox.COLUMNS * block
                out[i, j] = corrupted(x[i, j], kind, np.float32(amount), values[k], normal[k])
