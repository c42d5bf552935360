"""A linear VAE with Gaussian output is probabilistic PCA: log p(x), the best posterior and the gap are closed forms.

Lucas, Tucker, Grosse and Norouzi 2019; Tipping and Bishop 1999.
"""

import os
import pathlib

import numpy as np
import pytest

from fastvae import VAE, reference
from fastvae.data.loading import load

PLAIN = {"scale": None, "linear": False, "random_state": 0}


def principal_components(X, dimensions):
    """Mean log p(x) of the maximum-likelihood model, and its sigma: the root of the mean discarded eigenvalue."""
    D = X.shape[1]
    values = np.linalg.eigvalsh(np.cov(X.T, bias=True))[::-1]
    variance = values[dimensions:].mean()
    log_det = np.log(values[:dimensions]).sum() + (D - dimensions) * np.log(variance)
    return -0.5 * (D * np.log(2 * np.pi) + log_det + D), variance**0.5


def expected_elbo(vae, X):
    """Mean ELBO, its expectation over the noise taken exactly: for a linear decoder it is quadratic in the noise, and
    the points +-sqrt(Z) e_k have mean 0 and covariance I."""
    Z = vae.latent_dim
    points = np.concatenate([np.eye(Z), -np.eye(Z)]) * Z**0.5
    parts = [vae.loss_and_gradients(X, np.tile(point, (len(X), 1)))[1] for point in points]
    return -np.mean([p["nll"] + p["kl"] for p in parts])


def decoder(vae):
    p = vae.parameters()
    return p["decoder.0.weight"].astype(float).T, p["decoder.0.bias"].astype(float)


def with_best_posterior(vae, sigma):
    """Write into the encoder the best diagonal q: mu = M^-1 W'(x - m), variance sigma^2 / M_kk."""
    W, m = decoder(vae)
    M = W.T @ W + sigma**2 * np.eye(W.shape[1])
    project = np.linalg.solve(M, W.T).T
    p = vae.parameters()
    p["mu.weight"][:], p["mu.bias"][:] = project, -m @ project
    p["logvar.weight"][:], p["logvar.bias"][:] = 0, np.log(sigma**2 / np.diag(M))
    return W, m


def trained(X, dimensions, sigma, epochs, rate=3e-3):
    vae = VAE(
        dimensions,
        (),
        likelihood="gaussian",
        sigma=sigma,
        scale=None,
        linear=False,
        epochs=epochs,
        random_state=0,
        learning_rate=rate,
    )
    vae.fit(X)
    for _ in range(4):  # smaller steps, smaller noise
        vae.set_params(learning_rate=vae.learning_rate / 3)
        for _ in range(epochs // 6):
            vae.partial_fit(X)
    return vae


@pytest.mark.parametrize(("dimensions", "seed"), [(1, 0), (4, 1), (9, 2)])
def test_the_gap_identity(dimensions, seed):
    """log p - ELBO = 1/2 (sum log M_kk - log det M) for the best diagonal q of any decoder."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(50, 12)).astype(np.float32)
    sigma = 0.6
    vae = VAE(dimensions, (), likelihood="gaussian", sigma=sigma, **PLAIN | {"random_state": seed})
    vae.initialize(X)
    W, m = with_best_posterior(vae, sigma)
    log_p = reference.log_prob_pca(X.astype(float), W, m, sigma).mean()
    M = W.T @ W + sigma**2 * np.eye(dimensions)
    gap = 0.5 * (np.log(np.diag(M)).sum() - np.linalg.slogdet(M)[1])
    assert log_p - expected_elbo(vae, X) == pytest.approx(gap, abs=1e-5 * abs(log_p))
    assert (gap > 0.01) == (dimensions > 1)


@pytest.mark.long
def test_a_linear_vae_converges_to_probabilistic_pca():
    X = (load("digits").X / 16).astype(np.float32)
    best, sigma = principal_components(X.astype(float), 6)
    vae = trained(X, 6, sigma, 1500)
    W, m = decoder(vae)
    log_p = reference.log_prob_pca(X.astype(float), W, m, sigma).mean()
    assert log_p <= best + 1e-6 * abs(best)
    assert best - log_p < 0.005 * abs(best)
    assert best - expected_elbo(vae, X) < 0.005 * abs(best)


@pytest.mark.slow
def test_frey_faces_converge_to_probabilistic_pca():
    """The figures behind the claim: `pytest -m slow -k frey -s`, with the folder of frey_faces.npz in FASTVAE_DATA."""
    path = pathlib.Path(os.environ.get("FASTVAE_DATA", "no folder named"), "frey_faces.npz")
    if not path.exists():
        pytest.skip("needs frey_faces.npz in the folder that FASTVAE_DATA names")
    X = (load(path).X / 255).astype(np.float32)
    best, sigma = principal_components(X.astype(float), 10)
    vae = trained(X, 10, sigma, 400)
    W, m = decoder(vae)
    log_p = reference.log_prob_pca(X.astype(float), W, m, sigma).mean()
    elbo = expected_elbo(vae, X)
    with_best_posterior(vae, sigma)
    M = W.T @ W + sigma**2 * np.eye(10)
    gap = 0.5 * (np.log(np.diag(M)).sum() - np.linalg.slogdet(M)[1])
    best_elbo = expected_elbo(vae, X)
    print(f"\nFrey faces, Z = 10, sigma = {sigma:.4f}: nats per example")
    print(f"probabilistic PCA {best:.3f}  log p of the linear VAE {log_p:.3f}  its ELBO {elbo:.3f}")
    print(f"gap to PCA {(best - log_p) / abs(best):.3%} (log p), {(best - elbo) / abs(best):.3%} (ELBO)")
    print(f"log p - best ELBO {log_p - best_elbo:.6f}  closed form {gap:.6f}")
    assert best - elbo < 0.005 * abs(best)
    assert log_p - best_elbo == pytest.approx(gap, abs=1e-5 * abs(log_p))
