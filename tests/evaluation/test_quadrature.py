"""log p(x) by quadrature, and the identity log p(x) - ELBO = KL[q(z|x) || p(z|x)]."""

import math

import numpy as np
import pytest

from fastvae import VAE, reference
from fastvae.data.digits import load_digits
from fastvae.evaluation.densities import Joint
from fastvae.evaluation.quadrature import hermite, quadrature

pytestmark = pytest.mark.long

DIGITS = (load_digits().X[:400] / np.float32(16)).astype(np.float32)


@pytest.fixture(scope="module", params=[1, 2])
def smooth(request):
    settings = {"latent_dim": request.param, "hidden": (32,), "activation": "tanh", "early_stopping": False}
    return VAE(epochs=10, random_state=request.param, learning_rate=0.005, **settings).fit(DIGITS)


def shifted(model, name, by):
    """The model with a bias of the encoder changed."""
    other = VAE(**model.get_params())
    other.__setstate__(model.__getstate__())
    other.parameters()[f"{name}.bias"][:] += np.float32(by)
    return other


@pytest.mark.parametrize(("name", "by"), [("mu", 0.0), ("logvar", -3.0), ("logvar", 1.0), ("mu", 2.0)])
def test_the_identity_holds_for_a_nonlinear_decoder_however_bad_q_is(smooth, name, by):
    found = quadrature(shifted(smooth, name, by), DIGITS[:8])
    assert np.abs(found.residual).max() < 1e-4
    assert found.error.max() < 1e-5
    assert (found.kl > 0).all()
    if by:
        assert found.kl.mean() > 0.3  # there is something to add up
    np.testing.assert_allclose(found.log_p, quadrature(smooth, DIGITS[:8]).log_p, atol=2e-5)  # which has no q in it


def test_log_p_is_that_of_a_plain_sum_over_the_prior(smooth):
    found, joint = quadrature(smooth, DIGITS[:6]), Joint(smooth, smooth.examples(DIGITS))
    axis, dimensions = np.linspace(-7, 7, 2001 if smooth.latent_dim == 1 else 401), smooth.latent_dim
    z = np.stack([g.ravel() for g in np.meshgrid(*[axis] * dimensions)], axis=1)
    logs = joint(joint.rows(np.arange(6)), np.broadcast_to(z, (6, *z.shape)))
    expected = np.log(np.exp(logs - logs.max()).sum(axis=1)) + logs.max() + dimensions * math.log(axis[1] - axis[0])
    np.testing.assert_allclose(found.log_p, expected, atol=1e-4)


def test_the_elbo_is_the_models(smooth):
    found, draws = quadrature(smooth, DIGITS[:50]).elbo, smooth.elbo(DIGITS[:50], 2000)
    assert abs((found - draws).mean()) < 0.01
    assert np.abs(found - draws).max() < 0.2


@pytest.mark.parametrize("dimensions", [1, 2])
def test_everything_of_a_linear_vae_has_a_closed_form(dimensions):
    rng = np.random.default_rng(3)
    X = (rng.normal(size=(60, dimensions)) @ rng.normal(size=(dimensions, 5)) + 0.4 * rng.normal(size=(60, 5))) * 2 + 1
    model = VAE(dimensions, hidden=(), likelihood="gaussian", sigma=0.7, scale=None, linear=False, random_state=0)
    model.initialize(X)
    parameters = model.parameters()
    W, m = rng.normal(size=(5, dimensions)), rng.normal(size=5)
    parameters["decoder.0.weight"][:], parameters["decoder.0.bias"][:] = W.T, m
    parameters["logvar.bias"][:] = -1.5
    W, m = (parameters[f"decoder.0.{name}"].astype(float).T for name in ("weight", "bias"))
    found = quadrature(model, X)
    np.testing.assert_allclose(found.log_p, reference.log_prob_pca(X, W, m, 0.7), rtol=1e-5, atol=1e-4)
    mean, covariance = reference.posterior_pca(X, W, m, 0.7)
    np.testing.assert_allclose(found.mean, mean, atol=1e-4)
    np.testing.assert_allclose(found.covariance, np.broadcast_to(covariance, found.covariance.shape), atol=1e-4)
    mu, logvar = (values.astype(float) for values in model.encode(X))
    precision, apart = np.linalg.inv(covariance), mu - mean
    kl = 0.5 * (
        np.exp(logvar) @ np.diag(precision) + (apart @ precision * apart).sum(axis=1) - dimensions
        + np.linalg.slogdet(covariance)[1] - logvar.sum(axis=1)
    )  # fmt: skip
    np.testing.assert_allclose(found.kl, kl, rtol=1e-4, atol=1e-3)
    assert found.kl.max() > 1


def test_a_rectifier_has_edges_and_the_error_says_so():
    model = VAE(1, (32,), epochs=10, random_state=0, learning_rate=0.005, early_stopping=False).fit(DIGITS)
    found = quadrature(model, DIGITS[:20])
    assert found.nodes.max() == 256
    assert (np.abs(found.residual) <= 2 * (found.error + found.elbo_error) + 1e-4).all()
    assert np.abs(found.residual).max() < 5e-3


@pytest.mark.parametrize("dimensions", [1, 2])
def test_the_rule_integrates_polynomials_against_the_normal(dimensions):
    t, logs = hermite(8, dimensions)
    weights = np.exp(logs)
    assert weights.sum() == pytest.approx(1)
    assert weights @ t[:, 0] ** 4 == pytest.approx(3)
    assert weights @ (t[:, 0] ** 2 * t[:, -1] ** 2) == pytest.approx(3 if dimensions == 1 else 1)


def test_more_than_two_dimensions_are_refused():
    model = VAE(3, (4,), epochs=1, batch_size=64, random_state=0).fit(DIGITS[:64])
    with pytest.raises(ValueError, match="latent_dim=3: quadrature needs 1 or 2"):
        quadrature(model, DIGITS[:2])
    with pytest.raises(ValueError, match="tolerance"):
        quadrature(model, DIGITS[:2], tolerance=0)
