"""The ex-post prior, and its gain in log p(x) with the gain's error."""

import json
import math
import sys

import numpy as np
import pytest

from fastvae import VAE, reference
from fastvae.data.digits import load_digits
from fastvae.evaluation.importance import importance
from fastvae.evaluation.prior import ExPostPrior, fit_prior, prior_gain, sample_with
from fastvae.training import Observer

DIGITS = (load_digits().X / np.float32(16)).astype(np.float32)
MIXTURE = ExPostPrior(
    np.array([0.3, 0.7]), np.array([[0.0, 2.0], [-1.0, 0.5]]),
    np.array([[[1.0, 0.3], [0.3, 0.5]], [[0.4, -0.1], [-0.1, 2.0]]]), {}, 0,
)  # fmt: skip


@pytest.fixture(scope="module")
def far():
    """A model whose codes are far from N(0, I): trained with hardly any KL."""
    model = VAE(latent_dim=4, beta=0.01, epochs=25, batch_size=64, random_state=3, early_stopping=False)
    examples = model.initialize(DIGITS[:1200])
    model._optimizer = model._make_optimizer()
    model.fit_examples(examples, 25, 64, None, None, Observer())
    return model


def linear(rows=300):
    """x = W z + m + sigma e with z from N(mean, covariance) instead of N(0, I); a VAE that knows W, m and sigma, and
    whose q has the posterior under N(0, I), but for correlations."""
    rng = np.random.default_rng(4)
    W, m, sigma = rng.normal(size=(6, 2)), rng.normal(size=6), 0.6
    mean, covariance = np.array([1.2, -0.5]), np.array([[0.3, 0.1], [0.1, 0.5]])
    z = rng.multivariate_normal(mean, covariance, rows)
    X = z @ W.T + m + sigma * rng.normal(size=(rows, 6))
    model = VAE(2, hidden=(), likelihood="gaussian", sigma=sigma, scale=None, linear=False, random_state=0)
    model.initialize(X)
    parameters = model.parameters()
    parameters["decoder.0.weight"][:], parameters["decoder.0.bias"][:] = W.T, m
    M = W.T @ W + sigma**2 * np.eye(2)
    parameters["mu.weight"][:], parameters["mu.bias"][:] = (np.linalg.solve(M, W.T)).T, -np.linalg.solve(M, W.T @ m)
    parameters["logvar.weight"][:] = 0
    parameters["logvar.bias"][:] = np.log(sigma**2 / np.diag(M))
    W, m = (parameters[f"decoder.0.{name}"].astype(float).T for name in ("weight", "bias"))
    return model, X, W, m, sigma, mean, covariance


def test_the_density_is_that_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    z = np.random.default_rng(0).normal(size=(50, 2)) * 2
    parts = [stats.multivariate_normal(m, c).pdf(z) for m, c in zip(MIXTURE.means, MIXTURE.covariances, strict=True)]
    np.testing.assert_allclose(MIXTURE.log_density(z), np.log(MIXTURE.weights @ parts), rtol=1e-12)
    normal = stats.multivariate_normal(np.zeros(2)).logpdf(z)
    np.testing.assert_allclose(MIXTURE.log_ratio(z), MIXTURE.log_density(z) - normal, rtol=1e-10)


def test_draws_have_the_moments_of_the_mixture():
    z = MIXTURE.sample(40_000, seed=1).astype(float)
    mean = MIXTURE.weights @ MIXTURE.means
    second = np.einsum("c,cij->ij", MIXTURE.weights, MIXTURE.covariances)
    second = second + np.einsum("c,ci,cj->ij", MIXTURE.weights, MIXTURE.means, MIXTURE.means) - np.outer(mean, mean)
    np.testing.assert_allclose(z.mean(axis=0), mean, atol=0.03)
    np.testing.assert_allclose(np.cov(z.T), second, atol=0.06)
    np.testing.assert_array_equal(MIXTURE.sample(5, seed=2), MIXTURE.sample(5, seed=2))


def test_the_gain_of_a_linear_vae_has_a_closed_form_and_its_error_holds():
    """log p(x) with the prior N(mean, C) is log N(x; W mean + m, W C W' + sigma^2 I): intervals of 95% cover it."""
    stats = pytest.importorskip("scipy.stats")
    model, X, W, m, sigma, mean, covariance = linear()
    prior = ExPostPrior(np.ones(1), mean[None], covariance[None], {}, 0)
    marginal = stats.multivariate_normal(W @ mean + m, W @ covariance @ W.T + sigma**2 * np.eye(6))
    exact = marginal.logpdf(X) - reference.log_prob_pca(X, W, m, sigma)
    covered, means = [], []
    for seed in range(10):
        found = prior_gain(model, prior, X, 400, seed=seed)
        covered.append((np.abs(found.gains - exact) < 1.96 * found.mcse).mean())
        means.append((found.mean - exact.mean()) / found.mean_mcse)
    assert 0.92 < np.mean(covered) < 0.98
    assert np.mean(np.square(means)) < 2.5  # of squares of normals: 1
    assert found.mean == pytest.approx(exact.mean(), abs=4 * found.mean_mcse)
    assert found.error == pytest.approx(exact.std() / math.sqrt(300), rel=0.1)
    assert exact.mean() > 0.3


def test_the_normal_prior_gains_nothing_and_is_what_importance_finds():
    model, X, *_ = linear(50)
    found = prior_gain(model, ExPostPrior(np.ones(1), np.zeros((1, 2)), np.eye(2)[None], {}, 0), X, 500, seed=7)
    np.testing.assert_allclose(found.gains, 0, atol=1e-6)
    np.testing.assert_allclose(found.mcse, 0, atol=1e-6)
    np.testing.assert_allclose(found.with_normal, importance(model, model.examples(X), 500, seed=7).values, atol=1e-5)


def test_codes_far_from_the_prior_gain_on_rows_that_are_held_out(far):
    pytest.importorskip("sklearn")
    prior = fit_prior(far, DIGITS[:1200], components=(1, 4, 16), seed=0)
    found = prior_gain(far, prior, DIGITS[1200:1400], 500)
    assert found.mean > 10 * found.error
    assert found.mean > 0.5
    assert found.mean_mcse < found.error
    assert prior.heldout[len(prior)] == max(prior.heldout.values())
    assert set(prior.heldout) == {1, 4, 16}
    summary = json.loads(json.dumps(found.summary(), allow_nan=False))
    assert summary["gain"] == found.mean
    assert summary["n_examples"] == 200


def test_components_are_chosen_by_rows_that_were_not_fitted(far):
    """20 components suit the codes of 32 rows very well, and those of other rows not at all."""
    pytest.importorskip("sklearn")
    prior = fit_prior(far, DIGITS[:40], components=(1, 20), seed=0)
    assert len(prior) == 1
    assert prior.heldout[20] < prior.heldout[1]


def test_draws_with_the_prior_are_more_like_the_data(far):
    """The mean image of draws, over pixels, is nearer to that of the data than that of draws of N(0, I)."""
    pytest.importorskip("sklearn")
    prior = fit_prior(far, DIGITS[:1200], components=8, seed=0)
    fitted, normal = sample_with(far, prior, 2000, seed=1), far.sample(2000, random_state=1)
    apart = [np.abs(x.mean(axis=0) - DIGITS.mean(axis=0)).mean() for x in (fitted, normal)]
    assert apart[0] < 0.7 * apart[1]
    drawn = sample_with(far, prior, 200, seed=1, noise=True)
    assert set(np.unique(drawn)) == {0, 1}
    np.testing.assert_array_equal(drawn, sample_with(far, prior, 200, seed=1, noise=True))


def test_without_scikit_learn_it_says_what_to_install(far, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.mixture", None)
    with pytest.raises(ModuleNotFoundError, match="pip install scikit-learn"):
        fit_prior(far, DIGITS[:100])


def test_numbers_that_are_none_are_refused(far):
    pytest.importorskip("sklearn")
    for components, message in ((0, "components"), (2.5, "components"), ((), "is empty"), (50, "more than the 20")):
        with pytest.raises((ValueError, TypeError), match=message):
            fit_prior(far, DIGITS[:20], components=components)
    with pytest.raises(ValueError, match="5 examples"):
        fit_prior(far, DIGITS[:5])
    with pytest.raises(ValueError, match="n_samples"):
        prior_gain(far, MIXTURE, DIGITS[:5], 1)
    with pytest.raises(ValueError, match="prior has 2 dimensions, the model's codes have 4"):
        prior_gain(far, MIXTURE, DIGITS[:5])
