"""The latent layer: reparameterization and KL; the noise is drawn before each pass, where its result will stand."""

from fastvae.kernels.cpu.compiler import kernel, reduction
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
def backward(mu, logvar, d_z, kl_weight, d_mu, d_logvar):
    """`latent_backward` of the contract, with the noise in `d_logvar`."""
    weight = f32(kl_weight)
    means, logvars, d_means, d_logvars, d_out = (
        mu.reshape(-1), logvar.reshape(-1), d_mu.reshape(-1), d_logvar.reshape(-1), d_z.reshape(-1),
    )  # fmt: skip
    for k in range(d_out.size):
        d_means[k], d_logvars[k] = latent_gradients(means[k], logvars[k], d_out[k], d_logvars[k], weight)
