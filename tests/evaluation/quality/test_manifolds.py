"""Precision, recall, density and coverage."""

import numpy as np
import pytest

from fastvae.data.digits import load_digits
from fastvae.evaluation.quality.manifolds import expected_coverage, manifolds
from tests.evaluation.quality.plain import squared_distances


def plain(x, y):
    """The four figures from whole matrices."""

    def radius(a, k):
        d = squared_distances(a, a)
        np.fill_diagonal(d, np.inf)
        return np.sort(d, axis=1)[:, k - 1]

    d = squared_distances(x, y)
    inside = d <= radius(y, 5)
    return [
        (d <= radius(y, 3)).any(axis=1).mean(),
        (d <= radius(x, 3)[:, None]).any(axis=0).mean(),
        inside.sum() / (5 * len(x)),
        inside.any(axis=0).mean(),
    ]


def test_as_the_whole_matrix_has_them():
    rng = np.random.default_rng(0)
    digits = load_digits().X.astype(float)
    for x, y in (
        (rng.normal(size=(200, 4)), 1.3 * rng.normal(size=(170, 4))),
        (digits[:200], digits[200:350]),
        (rng.integers(0, 2, (100, 3)), rng.integers(0, 2, (80, 3))),
    ):
        found = manifolds(x, y)
        assert [m.name for m in found] == ["precision", "recall", "density", "coverage"]
        np.testing.assert_allclose([m.value for m in found], plain(x.astype(float), y.astype(float)), rtol=1e-12)


def test_by_hand():
    """Seven real rows on a line, one apart; samples at one end, and far away."""
    y = np.arange(7.0)[:, None]
    x = np.concatenate([np.zeros((6, 1)), np.full((6, 1), 100.0)])
    precision, recall, density, coverage = (m.value for m in manifolds(x, y))
    assert precision == 0.5
    assert recall == 1 / 7  # the samples' balls are points
    # radii to the fifth neighbour: 5 4 3 3 3 4 5; 0 lies within those of 0, 1, 2, 3
    assert density == pytest.approx(6 * 4 / (5 * 12))
    assert coverage == 4 / 7


def test_coverage_and_density_have_their_closed_forms():
    """Means over 40 draws of 400 against 300, within 0.01."""
    rng = np.random.default_rng(1)
    draws = [manifolds(rng.normal(size=(400, 3)), rng.normal(size=(300, 3))) for _ in range(40)]
    assert abs(np.mean([d[3].value for d in draws]) - expected_coverage(400, 300)) < 0.01
    assert abs(np.mean([d[2].value for d in draws]) - 1.0) < 0.01
    assert expected_coverage(2000, 2000) == pytest.approx(1 - 0.5**5, abs=1e-3)
    assert expected_coverage(1, 10, k=1) == pytest.approx(0.1)
    assert draws[0][3].details["expected"] == expected_coverage(400, 300)


def test_precision_of_one_gaussian_with_itself():
    """64 dimensions, 2,000 rows: about .59, not 1; the same by all distances at once."""
    x, y = np.random.default_rng(2).normal(size=(2, 2000, 64))
    precision, recall, *_ = manifolds(x, y)

    def squares(a, b):
        return (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T

    for found, a, b in ((precision, x, y), (recall, y, x)):
        radii = np.sort(squares(b, b), axis=1)[:, 3]
        assert found.value == pytest.approx((squares(a, b) <= radii).any(axis=1).mean(), abs=1e-3)
        assert abs(found.value - 0.59) < 0.03


def test_what_is_refused():
    x = np.random.default_rng(0).normal(size=(20, 3))
    with pytest.raises(ValueError, match="real has 5 rows; at least 6 are needed, as each needs 5 neighbours"):
        manifolds(x, x[:5])
    with pytest.raises(ValueError, match="samples has 5 rows"):
        manifolds(x[:5], x)
    with pytest.raises(ValueError, match="real has 2 columns"):
        manifolds(x, x[:, :2])
    with pytest.raises(ValueError, match="real has values beyond 1e\\+15"):
        manifolds(x, x * 1e20)
