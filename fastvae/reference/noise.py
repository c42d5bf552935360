"""Noise: Philox4x32-10, 32-bit words kept in uint64."""

import numpy as np

LATENT, BINARIZATION, PRIOR, INITIALISATION, SHUFFLE, OBSERVATION = range(6)  # streams
MASK = np.uint64(0xFFFFFFFF)


def philox4x32(counter, key):
    """Four words from a counter of four and a key of two, each an array or a number. Salmon et al. 2011."""
    c0, c1, c2, c3 = (np.asarray(c, np.uint64) & MASK for c in counter)
    k0, k1 = (int(k) for k in key)
    for _ in range(10):
        p0, p1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (
            (p1 >> np.uint64(32)) ^ c1 ^ np.uint64(k0), p1 & MASK, (p0 >> np.uint64(32)) ^ c3 ^ np.uint64(k1), p0 & MASK
        )  # fmt: skip
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


def words(seed, stream, step, first_row, shape):
    """(B, D) words: entry (i, j) is word j % 4 at counter (j // 4, first_row + i, step, stream) under key `seed`."""
    rows, columns = shape
    blocks = np.arange((columns + 3) // 4, dtype=np.uint64)[None, :]
    positions = np.uint64(first_row) + np.arange(rows, dtype=np.uint64)[:, None]
    four = philox4x32((blocks, positions, step % 2**32, stream), (int(seed) % 2**32, int(seed) >> 32))
    return np.stack(np.broadcast_arrays(*four), axis=-1).reshape(rows, -1)[:, :columns]


def uniform(word):
    """In [2^-33, 1], as float32 holds it: which float32 it is decides how far the tail of a normal reaches."""
    u = np.asarray(word).astype(np.float32).astype(np.float64) * 2.0**-32 + 2.0**-33
    return u.astype(np.float32).astype(np.float64)


def uniforms(seed, stream, step, first_row, shape):
    """(B, D) numbers in [2^-33, 1]."""
    return uniform(words(seed, stream, step, first_row, shape))


def corrupted(x, kind, amount, words, normals):
    """x (B, D) as an encoder is shown it: with N(0, amount^2) added, or, each number with probability `amount`, 0 in
    its place ("masking"), or 0 or 1 with equal odds ("salt_and_pepper"), or NaN ("hiding"). Vincent et al. 2010."""
    if kind == "gaussian":
        return x + amount * normals
    hit = words // 256 / 2.0**24 < amount
    end = np.nan if kind == "hiding" else 0.0
    return np.where(hit, words % 2 if kind == "salt_and_pepper" else end, x)


def box_muller(word_radius, word_angle):
    """r cos t, r sin t with r = sqrt(-2 ln u). Box and Muller 1958."""
    r = np.sqrt(-2 * np.log(uniform(word_radius)))
    t = 2 * np.pi * (np.asarray(word_angle).astype(np.float64) / 2.0**32)
    return r * np.cos(t), r * np.sin(t)


def normals(seed, stream, step, first_row, shape):
    """Words 0, 1 of a block give columns 0, 1; words 2, 3 give columns 2, 3."""
    rows, columns = shape
    w = words(seed, stream, step, first_row, (rows, 4 * ((columns + 3) // 4)))
    return np.stack(box_muller(w[:, 0::2], w[:, 1::2]), axis=-1).reshape(rows, -1)[:, :columns]


def sample_normals(seed, stream, first_sample, first_row, samples, shape):
    """(N K, Z) for shape (N, Z): row i K + k is sample k of example i, at step first_sample + k, row first_row + i."""
    each = [normals(seed, stream, first_sample + k, first_row, shape) for k in range(samples)]
    return np.stack(each, axis=1).reshape(shape[0] * samples, shape[1])
