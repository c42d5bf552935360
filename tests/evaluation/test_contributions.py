"""Contributions of columns to log p(x): against closed forms of a linear VAE, and by what must hold of any."""

import numpy as np
import pytest

from fastvae import VAE
from fastvae.evaluation import weights
from fastvae.evaluation.contributions import METHODS, contributions
from fastvae.evaluation.importance import importance
from tests.evaluation.linear import LinearGaussian


def exact(linear, X, q=None):
    """c_j = -(r_j^2 + W_j' S W_j) / (2 sigma^2) - log(sigma) - log(2 pi) / 2, with r = x - b - m W, and -KL[N(m, S) ||
    N(0, I)], for a posterior N(m, S), or a q with its own m and a diagonal S (n, Z)."""
    X = X.astype(float)
    if q is None:
        mean = (X - linear.b) @ linear.project
        covariances = np.repeat(linear.posterior[None], len(X), axis=0)
    else:
        mean, covariances = q[0], np.stack([np.diag(np.exp(row)) for row in q[1]])
    spread = np.einsum("zj,nzy,yj->nj", linear.W, covariances, linear.W)
    squares = (X - linear.b - mean @ linear.W) ** 2 + spread
    columns = -squares / (2 * linear.sigma**2) - np.log(linear.sigma) - 0.5 * np.log(2 * np.pi)
    traces = np.trace(covariances, axis1=1, axis2=2)
    code = -0.5 * (traces + (mean**2).sum(axis=1) - mean.shape[1] - np.linalg.slogdet(covariances)[1])
    return columns, code


@pytest.fixture(scope="module")
def linear():
    return LinearGaussian(2, 5, mistake=0.1)


def test_closed_forms_of_a_linear_vae(linear):
    X = linear.draw(12)
    columns, code = exact(linear, X)
    np.testing.assert_allclose(columns.sum(axis=1) + code, linear.log_p(X), rtol=1e-9)  # the identity itself
    found = contributions(linear.vae, linear.vae.examples(X), n_samples=20_000, seed=1)
    np.testing.assert_allclose(found.values, linear.log_p(X), atol=0.03)
    np.testing.assert_allclose(found.columns, columns, atol=0.05)
    np.testing.assert_allclose(found.code, code, atol=0.08)


def test_the_elbo_s_are_exact(linear):
    """At fixed points, where the decoder is linear."""
    X = linear.draw(300)
    columns, code = exact(linear, X, [a.astype(float) for a in linear.vae.encode(X)])
    found = contributions(linear.vae, linear.vae.examples(X), "elbo")
    np.testing.assert_allclose(found.columns, columns, atol=2e-4)
    np.testing.assert_allclose(found.code, code, atol=1e-5)
    np.testing.assert_allclose(found.values, linear.vae.score_samples(X), atol=2e-4)
    assert found.kind == "lower bound"


DATA = {
    "gaussian": lambda rng: 100 + 7 * rng.normal(size=(300, 6)),
    "bernoulli": lambda rng: rng.integers(0, 2, (300, 6)),
    "poisson": lambda rng: rng.poisson(3, (300, 6)),
    "negative_binomial": lambda rng: rng.negative_binomial(2, 0.4, (300, 6)),
    "continuous_bernoulli": lambda rng: rng.uniform(size=(300, 6)),
}


@pytest.mark.parametrize("likelihood", DATA)
def test_they_add_up_to_the_estimate_of_every_likelihood(likelihood, monkeypatch):
    """In the user's units; importance sampling of the same draws has the same values and the same effective sizes."""
    X = DATA[likelihood](np.random.default_rng(0)).astype(np.float64)
    model = VAE(2, (8,), likelihood=likelihood, epochs=2, random_state=0).fit(X)
    examples = model.examples(X[:30])
    for method in METHODS:
        found = contributions(model, examples, method, 200, seed=3)
        np.testing.assert_allclose(found.columns.sum(axis=1) + found.code, found.values, atol=1e-12)
        assert found.columns.shape == (30, 6)
    expected = importance(model, examples, 200, seed=3)
    found = contributions(model, examples, n_samples=200, seed=3)
    np.testing.assert_allclose(found.values, expected.values, atol=1e-4)
    np.testing.assert_allclose(found.ess, expected.ess, rtol=1e-3)
    assert (found.code < 0.3).all()  # by Monte Carlo error alone above 0
    monkeypatch.setattr(weights, "EXAMPLES", 7)  # how it is cut changes nothing
    again = contributions(model, examples, n_samples=200, seed=3)
    np.testing.assert_allclose(again.columns, found.columns, atol=1e-5)


def test_a_column_that_is_odd_has_the_contribution(linear):
    X = linear.draw(40)
    X[0, 3] += 6
    for method in METHODS:
        found = contributions(linear.vae, linear.vae.examples(X), method, 500)
        apart = found.columns - found.columns[1:].mean(axis=0)
        assert apart[0].argmin() == 3
        assert apart[0, 3] < -4


def test_a_conditional_model():
    rng = np.random.default_rng(0)
    X, c = rng.normal(size=(60, 3)), np.arange(60) % 3
    model = VAE(1, (4,), likelihood="gaussian", epochs=1, random_state=0).fit(X, condition=c)
    examples = model.examples(X, condition=c)
    expected = importance(model, examples, 100, seed=0)
    np.testing.assert_allclose(contributions(model, examples, n_samples=100).values, expected.values, atol=1e-4)
    found = contributions(model, examples, "elbo")
    np.testing.assert_allclose(found.values, model.score_samples(X, condition=c), atol=1e-4)


def test_what_is_refused(linear):
    examples = linear.vae.examples(linear.draw(3))
    with pytest.raises(ValueError, match="did you mean 'elbo'"):
        contributions(linear.vae, examples, "elb")
    with pytest.raises(ValueError, match="n_samples=0"):
        contributions(linear.vae, examples, n_samples=0)
    X = linear.draw(3)
    X[1] = 1e25
    examples = linear.vae.examples(X)
    with pytest.raises(ValueError, match="row 1 lies so far"):
        contributions(linear.vae, examples, n_samples=20)
