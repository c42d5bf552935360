"""log p(x) of VAEs with one or two codes: the integral over z by sums over a fine grid, in float64."""

import numpy as np
from scipy import special, stats

from fastvae import VAE

ACTIVATIONS = {"tanh": np.tanh, "softplus": lambda a: np.logaddexp(0, a)}


def bent(
    likelihood="bernoulli", latent_dim=1, columns=8, seed=1, strength=1.2, activation="tanh", condition=None, **settings
):
    """A VAE whose decoder bends z, and whose encoder is poor: nothing was trained. `condition` has 40 rows."""
    rng = np.random.default_rng(seed)
    vae = VAE(latent_dim, (6,), activation, likelihood, random_state=seed, **settings)
    x = rng.poisson(3.0, (40, columns)) if likelihood == "poisson" else rng.random((40, columns))
    vae.initialize(x.astype(np.float32), condition=condition)
    for name, values in vae.parameters().items():
        if name.startswith("decoder"):
            values[:] = strength * rng.normal(size=values.shape) / np.sqrt(values.shape[0])
    likelihood = vae.network_.likelihood  # a narrow one makes modes between which no chain goes
    likelihood.set_sigma(np.linspace(1.0, 0.6, likelihood.size))
    return vae


def outputs(vae, z):
    """The decoder's, in float64, of z with the condition beside it, as the network reads that."""
    p = {name: values.astype(float) for name, values in vae.parameters().items()}
    a, layers = z, sum(name.startswith("decoder.") and name.endswith(".bias") for name in p)
    for i in range(layers):
        a = a @ p[f"decoder.{i}.weight"] + p[f"decoder.{i}.bias"]
        a = a if i == layers - 1 else ACTIVATIONS[vae.activation](a)
    return a + z @ p["decoder.linear.weight"] if "decoder.linear.weight" in p else a


def log_likelihood(vae, x, z, condition=()):
    """log p(x|z) (rows, codes), in nats of the user's units; with one condition for all, as the network reads it."""
    a = outputs(vae, np.concatenate([z, np.broadcast_to(condition, (len(z), len(condition)))], axis=1))
    x = (np.asarray(x, float) - vae.offset_) / vae.scale_
    if vae.likelihood == "bernoulli":
        return x @ a.T - np.logaddexp(0, a).sum(axis=1)
    if vae.likelihood == "poisson":
        return x @ a.T - np.exp(a).sum(axis=1) - special.gammaln(x + 1).sum(axis=1, keepdims=True)
    sigma = np.broadcast_to(vae.sigma_, x.shape[1])
    u, v = x / sigma, a / sigma
    squares = np.square(u).sum(axis=1)[:, None] - 2 * u @ v.T + np.square(v).sum(axis=1)
    return -0.5 * squares - np.log(np.sqrt(2 * np.pi) * sigma * vae.scale_).sum()


def log_p(vae, x, condition=(), reach=7.0):
    """log p(x) of each row: sums of p(x|z) p(z) over a grid in [-reach, reach]^Z, which for smooth functions that are 0
    at its ends are as exact as float64."""
    points, Z = {1: 2001, 2: 141}[vae.latent_dim], vae.latent_dim
    line, spacing = np.linspace(-reach, reach, points, retstep=True)
    z = np.stack(np.meshgrid(*[line] * Z, indexing="ij"), axis=-1).reshape(-1, Z)
    prior = stats.norm.logpdf(z).sum(axis=1) + Z * np.log(spacing)
    return special.logsumexp(log_likelihood(vae, x, z, condition) + prior, axis=1)
