"""A restricted Boltzmann machine of real rows: the sigma that it learns, and how well it learns what is known."""

import numpy as np
import pytest

from fastvae import RBM
from fastvae.data.loading import load
from fastvae.models.boltzmann_network import SIGMA_SHARE
from fastvae.reference import boltzmann as reference
from tests.models.test_rbm import RNG, ROWS, parameters, started


def test_the_gradient_of_sigma_is_that_of_log_p():
    """By differences: `SIGMA_SHARE` of it, by the parameter."""
    data = RNG.normal(size=(ROWS, 3)).astype(np.float32) * [0.5, 1, 2] + 0.3
    found = started(0.6, data, visible="gaussian", hidden=2, scale=None)
    network = found.network_
    network.offsets[0].value[:] = 0
    params = parameters(found)

    def log_p(sigma):
        q, v = params | {"sigma": sigma}, data.astype(float)
        return (-reference.rbm_free_energy(q, v, binary=False) - reference.rbm_log_z(q, binary=False)).mean()

    network.loss_and_gradients(data.astype(np.float32), 7, 0.0)
    gradients = network.parameters.named_gradients()["sigma.parameter"].copy()
    parameter, step = found.parameters()["sigma.parameter"], 1e-3
    for d in range(3):
        sides = [log_p(params["sigma"] * np.exp(sign * 1e-5 * (np.arange(3) == d))) for sign in (1, -1)]
        before, ends = parameter[d], []
        for sign in (1, -1):
            parameter[d] = before + sign * step
            ends.append(np.log(found.sigma_[d]))
        parameter[d] = before
        slope = (ends[0] - ends[1]) / (2 * step)
        wanted = -SIGMA_SHARE * slope * (sides[0] - sides[1]) / 2e-5
        assert gradients[d] == pytest.approx(wanted, rel=2e-3, abs=1e-6)


def gaussian_log_p(data, held, full):
    """Mean log density of held-out rows under a Gaussian with the data's moments, of all columns or of each."""
    covariance = np.cov(data.T, bias=True)
    covariance = covariance if full else np.diag(np.diag(covariance))
    far = held - data.mean(axis=0)
    squares = (far @ np.linalg.inv(covariance) * far).sum(axis=1)
    return -0.5 * (squares.mean() + np.linalg.slogdet(2 * np.pi * covariance)[1])


def test_real_rows_of_three_clusters_are_learned():
    """A mixture of three Gaussians of variance 1, far apart: log p of other rows, in nats. As measured: independent
    columns -11.27, one Gaussian -9.56, this RBM -8.45, with a sigma of 1 -10.76, the mixture itself -8.16."""
    rng = np.random.default_rng(0)
    means = np.array([[3, 0, 0, 3, -2], [-3, 0, 2, 0, 2], [0, 4, -3, -3, 0]])
    data, held = (means[rng.integers(0, 3, 2000)] + rng.normal(size=(2000, 5)) for _ in range(2))
    squares = np.square(held[:, None] - means).sum(axis=2)
    true = np.log(np.exp(-0.5 * squares).mean(axis=1)).mean() - 2.5 * np.log(2 * np.pi)
    found = RBM(hidden=12, visible="gaussian", random_state=0).fit(data)
    score, independent, one = found.score(held), gaussian_log_p(data, held, False), gaussian_log_p(data, held, True)
    assert independent < one < score < true
    assert true - score < 0.35
    np.testing.assert_allclose(found.sigma_ * found.scale_, 1, atol=0.35)
    fixed = RBM(hidden=12, visible="gaussian", sigma=1.0, random_state=0).fit(data).score(held)
    assert score > fixed + 1.5


def test_real_rows_of_digits_are_learned():
    """Pixels of the upper halves of digits, as grey values: log p of other rows, in nats. As measured: independent
    columns -5.41, one Gaussian -1.36, this RBM -0.63; by the usual rate, which wants more epochs, -2.38."""
    images = load("digits").X.reshape(-1, 8, 8)[:, :4, 2:6].reshape(-1, 16) / 16.0
    rng = np.random.default_rng(0)
    images = images[rng.permutation(len(images))] + rng.uniform(0, 1 / 16, images.shape)
    data, held = images[:1200], images[1200:]
    found = RBM(hidden=12, visible="gaussian", random_state=0, learning_rate=0.2).fit(data)
    independent, one = gaussian_log_p(data, held, False), gaussian_log_p(data, held, True)
    assert independent < one < found.score(held)
    shown, variance = found.reconstruct(held), data.var(axis=0)
    assert (np.square(held - shown).mean(axis=0) < 0.8 * variance).all()
    drawn = found.sample(1000, random_state=0, noise=True, steps=300)
    np.testing.assert_allclose(drawn.var(axis=0), variance, rtol=0.5)


def test_a_column_that_never_changes_says_nothing_of_its_sigma():
    """It counts as one of the root mean square deviation of all: other values than its own are not impossible."""
    data = np.column_stack([RNG.normal(size=(200, 2)), np.full(200, 3.0)])
    found = RBM(hidden=3, visible="gaussian", random_state=0, epochs=30, batch_size=20, chains=20).fit(data)
    sigma = found.sigma_ * found.scale_
    assert 0.3 < sigma[2] < 3
    moved = data + [0, 0, 0.1]
    assert np.abs(found.score_samples(moved) - found.score_samples(data)).max() < 1
