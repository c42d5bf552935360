"""Scores of single rows stand still; the mean ELBO keeps independent noise."""

import numpy as np
import pytest

from fastvae import VAE
from fastvae.models.vae_network import MOST_DRAWS, PAIRS, symmetric_points


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    t = rng.normal(size=(700, 6))
    X = np.c_[t @ rng.normal(size=(6, 12)), np.sin(2 * t[:, :3]), t[:, :3] ** 2] + 0.2 * rng.normal(size=(700, 18))
    return VAE(6, (64,), "silu", "gaussian", epochs=60, batch_size=64, random_state=0).fit(X), X


@pytest.mark.parametrize("dimensions", [1, 2, 3, 4, 5, 20, 64])
def test_symmetric_points_have_the_moments_of_a_normal(dimensions):
    points = np.array(symmetric_points(dimensions), float)
    assert len(points) <= 2 * PAIRS
    np.testing.assert_array_equal(points.sum(axis=0), 0)
    second = points.T @ points / len(points)
    np.testing.assert_array_equal(np.diag(second), 1)
    if dimensions <= PAIRS:
        np.testing.assert_array_equal(second, np.eye(dimensions))
    assert (np.abs(second).sum(axis=1) <= -(-dimensions // PAIRS)).all()
    np.testing.assert_array_equal(np.einsum("ni,nj,nk->ijk", points, points, points), 0)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_a_score_belongs_to_its_row(likelihood):
    X = np.random.default_rng(0).random((600, 7))
    vae = VAE(5, (16,), likelihood=likelihood, epochs=3, batch_size=64, random_state=0).fit(X)
    scores, order = vae.score_samples(X), np.random.default_rng(1).permutation(len(X))
    np.testing.assert_array_equal(vae.score_samples(X[order]), scores[order])
    np.testing.assert_array_equal(vae.score_samples(X[100:300]), scores[100:300])
    np.testing.assert_array_equal([vae.score_samples(X[i : i + 1])[0] for i in range(20)], scores[:20])
    np.testing.assert_array_equal(vae.score_samples(X), scores)


def test_a_score_is_near_the_mean_of_many_draws(fitted):
    vae, X = fitted
    truth, one = vae.elbo(X, 3000), vae.elbo(X)
    assert np.sqrt(np.mean((one - truth) ** 2)) > 1
    assert np.sqrt(np.mean((vae.score_samples(X) - truth) ** 2)) < 0.2


def test_draws_are_independent_from_row_to_row_and_from_draw_to_draw(fitted):
    vae, X = fitted
    same = np.tile(X[:1], (4000, 1))
    one = vae.elbo(same)
    for draws in (4, MOST_DRAWS + 9):
        several = vae.elbo(same, draws)
        assert several.mean() == pytest.approx(one.mean(), abs=5 * one.std() / len(one) ** 0.5)
        assert several.std() == pytest.approx(one.std() / draws**0.5, rel=0.1)
    np.testing.assert_array_equal(vae.elbo(same), one)


def test_n_samples_is_refused_where_it_is_none(fitted):
    vae, X = fitted
    with pytest.raises(ValueError, match="n_samples=0 must be at least 1"):
        vae.elbo(X, n_samples=0)


@pytest.mark.parametrize("value", [1e19, 3e38])
@pytest.mark.parametrize("method", ["elbo", "score_samples"])
def test_no_finite_row_gives_infinity_without_an_error(fitted, method, value):
    vae, X = fitted
    Y = X[:5].copy()
    Y[3] = value
    with pytest.raises(ValueError, match=r"1 of 5 rows lie so far .* float32 overflows \(first: row 3"):
        getattr(vae, method)(Y)


def test_gradients_draw_noise_of_their_own_in_each_call(fitted):
    vae, X = fitted
    rows = X[:50]
    first, second = vae.loss_and_gradients(rows), vae.loss_and_gradients(rows)
    assert first[0] != second[0]
    losses = [vae.loss_and_gradients(rows)[0] for _ in range(300)]
    expected = -vae.elbo(rows, 3000).mean()
    assert np.mean(losses) == pytest.approx(expected, abs=5 * np.std(losses) / len(losses) ** 0.5)
    noise = np.zeros((50, 6))
    assert vae.loss_and_gradients(rows, noise)[0] == vae.loss_and_gradients(rows, noise)[0]


def test_a_result_has_the_scores_themselves(fitted):
    """The same points, not draws: and what they are made of."""
    vae, X = fitted
    found = vae.score_samples(X[:40], return_result=True)
    np.testing.assert_array_equal(found.values, vae.score_samples(X[:40]))
    mu, logvar = (a.astype(float) for a in vae.encode(X[:40]))
    np.testing.assert_allclose(found.kl, (np.exp(logvar) + mu**2 - 1 - logvar) / 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.reconstruction - found.kl.sum(axis=1), found.values)
    assert np.isnan(found.mcse).all()
    assert found.kind == "lower bound"


def test_an_option_that_a_method_has_not_is_named(fitted):
    vae, X = fitted
    with pytest.raises(TypeError, match="method='importance' has no option 'foo'; its options: widen"):
        vae.evaluate(X[:4], n_samples=8, foo=1)
