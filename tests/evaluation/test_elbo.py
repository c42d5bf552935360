"""The evidence lower bound and its parts."""

import math

import numpy as np
import pytest

from fastvae import VAE
from fastvae.evaluation import weights
from fastvae.evaluation.elbo import elbo
from fastvae.evaluation.linear import LinearVAE


@pytest.fixture(scope="module")
def linear():
    return LinearVAE.drawn(columns=8, latent_dim=3, gap=0.3, seed=0)


def estimated(linear, X, samples, seed=1, **settings):
    model = linear.estimator(**settings)
    return elbo(model, model.examples(X), samples, seed=seed)


def test_the_elbo_of_a_linear_vae_is_log_p_less_the_gap(linear):
    X = linear.draw(400, 2)
    found = estimated(linear, X, 50)
    apart = found.values - (linear.log_density(X) - linear.gap)
    assert abs((apart / found.mcse).std() - 1) < 0.15
    assert abs(apart.mean()) < 4 * found.mean_mcse
    assert (found.kind, found.method, found.n_samples) == ("lower bound", "elbo", 50)


def test_the_parts(linear):
    X = linear.draw(20, 2)
    found = estimated(linear, X, 10)
    mu = (X - linear.mean) @ np.linalg.solve(linear.precision, linear.weight.T).T
    v = linear.variances
    np.testing.assert_allclose(found.kl, 0.5 * (v + mu**2 - 1 - np.log(v)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.values, found.reconstruction - found.kl.sum(axis=1), rtol=1e-12)
    # E log N(x; W z + m, 1) = log N(x; W mu + m, 1) - 1/2 tr(W diag(v) W')
    residual = np.square(X - linear.mean - mu @ linear.weight.T).sum(axis=1)
    expected = -0.5 * (residual + np.trace(linear.weight * v @ linear.weight.T) + 8 * math.log(2 * math.pi))
    many = estimated(linear, X, 3000)
    assert (np.abs(many.reconstruction - expected) < 4.5 * many.mcse).all()


def test_in_the_users_units():
    X = 100 + 7 * np.random.default_rng(0).normal(size=(60, 5))
    model = VAE(2, (6,), likelihood="gaussian", epochs=2, random_state=0).fit(X)
    found = elbo(model, model.examples(X), 400)
    assert abs((found.values - model.elbo(X, 400)).mean()) < 6 * found.mean_mcse


def test_one_draw_has_no_error_and_cutting_changes_no_bit(linear, monkeypatch):
    X = linear.draw(40, 2)
    assert np.isnan(estimated(linear, X, 1).mcse).all()
    whole = estimated(linear, X, 37)
    monkeypatch.setattr(weights, "EXAMPLES", 9)
    monkeypatch.setattr(weights.Weights, "at_once", property(lambda weights: 5))
    cut = estimated(linear, X, 37)
    for name in ("values", "mcse", "reconstruction", "kl"):
        np.testing.assert_array_equal(getattr(cut, name), getattr(whole, name))
