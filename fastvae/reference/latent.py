"""The latent layer."""

import numpy as np

LOGVAR_LOWEST, LOGVAR_HIGHEST = -30.0, 20.0


def limited(logvar):
    """logvar in [-30, 20]."""
    return np.clip(logvar, LOGVAR_LOWEST, LOGVAR_HIGHEST)


def kl_terms(mu, logvar):
    """KL[N(mu, exp(logvar)) || N(0, 1)] = 1/2 (exp(logvar) + mu^2 - 1 - logvar), of each entry."""
    near = np.where(np.abs(logvar) < 1e-2, logvar, 0.0)
    series = near**2 / 2 * (1 + near / 3 * (1 + near / 4 * (1 + near / 5 * (1 + near / 6 * (1 + near / 7)))))
    excess = np.where(np.abs(logvar) < 1e-2, series, np.expm1(logvar) - logvar)  # exp(l) - 1 - l cancels near 0
    return 0.5 * (mu**2 + excess)


def latent_forward(mu, logvar, noise):
    """z = mu + exp(logvar / 2) noise, and kl (B,)."""
    logvar = limited(logvar)
    return mu + np.exp(logvar / 2) * noise, kl_terms(mu, logvar).sum(axis=1)


def latent_backward(mu, logvar, noise, d_z, d_kl):
    """d_mu, d_logvar from the gradients of z (B, Z) and of kl (B,) or a number."""
    inside = (logvar >= LOGVAR_LOWEST) & (logvar <= LOGVAR_HIGHEST)
    logvar, d_kl = limited(logvar), np.reshape(d_kl, (-1, 1))
    d_mu = d_z + d_kl * mu
    d_logvar = d_z * noise * np.exp(logvar / 2) / 2 + d_kl * np.expm1(logvar) / 2
    return d_mu, np.where(inside, d_logvar, 0.0)


def log_normal(z, mu, logvar):
    """log N(z; mu, diag(exp(logvar))), (B,)."""
    return -0.5 * ((z - mu) ** 2 / np.exp(logvar) + logvar + np.log(2 * np.pi)).sum(axis=1)


def repeated(array, rows):
    """(N, ...) as (rows, ...): each row as often as `rows` is a multiple of N."""
    return np.repeat(array, rows // len(array), axis=0)


def latent_samples_forward(mu, logvar, noise):
    """z (B, Z) and log p(z) - log q(z|x) (B,): of mu and logvar (N, Z) and noise (B, Z), K rows for each of them."""
    mu, logvar = repeated(mu, len(noise)), repeated(limited(logvar), len(noise))
    z = mu + np.exp(logvar / 2) * noise
    return z, log_normal(z, np.zeros_like(mu), np.zeros_like(mu)) - log_normal(z, mu, logvar)


def importance_weights(log_ratio, nll, rows):
    """-log 1/K sum_k w_k (N,), and w_k / sum_j w_j (B,), with log w = log_ratio - nll (B,), of `rows` = N examples."""
    log_w = (log_ratio - nll).reshape(rows, -1)
    highest = log_w.max(axis=1, keepdims=True)
    w = np.exp(log_w - highest)
    return -(highest[:, 0] + np.log(w.mean(axis=1))), (w / w.sum(axis=1, keepdims=True)).ravel()


def latent_samples_backward(mu, logvar, noise, d_z, weights=None, doubly=False, d_kl=0.0, counted=1.0):
    """d_mu, d_logvar (N, Z) from the gradients of z (B, Z), with K rows for each of mu.

    With weights (B,) also those of the sum of weights times -(log p(z) - log q(z|x)), whose differentials are by hand:
    of -log p(z), z dz; of log q(z|x), -dlogvar / 2, as z - mu moves with its deviation. `doubly`: the same where mu and
    logvar of q are held, of log q -eps dz / sigma; each sample once more times its share of its example's weights.
    d_kl is the gradient of the KL (N,), which has effect in the dimensions `counted` (Z,).
    """
    count, inside = len(mu), (logvar >= LOGVAR_LOWEST) & (logvar <= LOGVAR_HIGHEST)
    a = np.zeros((len(d_z), 1)) if weights is None else weights[:, None]
    sigma = repeated(np.exp(limited(logvar) / 2), len(d_z))
    z = repeated(mu, len(d_z)) + sigma * noise
    if doubly:
        share = a / repeated(a.reshape(count, -1).sum(axis=1), len(a))[:, None]
        by_z, directly = share * (d_z + a * (z - noise / sigma)), np.zeros_like(a)
    else:
        by_z, directly = d_z + a * z, -a / 2
    summed = [
        each.reshape(count, -1, each.shape[1]).sum(axis=1) for each in (by_z, by_z * noise * sigma / 2 + directly)
    ]
    d_mu = summed[0] + d_kl * counted * mu
    return d_mu, np.where(inside, summed[1] + d_kl * counted * np.expm1(limited(logvar)) / 2, 0.0)


def free_bits(mu, logvar, least):
    """Of each latent dimension: whether the mean of its KL over the batch is above `least`, and what the sum of its KLs
    lacks to that many times `least`, from 0. Kingma et al. 2016, section on free bits."""
    mean = kl_terms(mu, limited(logvar)).mean(axis=0)
    return mean > least, len(mu) * np.maximum(least - mean, 0.0)
