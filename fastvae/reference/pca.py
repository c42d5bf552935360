"""The linear VAE: probabilistic PCA, x = W z + m + sigma e. Tipping and Bishop 1999."""

import numpy as np


def log_prob_pca(x, W, m, sigma):
    """log N(x; m, W W' + sigma^2 I), (B,); W is (D, Z)."""
    covariance = W @ W.T + sigma**2 * np.eye(len(W))
    r = x - m
    log_det = np.linalg.slogdet(covariance)[1]
    return -0.5 * ((r * np.linalg.solve(covariance, r.T).T).sum(axis=1) + log_det + len(W) * np.log(2 * np.pi))


def posterior_pca(x, W, m, sigma):
    """Mean (B, Z) and covariance (Z, Z) of p(z|x): M^-1 W'(x - m) and sigma^2 M^-1, with M = W'W + sigma^2 I."""
    M = W.T @ W + sigma**2 * np.eye(W.shape[1])
    return np.linalg.solve(M, W.T @ (x - m).T).T, sigma**2 * np.linalg.inv(M)


def elbo_gap_pca(W, sigma):
    """log p(x) - ELBO under the best diagonal q, for every x: 1/2 (sum log M_kk - log det M)."""
    M = W.T @ W + sigma**2 * np.eye(W.shape[1])
    return 0.5 * (np.log(np.diag(M)).sum() - np.linalg.slogdet(M)[1])
