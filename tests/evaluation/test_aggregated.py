"""The aggregated posterior against N(0, I)."""

import math

import numpy as np
import pytest

from fastvae.evaluation.aggregated import aggregated_posterior, gaussian_gain, kolmogorov, squared_mmd


def codes(mu, variance):
    return np.asarray(mu, float), np.log(np.broadcast_to(np.asarray(variance, float), np.shape(mu))).copy()


def test_moments_by_hand():
    """Two posteriors at -1 and 1 with variance 1 and 3: E z^2 = 1 + 2, E z^3 = 3 (3 - 1) / 2, E z^4 = by hand."""
    found = aggregated_posterior(*codes([[-1.0], [1.0]], [[1.0], [3.0]]), np.random.default_rng(0), 1)
    assert found.mean == pytest.approx([0])
    assert found.variance == pytest.approx([3])
    assert found.skewness == pytest.approx([3 / 3**1.5])
    fourth = ((1 + 6 * 1 + 3 * 1) + (1 + 6 * 3 + 3 * 9)) / 2
    assert found.excess_kurtosis == pytest.approx([fourth / 9 - 3])
    assert found.largest_correlation == 0


def test_the_largest_correlation_has_its_dimensions():
    rng = np.random.default_rng(1)
    mu = rng.normal(size=(4000, 4))
    mu[:, 3] = -0.8 * mu[:, 1] + 0.6 * mu[:, 3]
    found = aggregated_posterior(*codes(mu, 0.5), rng, 1)
    assert found.correlated == (1, 3)
    assert found.largest_correlation == pytest.approx(-0.8 / 1.5, abs=0.04)


def kernel_mean(a, b, skip_same):
    total = 0.0
    for h in (a.shape[1] * 4, a.shape[1], a.shape[1] / 4):
        k = np.exp(-np.square(a[:, None] - b[None]).sum(axis=2) / (2 * h))
        total += (k.sum() - np.trace(k)) / (len(a) * (len(a) - 1)) if skip_same else k.mean()
    return total


def test_the_statistic_is_that_of_very_many_draws_of_the_prior():
    rng = np.random.default_rng(2)
    z, g = 0.5 + 1.5 * rng.normal(size=(40, 3)), rng.normal(size=(6000, 3))
    with_prior = np.mean([kernel_mean(z[i : i + 1], g, False) for i in range(40)])
    both = np.mean([kernel_mean(g[i : i + 500], g[i + 500 : i + 1000], False) for i in range(0, 6000, 1000)])
    expected = kernel_mean(z, z, True) - 2 * with_prior + both
    assert squared_mmd(z) == pytest.approx(expected, abs=0.01)
    assert expected > 0.1


def test_the_statistic_is_0_in_expectation_for_the_prior():
    rng = np.random.default_rng(3)
    values = [squared_mmd(rng.normal(size=(50, 5))) for _ in range(400)]
    assert abs(np.mean(values)) < 4 * np.std(values) / math.sqrt(400)


def test_p_values_of_the_prior_itself_are_uniform():
    """Of 300 samples of N(0, I), a share a has p <= a, within four standard errors."""
    rng = np.random.default_rng(4)
    found = np.array([aggregated_posterior(*codes(0.8 * rng.normal(size=(40, 2)), 0.36), rng, 19).p_value
                      for _ in range(300)])  # fmt: skip
    for level in (0.05, 0.2, 0.5):
        assert abs((found <= level + 1e-9).mean() - level) < 4 * math.sqrt(level * (1 - level) / 300)


@pytest.mark.parametrize(("mu_scale", "mean", "variance"), [(1.0, 0.4, 0.36), (1.3, 0.0, 0.1), (0.5, 0.0, 0.25)])
def test_what_is_not_the_prior_has_a_small_p_value(mu_scale, mean, variance):
    rng = np.random.default_rng(5)
    mu = mean + mu_scale * rng.normal(size=(500, 3))
    assert aggregated_posterior(*codes(mu, variance), rng, 99).p_value == 0.01


def test_the_gain_of_a_gaussian_is_the_divergence_of_gaussians():
    """q(z) = N(m, S) with S = cov(mu) + variance: KL[N(m, S) || N(0, I)] = (tr S + m'm - Z - log |S|) / 2."""
    rng = np.random.default_rng(6)
    factor, m = rng.normal(size=(3, 3)), np.array([0.5, -1.0, 0.0])
    mu, variance = m + rng.normal(size=(20_000, 3)) @ factor.T, np.array([0.3, 0.2, 0.5])
    S = factor @ factor.T + np.diag(variance)
    expected = 0.5 * (np.trace(S) + m @ m - 3 - np.linalg.slogdet(S)[1])
    gain, error = gaussian_gain(mu, np.broadcast_to(variance, mu.shape), rng.permutation(len(mu)))
    assert abs(gain - expected) < 4 * error
    assert error < 0.05 * expected


def test_the_gain_of_the_prior_itself_is_not_above_0_by_more_than_its_error():
    """The half that is judged did not fit: of few examples the gain is negative, never a false promise."""
    rng = np.random.default_rng(7)
    found = [gaussian_gain(0.8 * rng.normal(size=(60, 5)), np.full((60, 5), 0.36), np.arange(60)) for _ in range(50)]
    assert np.mean([gain for gain, _ in found]) < 0


def test_kolmogorovs_distance_is_scipys_and_sees_what_moments_do_not():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(5)
    bands = np.r_[rng.normal(-0.98, 0.2, 500), rng.normal(0.98, 0.2, 500)]  # mean 0, variance 1
    z = np.c_[rng.normal(size=1000), bands]
    found = kolmogorov(z)
    np.testing.assert_allclose(found, [stats.kstest(column, "norm").statistic for column in z.T], atol=1e-12)
    assert found[0] < 0.06
    assert found[1] > 0.15
