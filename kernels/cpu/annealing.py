"""Gibbs sampling of the chains of annealed importance sampling, between two groups of binary units, s and t.

    log f_beta(s, t) = beta s' W t + s' a_beta + t' b_beta        a_beta = (1 - beta) a_first + beta a, b_beta alike

No op: nothing but `fastvae.evaluation.bipartite` runs it, always on the host. Few units change in a transition, 40 of
784 and 130 of 500 at beta 1 in a machine trained on MNIST: so s W and W t are not made anew, but moved by the rows of W
of those that have changed, and made anew now and then, before rounding adds up. A chain sees no other one: how they are
cut into blocks, and a path into pieces, changes no bit.
"""

import numpy as np

from fastvae.kernels import formulas as f
from fastvae.kernels import philox
from fastvae.kernels.cpu.compiler import as_part, kernel, reduction

ANEW = 128  # transitions after which the products are made anew


@kernel
def noise_of_row(seed, stream, step, row, words):
    """The words of a row's columns: see `philox`."""
    full = words.size // philox.COLUMNS
    for block in range(full):
        w0, w1, w2, w3 = philox.words(seed, stream, step, row, block)
        j = philox.COLUMNS * block
        words[j], words[j + 1], words[j + 2], words[j + 3] = w0, w1, w2, w3
    if full * philox.COLUMNS < words.size:
        rest = philox.words(seed, stream, step, row, full)
        for j in range(philox.COLUMNS * full, words.size):
            words[j] = rest[j - philox.COLUMNS * full]


@kernel
def drawn_units(product, beta, bias, words, units):
    """units = 1 with probability sigmoid(beta product + bias), by 32 bits of noise each."""
    for j in range(units.size):
        units[j] = f.ONE if f.uniform(words[j]) <= f.sigmoid(beta * product[j] + bias[j]) else f.ZERO


@kernel
def changes(units, drawn, index, change):
    """Where units differ from what was drawn, and by how much; they become that. How many there are."""
    count = 0
    for j in range(units.size):
        index[count], change[count] = j, drawn[j] - units[j]
        count += units[j] != drawn[j]
        units[j] = drawn[j]
    return count


@kernel
def moved(index, change, count, weight, out):
    """out += sum over i < count of change[i] weight[index[i]], in order; eight at a time."""
    whole = count // 8 * 8
    for i in range(0, whole, 8):
        w0, w1, w2, w3 = weight[index[i]], weight[index[i + 1]], weight[index[i + 2]], weight[index[i + 3]]
        w4, w5, w6, w7 = weight[index[i + 4]], weight[index[i + 5]], weight[index[i + 6]], weight[index[i + 7]]
        c0, c1, c2, c3 = change[i], change[i + 1], change[i + 2], change[i + 3]
        c4, c5, c6, c7 = change[i + 4], change[i + 5], change[i + 6], change[i + 7]
        for k in range(out.size):
            near = ((out[k] + c0 * w0[k]) + c1 * w1[k] + c2 * w2[k]) + c3 * w3[k]
            out[k] = (((near + c4 * w4[k]) + c5 * w5[k]) + c6 * w6[k]) + c7 * w7[k]
    for i in range(whole, count):
        row, by = weight[index[i]], change[i]
        for k in range(out.size):
            out[k] += by * row[k]


@reduction
def gained(product, before, bias_before, after, bias_after):
    """sum of softplus(after product + bias_after) - softplus(before product + bias_before)."""
    total = f.ZERO
    for j in range(product.size):
        total += f.softplus(after * product[j] + bias_after[j]) - f.softplus(before * product[j] + bias_before[j])
    return total


@reduction
def sum_of_products(x, y):
    """x . y of float32 and float64, in float64."""
    total = 0.0
    for j in range(x.size):
        total += np.float64(x[j]) * y[j]
    return total


@kernel
def bias_at(beta, first, last, out):
    """out = (1 - beta) first + beta last, of float64, in float32."""
    for j in range(out.size):
        out[j] = f.f32((1.0 - beta) * first[j] + beta * last[j])


@kernel
def ones(units, index, change, out):
    """Where binary units are 1, as changes from 0; and `out` = 0."""
    count = 0
    for j in range(units.size):
        index[count], change[count] = j, f.ONE
        count += units[j] != f.ZERO
    for k in range(out.size):
        out[k] = f.ZERO
    return count


fill, draw, change_units, all_units, move, gain, dot, bias_between = (
    as_part(function)
    for function in (noise_of_row, drawn_units, changes, ones, moved, gained, sum_of_products, bias_at)
)


@kernel
def anneal(
    weight, transposed, a, b, a_first, b_first, path, begins, seed, stream, first_step, done, first_row, s, t, product,
    back, log_weights,
):  # fmt: skip
    """Take chains along a path of betas: with each of its pieces, from one beta to the next, first a transition at the
    former, t given s, then s given t; then log f at the latter less log f at the former, t summed out, is added to
    `log_weights`.

    Parameters
    ----------
    weight (S, T), transposed (T, S)
        float32.
    a, a_first (S,), b, b_first (T,)
        float64.
    path (n + 1,)
        float64.
    begins
        1: s is drawn at beta 0 at first, and the first piece has no transition unless its beta is another.
    seed, stream, first_step, done, first_row
        Of the noise: that of transition k, from 1, is of steps first_step + 2 k - 1 and first_step + 2 k, and that
        which s begins with is of first_step. `done` transitions were before.
    s (n, S), t (n, T), product (n, T), back (n, S)
        float32: the units, s W, and W t. Overwritten.
    log_weights (n,)
        float64.

    Returns
    -------
    int
        How many transitions are done.
    """
    (chains, columns), others, made = s.shape, t.shape[1], done
    words, drawn = np.empty(max(columns, others), np.uint32), np.empty(max(columns, others), np.float32)
    index, change = np.empty(max(columns, others) + 1, np.int64), np.empty(max(columns, others) + 1, np.float32)
    bias_s, slope = np.empty(columns, np.float32), a - a_first
    before, after = np.empty(others, np.float32), np.empty(others, np.float32)
    for k in range(-1 if begins else 0, path.size - 1):
        beta = path[k] if k >= 0 else 0.0
        weighs, stays = k >= 0 and path[k] != path[k + 1], begins and k == 0 and path[0] == 0.0
        one, two = f.f32(beta), f.f32(path[k + 1])
        bias_between(beta, a_first, a, bias_s)
        bias_between(beta, b_first, b, before)
        bias_between(path[k + 1], b_first, b, after)
        made += k >= 0 and not stays
        anew = k < 0 or made % ANEW == 0
        for i in range(chains):
            for half in range(2 if stays else 1 if k < 0 else 0, 2):
                if half == 0:
                    units, given, bias, rows, out = t[i], product[i], before, transposed, back[i]
                else:
                    units, given, bias, rows, out = s[i], back[i], bias_s, weight, product[i]
                size = units.size
                fill(seed, stream, first_step + 2 * made - 1 + half, first_row + i, words[:size])
                draw(given, one, bias, words[:size], drawn[:size])
                count = change_units(units, drawn[:size], index, change)
                if anew:
                    count = all_units(units, index, change, out)
                move(index, change, count, rows, out)
            if weighs:
                linear = (path[k + 1] - path[k]) * dot(s[i], slope)
                log_weights[i] += linear + np.float64(gain(product[i], one, before, two, after))
    return made
