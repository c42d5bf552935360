"""The latent layer: noise, reparameterization and KL in one pass; its backward draws the same noise again."""

from fastvae.kernels import philox
from fastvae.kernels.cpu.compiler import part, reduction
from fastvae.kernels.cpu.noise import draw_normals
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
def draw(noise, seed, step, first_row, out):
    """out = `noise`, or N(0, 1) drawn at (seed, LATENT, step, first_row + row) where `noise` has no rows."""
    if noise.shape[0]:
        out[:] = noise
    else:
        draw_normals(seed, philox.LATENT, step, first_row, out)


@reduction
def latent_forward(mu, logvar, noise, seed, step, first_row, z, kl):
    """See the contract in `fastvae.kernels`."""
    rows, columns = mu.shape
    for i in range(rows):
        total = ZERO
        for j in range(columns):
            total += kl_term(mu[i, j], limited_logvar(logvar[i, j]))
        kl[i] = total
    draw(noise, seed, step, first_row, z)
    means, logvars, out = mu.reshape(-1), logvar.reshape(-1), z.reshape(-1)
    for k in range(out.size):
        out[k] = means[k] + exp(HALF * limited_logvar(logvars[k])) * out[k]


@reduction
def latent_backward(mu, logvar, d_z, noise, seed, step, first_row, kl_weight, d_mu, d_logvar):
    """See the contract in `fastvae.kernels`."""
    weight = f32(kl_weight)
    draw(noise, seed, step, first_row, d_logvar)
    means, logvars, d_means, d_logvars, d_out = (
        mu.reshape(-1), logvar.reshape(-1), d_mu.reshape(-1), d_logvar.reshape(-1), d_z.reshape(-1),
    )  # fmt: skip
    for k in range(d_out.size):
        limited = limited_logvar(logvars[k])
        deviation = exp(HALF * limited)
        eps = d_logvars[k]
        d_means[k] = d_out[k] + weight * means[k]
        slope = HALF * d_out[k] * eps * deviation + weight * d_kl_logvar(limited, deviation * deviation)
        d_logvars[k] = ZERO if logvars[k] < LOGVAR_LOWEST or logvars[k] > LOGVAR_HIGHEST else slope
