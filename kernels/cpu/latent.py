"""The latent layer: noise, reparameterization and KL in one pass; its backward draws the same noise again."""

from fastvae.kernels import philox
from fastvae.kernels.cpu.compiler import part, reduction
from fastvae.kernels.formulas import (
    HALF,
    LOGVAR_HIGHEST,
    LOGVAR_LOWEST,
    ZERO,
    d_kl_logvar,
    exp,
    f32,
    kl_term,
    limited_logvar,
)


@part
def noise_of_row(noise, seed, step, row, i, out):
    """out[i] = row i of `noise`, or N(0, 1) drawn at (seed, LATENT, step, row) where `noise` has no rows."""
    columns = out.shape[1]
    if noise.shape[0]:
        for j in range(columns):
            out[i, j] = noise[i, j]
    else:
        for block in range((columns + philox.COLUMNS - 1) // philox.COLUMNS):
            eps = philox.normals(seed, philox.LATENT, step, row, block)
            for j in range(philox.COLUMNS * block, min(philox.COLUMNS * block + philox.COLUMNS, columns)):
                out[i, j] = eps[j - philox.COLUMNS * block]


@reduction
def latent_forward(mu, logvar, noise, seed, step, first_row, z, kl):
    """See the contract in `fastvae.kernels`."""
    rows, columns = mu.shape
    for i in range(rows):
        total = ZERO
        for j in range(columns):
            total += kl_term(mu[i, j], limited_logvar(logvar[i, j]))
        kl[i] = total
        noise_of_row(noise, seed, step, first_row + i, i, z)
        for j in range(columns):
            z[i, j] = mu[i, j] + exp(HALF * limited_logvar(logvar[i, j])) * z[i, j]


@reduction
def latent_backward(mu, logvar, d_z, noise, seed, step, first_row, kl_weight, d_mu, d_logvar):
    """See the contract in `fastvae.kernels`."""
    rows, columns = mu.shape
    weight = f32(kl_weight)
    for i in range(rows):
        noise_of_row(noise, seed, step, first_row + i, i, d_logvar)
        for j in range(columns):
            limited = limited_logvar(logvar[i, j])
            deviation = exp(HALF * limited)
            eps_j = d_logvar[i, j]
            d_mu[i, j] = d_z[i, j] + weight * mu[i, j]
            slope = HALF * d_z[i, j] * eps_j * deviation + weight * d_kl_logvar(limited, deviation * deviation)
            d_logvar[i, j] = ZERO if logvar[i, j] < LOGVAR_LOWEST or logvar[i, j] > LOGVAR_HIGHEST else slope
