"""log p(x) of a fitted VAE by importance sampling, in float64 NumPy and through the estimator's public methods alone.

log p(x) = log 1/K sum_k p(x|z_k) p(z_k) / r(z_k). Half of the z_k come from q(z|x), half from the Gaussian N(m, P^-1)
that the decoder's slope J at m gives: P = I + J^T diag(sigma)^-2 J, with m after some steps of Gauss and Newton. r is
the mixture of the two (Veach and Guibas 1995), so that one good half is enough. The deviations of both are widened,
for a proposal that is too narrow leaves a few weights that outweigh all others. Rows whose weights are still worth few
samples get more rounds of K.
"""

import math

import numpy as np

NUMBERS = 1 << 22  # of values in the largest array
ENOUGH, ROUNDS = 100, 10  # effective samples that a row should have, and how often K may be drawn for that
NEWTON, STEP = 6, 1e-2  # steps to the mode, and the length in z over which the decoder's slope is taken
LOG_TWO_PI = math.log(2 * math.pi)


def log_densities(
    vae, X: np.ndarray, samples: int = 2000, widen: float = 1.2, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return log p(x) in nats of the user's units, and the effective sample size of its weights, each (N,) float64.

    `vae` has a Gaussian likelihood, its `sigma_` is one number or one a column (D,). The estimate is too low by about
    1 / (2 effective sample size) nats.
    """
    X = np.asarray(X, np.float64)
    rows, columns = X.shape
    mu, logvar = (np.asarray(a, np.float64) for a in vae.encode(X))
    latent = mu.shape[1]
    sigma = np.broadcast_to(np.asarray(vae.sigma_, np.float64), columns) * vae.scale_
    rng = np.random.default_rng(seed)
    log_p, effective = np.empty(rows), np.empty(rows)
    at_once = max(1, NUMBERS // (max(samples, latent + 1) * max(columns, latent)))
    for start in range(0, rows, at_once):
        part = slice(start, min(rows, start + at_once))
        x, q = X[part], (mu[part], np.exp(-logvar[part] / 2)[:, None] * np.eye(latent) / widen)
        mode, root = _mode(vae, x, mu[part], sigma)
        proposals = (q, (mode, root / widen))
        total, squared = (np.full(len(x), -np.inf) for _ in range(2))  # logarithms of the sums of weights
        drawn, few = np.zeros(len(x)), np.arange(len(x))
        for _ in range(ROUNDS):
            weights = _log_weights(vae, x[few], [(m[few], r[few]) for m, r in proposals], sigma, samples, rng)
            total[few] = np.logaddexp(total[few], _log_sum(weights))
            squared[few] = np.logaddexp(squared[few], _log_sum(2 * weights))
            drawn[few] += weights.shape[1]
            few = np.flatnonzero(2 * total - squared < math.log(ENOUGH))
            if not len(few):
                break
        log_p[part], effective[part] = total - np.log(drawn), np.exp(2 * total - squared)
    return log_p, effective


def _log_sum(values: np.ndarray) -> np.ndarray:
    largest = values.max(1)
    return largest + np.log(np.exp(values - largest[:, None]).sum(1))


def _log_weights(vae, X: np.ndarray, proposals: list, sigma: np.ndarray, samples: int, rng) -> np.ndarray:
    """log p(x|z) p(z) / r(z) for as many codes from each of the two proposals, (n, K)."""
    half = max(1, samples // 2)
    noise = rng.standard_normal((2, len(X), half, proposals[0][0].shape[1]))
    z = np.concatenate([m[:, None] + _solve(r, e) for (m, r), e in zip(proposals, noise, strict=True)], axis=1)
    log_r = np.logaddexp(*[_log_normal(z, m, r) for m, r in proposals]) - math.log(2)
    return _log_joint(vae, X, z, sigma) - log_r


# A Gaussian of z is its mean (n, Z) and its root (n, Z, Z), lower triangular: the precision is root root^T.


def _solve(root: np.ndarray, eps: np.ndarray) -> np.ndarray:
    """Noise (n, k, Z) of unit variance, to noise of that Gaussian."""
    return eps @ np.linalg.inv(root)


def _log_normal(z: np.ndarray, mean: np.ndarray, root: np.ndarray) -> np.ndarray:
    white = (z - mean[:, None]) @ root
    log_determinant = np.log(np.diagonal(root, axis1=1, axis2=2)).sum(1)[:, None]
    return log_determinant - 0.5 * np.einsum("nkz,nkz->nk", white, white) - z.shape[2] / 2 * LOG_TWO_PI


def _decoded(vae, z: np.ndarray) -> np.ndarray:
    """The decoder's mean of codes (n, k, Z), (n, k, D)."""
    return np.asarray(vae.decode(z.reshape(-1, z.shape[2])), np.float64).reshape(*z.shape[:2], -1)


def _log_joint(vae, X: np.ndarray, z: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """log p(x|z) + log p(z) of each row and its codes, (n, k)."""
    residual = _decoded(vae, z)
    residual -= X[:, None]
    residual /= sigma
    squared = np.einsum("nkd,nkd->nk", residual, residual) + np.einsum("nkz,nkz->nk", z, z)
    return -np.log(sigma).sum() - (X.shape[1] + z.shape[2]) / 2 * LOG_TWO_PI - 0.5 * squared


def _mode(vae, X: np.ndarray, z: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A Gaussian at the mode of p(z|x), or near it, from steps of Gauss and Newton that begin at `z`."""
    latent = z.shape[1]
    best = _log_joint(vae, X, z[:, None], sigma)[:, 0]
    for step in range(NEWTON + 1):
        around = np.concatenate([z[:, None], z[:, None] + STEP * np.eye(latent)], axis=1)
        means = _decoded(vae, around)
        slope = (means[:, 1:] - means[:, :1]) / (STEP * sigma)  # (n, Z, D)
        precision = np.eye(latent) + slope @ slope.transpose(0, 2, 1)
        if step == NEWTON:
            break
        pull = np.einsum("nzd,nd->nz", slope, (X - means[:, 0]) / sigma) - z
        move = np.linalg.solve(precision, pull[:, :, None])[:, :, 0]
        for _ in range(4):  # halved where it does not go up
            found = _log_joint(vae, X, (z + move)[:, None], sigma)[:, 0]
            up = found > best
            z, best = np.where(up[:, None], z + move, z), np.where(up, found, best)
            move = np.where(up[:, None], 0, move / 2)
    return z, np.linalg.cholesky(precision)
