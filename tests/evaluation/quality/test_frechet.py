"""The Frechet distance."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from fastvae.evaluation.quality.frechet import frechet, principal_components, squared_distance


def plain(mean_x, S_x, mean_y, S_y):
    return np.square(mean_x - mean_y).sum() + np.trace(S_x + S_y - 2 * np.real(sqrtm(S_x @ S_y)))


def test_the_distance_of_two_gaussians():
    rng = np.random.default_rng(0)
    for d in (1, 2, 7):
        a, b = rng.normal(size=(2, d, d))
        S, T, u, v = a @ a.T, b @ b.T, rng.normal(size=d), rng.normal(size=d)
        assert squared_distance(u, S, v, T) == pytest.approx(plain(u, S, v, T), rel=1e-8)
    assert squared_distance(np.zeros(1), np.eye(1) * 4, np.ones(1), np.eye(1) * 9) == pytest.approx(2)


def test_of_all_rows_as_the_formula_says():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(200, 4)) * [1, 2, 3, 4] + 1e3, rng.normal(size=(180, 4)) + 1e3
    expected = plain(x.mean(axis=0), np.cov(x.T), y.mean(axis=0), np.cov(y.T))
    assert frechet(x, y).details["as it is"] == pytest.approx(expected, rel=1e-8)


def test_principal_components():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6)) + 50
    of_svd = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[2][:3]
    np.testing.assert_allclose(np.abs(of_svd @ principal_components(x, 3)), np.eye(3), atol=1e-8)
    assert principal_components(x, 99).shape == (6, 6)


@pytest.mark.long
def test_extrapolation_takes_the_bias_away_and_the_error_is_that_of_other_rows():
    """Equal Gaussians, and ones 1 apart, of 200 rows in five columns, against the truth."""
    rng = np.random.default_rng(3)
    for shift in (0.0, 1.0):
        found = [
            frechet(rng.normal(size=(200, 5)) + shift * np.eye(5)[0], rng.normal(size=(200, 5)), basis=np.eye(5))
            for _ in range(60)
        ]
        values = np.array([f.value for f in found])
        as_it_is = np.mean([f.details["as it is"] for f in found])
        assert as_it_is - shift > 0.08
        assert abs(values.mean() - shift) < 4 * values.std() / np.sqrt(60) + 0.005
        told = np.sqrt(np.mean([f.error**2 for f in found]))
        assert 0.7 < told / values.std() < 1.7


def test_what_is_refused():
    x = np.random.default_rng(0).normal(size=(100, 3))
    with pytest.raises(ValueError, match="real has 79 rows; at least 80 are needed, to extrapolate"):
        frechet(x, x[:79])
