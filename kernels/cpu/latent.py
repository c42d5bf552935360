"""The latent layer: reparameterization and KL; the noise is drawn before each pass, where its result will stand."""

import numpy as np

from fastvae.kernels.cpu.addresses import call, matrix_at
from fastvae.kernels.cpu.compiler import as_part, kernel, part, reduction
from fastvae.kernels.formulas import (
    ONE,
    ZERO,
    exp,
    f32,
    free_part,
    kl_term,
    latent_gradients,
    latent_sample,
    latent_terms,
    limited_logvar,
    log_of_mean,
    sample_gradients,
    with_kl_gradients,
)

LOWEST = f32(-np.inf)


@reduction
def divergence(mu, logvar, kl):
    """kl = the KL of each row."""
    rows, columns = mu.shape
    for i in range(rows):
        total = ZERO
        for j in range(columns):
            total += kl_term(mu[i, j], limited_logvar(logvar[i, j]))
        kl[i] = total


@kernel
def reparameterize(mu, logvar, z):
    """`z` of the contract's `latent_forward`, with the noise in it."""
    means, logvars, out = mu.reshape(-1), logvar.reshape(-1), z.reshape(-1)
    for k in range(out.size):
        out[k] = latent_terms(means[k], logvars[k], out[k])[0]


@kernel
def gradients(mu, logvar, d_z, kl_weight, d_mu, d_logvar):
    """`latent_backward` of the contract, with the noise in `d_logvar`."""
    weight = f32(kl_weight)
    means, logvars, d_means, d_logvars, d_out = (
        mu.reshape(-1), logvar.reshape(-1), d_mu.reshape(-1), d_logvar.reshape(-1), d_z.reshape(-1),
    )  # fmt: skip
    for k in range(d_out.size):
        d_means[k], d_logvars[k] = latent_gradients(means[k], logvars[k], d_out[k], d_logvars[k], weight)


@reduction
def sample(mu, logvar, z, log_ratio):
    """`latent_samples_forward` of the contract, with the noise in `z`."""
    (rows, columns), repeats = mu.shape, len(z) // max(len(mu), 1)
    for n in range(rows):
        for i in range(n * repeats, (n + 1) * repeats):
            total = ZERO
            for j in range(columns):
                z[i, j], term = latent_sample(mu[n, j], logvar[n, j], z[i, j])
                total += term
            log_ratio[i] = total


@kernel
def gradients_of_samples(mu, logvar, d_z, noise, weights, doubly, kl_weight, counted, d_mu, d_logvar):
    """`latent_samples_backward` of the contract, with the noise at hand."""
    (rows, columns), repeats, factor = mu.shape, len(d_z) // max(len(mu), 1), f32(kl_weight)
    for n in range(rows):
        whole = ZERO
        for i in range(n * repeats, n * repeats + (repeats if weights.size else 0)):
            whole += weights[i]
        for j in range(columns):
            d_mu[n, j], d_logvar[n, j] = ZERO, ZERO
        for i in range(n * repeats, (n + 1) * repeats):
            weight, share = ZERO, ONE
            if weights.size:
                weight, share = weights[i], weights[i] / whole
            for j in range(columns):
                by_mu, by_logvar = sample_gradients(
                    mu[n, j], logvar[n, j], d_z[i, j], noise[i, j], weight, share, doubly
                )
                d_mu[n, j] += by_mu
                d_logvar[n, j] += by_logvar
        for j in range(columns):
            of_kl = factor * counted[j] if counted.size else factor
            d_mu[n, j], d_logvar[n, j] = with_kl_gradients(mu[n, j], logvar[n, j], d_mu[n, j], d_logvar[n, j], of_kl)


@kernel
def free_bits(mu, logvar, least, counted, lacking):
    """See the contract in `fastvae.kernels`."""
    rows, columns = mu.shape
    for j in range(columns):
        lacking[j] = ZERO
    for i in range(rows):
        for j in range(columns):
            lacking[j] += kl_term(mu[i, j], limited_logvar(logvar[i, j]))
    for j in range(columns):
        counted[j], lacking[j] = free_part(lacking[j], f32(rows), f32(least))


@reduction
def importance_weights(log_ratio, nll, weight, bound, weights):
    """See the contract in `fastvae.kernels`."""
    rows, repeats, factor = bound.size, nll.size // max(bound.size, 1), f32(weight)
    for n in range(rows):
        own = slice(n * repeats, (n + 1) * repeats)
        w, ratios, losses, highest, total = weights[own], log_ratio[own], nll[own], LOWEST, ZERO
        for k in range(repeats):
            w[k] = ratios[k] - losses[k]
            highest = w[k] if w[k] > highest else highest
        for k in range(repeats):
            w[k] = exp(w[k] - highest)
            total += w[k]
        scale = factor / total
        for k in range(repeats):
            w[k] *= scale
        bound[n] = -(highest + log_of_mean(total, f32(repeats)))


row_divergence, row_reparameterize, row_gradients = as_part(divergence), as_part(reparameterize), as_part(gradients)
row_sample, row_gradients_of_samples = as_part(sample), as_part(gradients_of_samples)


@part
def forward(mu, logvar, noise, seed, stream, step, first_row, z, kl, draw):
    """`latent_forward` of the contract; `draw` is the address of `noise.copy_or_draw`."""
    rows, columns = mu.shape
    key = np.int64(seed)
    call(draw, (noise.ctypes.data, key, stream, step, first_row, z.ctypes.data, rows, columns, 1))
    row_divergence(mu, logvar, kl)
    row_reparameterize(mu, logvar, z)


@part
def backward(mu, logvar, d_z, noise, seed, stream, step, first_row, kl_weight, d_mu, d_logvar, draw):
    """`latent_backward` of the contract; `draw` is the address of `noise.copy_or_draw`."""
    rows, columns = mu.shape
    key = np.int64(seed)
    call(draw, (noise.ctypes.data, key, stream, step, first_row, d_logvar.ctypes.data, rows, columns, 1))
    row_gradients(mu, logvar, d_z, kl_weight, d_mu, d_logvar)


@part
def samples_forward(mu, logvar, noise, seed, stream, first_sample, first_row, z, log_ratio, draw):
    """`latent_samples_forward` of the contract; `draw` is the address of `noise.copy_or_draw`."""
    (rows, columns), repeats = z.shape, max(len(z) // max(len(mu), 1), 1)
    key = np.int64(seed)
    call(draw, (noise.ctypes.data, key, stream, first_sample, first_row, z.ctypes.data, rows, columns, repeats))
    row_sample(mu, logvar, z, log_ratio)


@part
def samples_backward(
    mu, logvar, d_z, noise, seed, stream, first_sample, first_row, weights, doubly, kl_weight, counted, d_mu, d_logvar,
    draw, scratch,
):  # fmt: skip
    """`latent_samples_backward` of the contract; `draw` is the address of `noise.copy_or_draw`, `scratch` that of room
    for the noise."""
    (rows, columns), repeats = d_z.shape, max(len(d_z) // max(len(mu), 1), 1)
    eps = noise
    if noise.size == 0:
        eps = matrix_at(scratch, rows, columns)
        call(draw, (0, np.int64(seed), stream, first_sample, first_row, scratch, rows, columns, repeats))
    row_gradients_of_samples(mu, logvar, d_z, eps, weights, doubly, kl_weight, counted, d_mu, d_logvar)
