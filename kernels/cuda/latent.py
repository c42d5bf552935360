"""The latent layer on the device: a warp for each row, noise drawn in registers and drawn again in the backward.

A thread takes the four columns that one block of noise serves, and those 128 further on.
"""

import numpy as np

from fastvae.kernels.cuda.declaration import COUNT, FLOATS, INTEGERS, WARP, kernel
from fastvae.kernels.cuda.driver import cuda
from fastvae.kernels.cuda.instructions import VECTOR, largest_of_warp, load4, part, store4, sum_of_warp
from fastvae.kernels.cuda.settings import whole
from fastvae.kernels.formulas import (
    ONE,
    ZERO,
    exp,
    f32,
    kl_term,
    latent_gradients,
    latent_sample,
    latent_terms,
    limited_logvar,
    log_of_mean,
    sample_gradients,
    with_kl_gradients,
)
from fastvae.kernels.philox import normals

ROWS = 4  # of a block: its threads are (WARP, ROWS)
LOWEST = f32(-np.inf)
u32, u64 = np.uint32, np.uint64


@part
def own_normal(seed, stream, step, row, column):
    """The N(0, 1) of one place."""
    n0, n1, n2, n3 = normals(seed, stream, step, row, column >> u32(2))
    place = column & u32(3)
    return (n0 if place == u32(0) else n1) if place < u32(2) else (n2 if place == u32(2) else n3)


@kernel(FLOATS, FLOATS, FLOATS, COUNT, *[COUNT] * 7, FLOATS, FLOATS, INTEGERS, COUNT, COUNT, block=(WARP, ROWS))
def latent_forward(
    mu, logvar, noise, given, seed_place, stream_place, stream_offset, step_place, step_offset, row_place, row_offset,
    z, kl, integers, rows, columns,
):  # fmt: skip
    """`latent_forward` of the contract; `noise` counts where `given` is 1."""
    lane, row = u32(cuda.threadIdx.x), u32(cuda.blockIdx.x) * u32(ROWS) + u32(cuda.threadIdx.y)
    seed, step = u64(integers[seed_place]), whole(integers, step_place, step_offset)
    stream, place = whole(integers, stream_place, stream_offset), u32(whole(integers, row_place, row_offset) + row)
    total, start = ZERO, u64(row) * u64(columns)
    if row < rows:
        if columns % VECTOR == u32(0):
            c = u32(lane * VECTOR)
            while c < columns:
                k = start + u64(c)
                m0, m1, m2, m3 = load4(mu, k)
                l0, l1, l2, l3 = load4(logvar, k)
                if given:
                    e0, e1, e2, e3 = load4(noise, k)
                else:
                    e0, e1, e2, e3 = normals(seed, stream, step, place, c >> u32(2))
                z0, k0 = latent_terms(m0, l0, e0)
                z1, k1 = latent_terms(m1, l1, e1)
                z2, k2 = latent_terms(m2, l2, e2)
                z3, k3 = latent_terms(m3, l3, e3)
                store4(z, k, (z0, z1, z2, z3))
                total += (k0 + k1) + (k2 + k3)
                c = u32(c + u32(WARP) * VECTOR)
        else:
            c = lane
            while c < columns:
                k = start + u64(c)
                eps = noise[k] if given else own_normal(seed, stream, step, place, c)
                z[k], term = latent_terms(mu[k], logvar[k], eps)
                total += term
                c = u32(c + u32(WARP))
    total = sum_of_warp(total)
    if row < rows and lane == u32(0):
        kl[row] = total


@kernel(
    *[FLOATS] * 4, COUNT, *[COUNT] * 8, FLOATS, FLOATS, INTEGERS, FLOATS, COUNT, COUNT, block=(WARP, ROWS)
)  # fmt: skip
def latent_backward(
    mu, logvar, d_z, noise, given, seed_place, stream_place, stream_offset, step_place, step_offset, row_place,
    row_offset, weight_place, d_mu, d_logvar, integers, reals, rows, columns,
):  # fmt: skip
    """`latent_backward` of the contract; `noise` counts where `given` is 1."""
    lane, row = u32(cuda.threadIdx.x), u32(cuda.blockIdx.x) * u32(ROWS) + u32(cuda.threadIdx.y)
    seed, step = u64(integers[seed_place]), whole(integers, step_place, step_offset)
    stream, place = whole(integers, stream_place, stream_offset), u32(whole(integers, row_place, row_offset) + row)
    weight, start = reals[weight_place], u64(row) * u64(columns)
    if row < rows:
        if columns % VECTOR == u32(0):
            c = u32(lane * VECTOR)
            while c < columns:
                k = start + u64(c)
                m0, m1, m2, m3 = load4(mu, k)
                l0, l1, l2, l3 = load4(logvar, k)
                g0, g1, g2, g3 = load4(d_z, k)
                if given:
                    e0, e1, e2, e3 = load4(noise, k)
                else:
                    e0, e1, e2, e3 = normals(seed, stream, step, place, c >> u32(2))
                a0, b0 = latent_gradients(m0, l0, g0, e0, weight)
                a1, b1 = latent_gradients(m1, l1, g1, e1, weight)
                a2, b2 = latent_gradients(m2, l2, g2, e2, weight)
                a3, b3 = latent_gradients(m3, l3, g3, e3, weight)
                store4(d_mu, k, (a0, a1, a2, a3))
                store4(d_logvar, k, (b0, b1, b2, b3))
                c = u32(c + u32(WARP) * VECTOR)
        else:
            c = lane
            while c < columns:
                k = start + u64(c)
                eps = noise[k] if given else own_normal(seed, stream, step, place, c)
                d_mu[k], d_logvar[k] = latent_gradients(mu[k], logvar[k], d_z[k], eps, weight)
                c = u32(c + u32(WARP))


@kernel(FLOATS, FLOATS, FLOATS, COUNT, *[COUNT] * 7, FLOATS, FLOATS, INTEGERS, *[COUNT] * 3, block=(WARP, ROWS))
def latent_samples_forward(
    mu, logvar, noise, given, seed_place, stream_place, stream_offset, sample_place, sample_offset, row_place,
    row_offset, z, log_ratio, integers, repeats, rows, columns,
):  # fmt: skip
    """`latent_samples_forward` of the contract, of `rows` rows of z; `noise` counts where `given` is 1."""
    lane, row = u32(cuda.threadIdx.x), u32(cuda.blockIdx.x) * u32(ROWS) + u32(cuda.threadIdx.y)
    example = u32(row // repeats)
    seed, stream = u64(integers[seed_place]), whole(integers, stream_place, stream_offset)
    step = u32(whole(integers, sample_place, sample_offset) + (row - example * repeats))
    place = u32(whole(integers, row_place, row_offset) + example)
    total, start, of_q = ZERO, u64(row) * u64(columns), u64(example) * u64(columns)
    if row < rows:
        if columns % VECTOR == u32(0):
            c = u32(lane * VECTOR)
            while c < columns:
                k, q = start + u64(c), of_q + u64(c)
                m0, m1, m2, m3 = load4(mu, q)
                l0, l1, l2, l3 = load4(logvar, q)
                if given:
                    e0, e1, e2, e3 = load4(noise, k)
                else:
                    e0, e1, e2, e3 = normals(seed, stream, step, place, c >> u32(2))
                z0, r0 = latent_sample(m0, l0, e0)
                z1, r1 = latent_sample(m1, l1, e1)
                z2, r2 = latent_sample(m2, l2, e2)
                z3, r3 = latent_sample(m3, l3, e3)
                store4(z, k, (z0, z1, z2, z3))
                total += (r0 + r1) + (r2 + r3)
                c = u32(c + u32(WARP) * VECTOR)
        else:
            c = lane
            while c < columns:
                k, q = start + u64(c), of_q + u64(c)
                eps = noise[k] if given else own_normal(seed, stream, step, place, c)
                z[k], term = latent_sample(mu[q], logvar[q], eps)
                total += term
                c = u32(c + u32(WARP))
    total = sum_of_warp(total)
    if row < rows and lane == u32(0):
        log_ratio[row] = total


@kernel(FLOATS, FLOATS, COUNT, FLOATS, FLOATS, FLOATS, COUNT, COUNT, block=(WARP, ROWS))
def importance_weights(log_ratio, nll, weight_place, bound, weights, reals, repeats, rows):
    """`importance_weights` of the contract: a warp for each of `rows` examples."""
    lane, row = u32(cuda.threadIdx.x), u32(cuda.blockIdx.x) * u32(ROWS) + u32(cuda.threadIdx.y)
    start, own = u64(row) * u64(repeats), row < rows
    highest, total = LOWEST, ZERO
    k = lane
    while own and k < repeats:
        value = log_ratio[start + u64(k)] - nll[start + u64(k)]
        highest = value if value > highest else highest
        k = u32(k + u32(WARP))
    highest, k = largest_of_warp(highest), lane
    while own and k < repeats:
        w = exp((log_ratio[start + u64(k)] - nll[start + u64(k)]) - highest)
        weights[start + u64(k)] = w
        total += w
        k = u32(k + u32(WARP))
    total, k = sum_of_warp(total), lane
    scale = reals[weight_place] / total
    while own and k < repeats:
        weights[start + u64(k)] *= scale
        k = u32(k + u32(WARP))
    if own and lane == u32(0):
        bound[row] = -(highest + log_of_mean(total, f32(repeats)))


@part
def added(sums, sample):
    """Sums (d_mu, d_logvar) with the terms of one sample added."""
    return sums[0] + sample[0], sums[1] + sample[1]


@kernel(
    *[FLOATS] * 4, COUNT, *[COUNT] * 7, FLOATS, COUNT, COUNT, COUNT, FLOATS, COUNT, FLOATS, FLOATS, INTEGERS, FLOATS,
    *[COUNT] * 3, block=(WARP, ROWS)
)  # fmt: skip
def latent_samples_backward(
    mu, logvar, d_z, noise, given, seed_place, stream_place, stream_offset, sample_place, sample_offset, row_place,
    row_offset, weights, weighted, doubly, weight_place, counted, partly, d_mu, d_logvar, integers, reals, repeats,
    rows, columns,
):  # fmt: skip
    """`latent_samples_backward` of the contract, of `rows` examples: a warp for each, which goes through its samples.
    `noise`, `weights` and `counted` count where `given`, `weighted` and `partly` are 1."""
    lane, row = u32(cuda.threadIdx.x), u32(cuda.blockIdx.x) * u32(ROWS) + u32(cuda.threadIdx.y)
    seed, stream = u64(integers[seed_place]), whole(integers, stream_place, stream_offset)
    step, place = whole(integers, sample_place, sample_offset), u32(whole(integers, row_place, row_offset) + row)
    own, kl_weight, first, total = row < rows, reals[weight_place], u64(row) * u64(repeats), ZERO
    i = lane
    while weighted and own and i < repeats:
        total += weights[first + u64(i)]
        i = u32(i + u32(WARP))
    total = sum_of_warp(total)
    if own:
        if columns % VECTOR == u32(0):
            c = u32(lane * VECTOR)
            while c < columns:
                q = u64(row) * u64(columns) + u64(c)
                m0, m1, m2, m3 = load4(mu, q)
                l0, l1, l2, l3 = load4(logvar, q)
                s0, s1, s2, s3 = (ZERO, ZERO), (ZERO, ZERO), (ZERO, ZERO), (ZERO, ZERO)
                for n in range(repeats):
                    k = (first + u64(n)) * u64(columns) + u64(c)
                    weight = weights[first + u64(n)] if weighted else ZERO
                    share = weight / total if weighted else ONE
                    g0, g1, g2, g3 = load4(d_z, k)
                    if given:
                        e0, e1, e2, e3 = load4(noise, k)
                    else:
                        e0, e1, e2, e3 = normals(seed, stream, u32(step + u32(n)), place, c >> u32(2))
                    s0 = added(s0, sample_gradients(m0, l0, g0, e0, weight, share, doubly))
                    s1 = added(s1, sample_gradients(m1, l1, g1, e1, weight, share, doubly))
                    s2 = added(s2, sample_gradients(m2, l2, g2, e2, weight, share, doubly))
                    s3 = added(s3, sample_gradients(m3, l3, g3, e3, weight, share, doubly))
                w0, w1, w2, w3 = kl_weight, kl_weight, kl_weight, kl_weight
                if partly:
                    c0, c1, c2, c3 = load4(counted, u64(c))
                    w0, w1, w2, w3 = kl_weight * c0, kl_weight * c1, kl_weight * c2, kl_weight * c3
                a0, b0 = with_kl_gradients(m0, l0, s0[0], s0[1], w0)
                a1, b1 = with_kl_gradients(m1, l1, s1[0], s1[1], w1)
                a2, b2 = with_kl_gradients(m2, l2, s2[0], s2[1], w2)
                a3, b3 = with_kl_gradients(m3, l3, s3[0], s3[1], w3)
                store4(d_mu, q, (a0, a1, a2, a3))
                store4(d_logvar, q, (b0, b1, b2, b3))
                c = u32(c + u32(WARP) * VECTOR)
        else:
            c = lane
            while c < columns:
                q = u64(row) * u64(columns) + u64(c)
                sums = (ZERO, ZERO)
                for n in range(repeats):
                    k = (first + u64(n)) * u64(columns) + u64(c)
                    weight = weights[first + u64(n)] if weighted else ZERO
                    share = weight / total if weighted else ONE
                    eps = noise[k] if given else own_normal(seed, stream, u32(step + u32(n)), place, c)
                    sums = added(sums, sample_gradients(mu[q], logvar[q], d_z[k], eps, weight, share, doubly))
                of_kl = kl_weight * counted[c] if partly else kl_weight
                d_mu[q], d_logvar[q] = with_kl_gradients(mu[q], logvar[q], sums[0], sums[1], of_kl)
                c = u32(c + u32(WARP))


@kernel(FLOATS, FLOATS, FLOATS, COUNT, COUNT, block=(WARP, ROWS))
def kl_forward(mu, logvar, kl, rows, columns):
    """`kl_forward` of the contract."""
    lane, row = u32(cuda.threadIdx.x), u32(cuda.blockIdx.x) * u32(ROWS) + u32(cuda.threadIdx.y)
    total, start = ZERO, u64(row) * u64(columns)
    if row < rows:
        if columns % VECTOR == u32(0):
            c = u32(lane * VECTOR)
            while c < columns:
                m0, m1, m2, m3 = load4(mu, start + u64(c))
                l0, l1, l2, l3 = load4(logvar, start + u64(c))
                total += kl_term(m0, limited_logvar(l0)) + kl_term(m1, limited_logvar(l1))
                total += kl_term(m2, limited_logvar(l2)) + kl_term(m3, limited_logvar(l3))
                c = u32(c + u32(WARP) * VECTOR)
        else:
            c = lane
            while c < columns:
                total += kl_term(mu[start + u64(c)], limited_logvar(logvar[start + u64(c)]))
                c = u32(c + u32(WARP))
    total = sum_of_warp(total)
    if row < rows and lane == u32(0):
        kl[row] = total
