"""The latent layer: reparameterization and KL; the noise is drawn before each pass, where its result will stand."""

import numpy as np

from fastvae.kernels.cpu.addresses import call
from fastvae.kernels.cpu.compiler import as_part, kernel, part, reduction
from fastvae.kernels.formulas import (
    ZERO,
    f32,
    kl_term,
    latent_gradients,
    latent_terms,
    limited_logvar,
)


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


row_divergence, row_reparameterize, row_gradients = as_part(divergence), as_part(reparameterize), as_part(gradients)


@part
def forward(mu, logvar, noise, seed, stream, step, first_row, z, kl, draw):
    """`latent_forward` of the contract; `draw` is the address of `noise.copy_or_draw`."""
    rows, columns = mu.shape
    key = np.int64(seed)
    call(draw, (noise.ctypes.data, key, stream, step, first_row, z.ctypes.data, rows, columns))
    row_divergence(mu, logvar, kl)
    row_reparameterize(mu, logvar, z)


@part
def backward(mu, logvar, d_z, noise, seed, stream, step, first_row, kl_weight, d_mu, d_logvar, draw):
    """`latent_backward` of the contract; `draw` is the address of `noise.copy_or_draw`."""
    rows, columns = mu.shape
    key = np.int64(seed)
    call(draw, (noise.ctypes.data, key, stream, step, first_row, d_logvar.ctypes.data, rows, columns))
    row_gradients(mu, logvar, d_z, kl_weight, d_mu, d_logvar)
