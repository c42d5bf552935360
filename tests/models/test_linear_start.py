"""A Gaussian VAE starts at probabilistic PCA: its ELBO is the log-likelihood of that, row by row, before any step."""

import numpy as np
import pytest

from fastvae import VAE, reference
from fastvae.models import linear_start
from fastvae.models.vae_network import symmetric_points


def table(rows, columns, rank=3, seed=0):
    rng = np.random.default_rng(seed)
    low = rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, columns))
    return (low + rng.uniform(0.5, 2.0) * rng.normal(size=(rows, columns))) * rng.uniform(0.5, 4.0, columns) + 3.0


def principal(u, components, sigma=None):
    """W and sigma of maximum likelihood (Tipping and Bishop 1999), for centred rows; or W for a given sigma."""
    values, vectors = np.linalg.eigh(u.T @ u / len(u))
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = min(components, u.shape[1] - 1)
    variance = values[kept:].mean() if sigma is None else sigma**2
    W = vectors[:, :kept] * np.sqrt(np.maximum(values[:kept] - variance, 0))
    return W, variance**0.5


@pytest.mark.parametrize("hidden", [(), (16,), (9, 7)])
@pytest.mark.parametrize(
    ("rows", "columns", "latent"), [(300, 6, 2), (300, 6, 5), (400, 5, 9), (500, 30, 4), (200, 2, 1)]
)
def test_the_elbo_is_that_of_probabilistic_pca(rows, columns, latent, hidden):
    X = table(rows, columns)
    vae = VAE(latent, hidden, likelihood="gaussian", random_state=0)
    vae.initialize(X)
    mean, deviation = X.mean(axis=0), X.std(axis=0)
    u = (X - mean) / deviation
    W, sigma = principal(u, latent)
    expected = reference.log_prob_pca(u, W, np.zeros(columns), sigma) - np.log(deviation).sum()
    np.testing.assert_allclose(vae.score_samples(X), expected, rtol=1e-4)
    assert vae.score(X) == pytest.approx(expected.mean(), abs=1e-4)
    assert vae.elbo(X, 300).mean() == pytest.approx(expected.mean(), abs=0.1)
    np.testing.assert_allclose(vae.sigma_, sigma, rtol=1e-5)


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e4])
def test_one_sigma_for_all_columns_in_any_units(unit):
    X = table(300, 7) * unit
    vae = VAE(3, (16,), likelihood="gaussian", scale=None, sigma_per_column=False, random_state=0)
    vae.initialize(X)
    W, sigma = principal(X - X.mean(axis=0), 3)
    np.testing.assert_allclose(vae.score_samples(X), reference.log_prob_pca(X, W, X.mean(axis=0), sigma), rtol=2e-4)
    assert vae.sigma_ == pytest.approx(sigma, rel=1e-4)


def test_a_sigma_for_each_column_takes_each_in_its_own_units():
    X = table(300, 7) * np.logspace(-3, 3, 7)
    raw, scaled = (VAE(3, (16,), likelihood="gaussian", scale=scale, random_state=0) for scale in (None, "standard"))
    raw.initialize(X), scaled.initialize(X)
    np.testing.assert_allclose(raw.score_samples(X), scaled.score_samples(X), rtol=1e-3)
    np.testing.assert_allclose(raw.sigma_, scaled.sigma_ * X.std(axis=0), rtol=1e-4)


@pytest.mark.parametrize("sigma", [0.3, 2.0])
def test_a_given_sigma(sigma):
    X = table(300, 6)
    vae = VAE(4, (8,), likelihood="gaussian", sigma=sigma, scale=None, random_state=0)
    vae.initialize(X)
    W, _ = principal(X - X.mean(axis=0), 4, sigma)
    expected = reference.log_prob_pca(X, W, X.mean(axis=0), sigma)
    np.testing.assert_allclose(vae.score_samples(X), expected, rtol=1e-4)


def test_it_is_a_maximum_of_the_elbo():
    """No gradient is left, neither by the linear paths nor by sigma: their expectation is exact at symmetric points."""
    X = table(300, 6)
    vae = VAE(3, (8,), likelihood="gaussian", sigma_per_column=False, random_state=0)
    vae.initialize(X)
    found = [vae.loss_and_gradients(X, np.tile(eps, (len(X), 1)))[2] for eps in symmetric_points(3)]
    for name in ("decoder.linear.weight", "mu.linear.weight", "sigma.parameter", "logvar.bias", "decoder.1.bias"):
        mean = np.mean([gradients[name] for gradients in found], axis=0)
        single = np.abs([gradients[name] for gradients in found]).max()
        assert np.abs(mean).max() < 1e-4 + 1e-5 * single, name
    vae.parameters()["sigma.parameter"][:] += 0.01
    moved = [vae.loss_and_gradients(X, np.tile(eps, (len(X), 1)))[2] for eps in symmetric_points(3)]
    assert np.mean([gradients["sigma.parameter"] for gradients in moved]) > 0.1


@pytest.mark.parametrize(("rows", "columns"), [(40, 90), (200, 50)])
def test_more_columns_than_a_covariance_is_made_of(monkeypatch, rows, columns):
    """Then the rows decide, by their singular values."""
    X = table(rows, columns)
    vae = VAE(4, (8,), likelihood="gaussian", random_state=0)
    monkeypatch.setattr(linear_start, "MOST_COLUMNS", 20)
    monkeypatch.setattr(linear_start, "shrinkage_by_folds", lambda *_: 0.0)
    vae.initialize(X)
    u = (X - X.mean(axis=0)) / X.std(axis=0)
    W, sigma = principal(u, 4)
    expected = reference.log_prob_pca(u, W, np.zeros(columns), sigma) - np.log(X.std(axis=0)).sum()
    np.testing.assert_allclose(vae.score_samples(X), expected, rtol=1e-3)


def test_shrinkage_helps_few_rows_and_leaves_many_alone():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(20, 20))
    for rows, helps in ((60, True), (5000, False)):
        x = rng.normal(size=(rows, 20)) @ mixing
        x -= x.mean(axis=0)
        shrinkage = linear_start.shrinkage_by_folds(x, 19)
        assert (shrinkage > 0) == helps
        if helps:
            new, spectrum = rng.normal(size=(2000, 20)) @ mixing, linear_start.spectrum_of_rows(x)
            plain, shrunk = (spectrum.log_likelihood(new, 19, s).mean() for s in (0.0, shrinkage))
            assert shrunk > plain + 1


def test_the_dumbest_models():
    X, new = table(2000, 5), table(2000, 5)[:300] + 0.1
    full, apart = linear_start.gaussian_log_density(X, new)
    centred, covariance = new - X.mean(axis=0), np.cov(X.T, bias=True)
    log_det = np.linalg.slogdet(covariance)[1]
    squares = (centred * np.linalg.solve(covariance, centred.T).T).sum(axis=1).mean()
    assert full == pytest.approx(-0.5 * (squares + log_det + 5 * np.log(2 * np.pi)), abs=1e-6)
    z = centred / X.std(axis=0)
    assert apart == pytest.approx((-0.5 * z**2 - np.log(X.std(axis=0)) - 0.5 * np.log(2 * np.pi)).sum(axis=1).mean())


def test_constant_columns_and_few_rows():
    X = table(30, 4)
    X[:, 1] = 7.0
    vae = VAE(2, (8,), likelihood="gaussian", epochs=3, random_state=0).fit(X)
    assert np.isfinite(vae.elbo(X)).all()
    np.testing.assert_allclose(vae.reconstruct(X)[:, 1], 7.0, atol=0.5)
    few = VAE(2, (8,), likelihood="gaussian", epochs=3, random_state=0).fit(X[:3, :1])
    assert np.isfinite(few.score(X[:3, :1]))


def test_a_linear_path_needs_a_gaussian():
    with pytest.raises(ValueError, match="linear=True needs likelihood='gaussian'"):
        VAE(linear=True).fit(np.random.default_rng(0).random((200, 3)))
