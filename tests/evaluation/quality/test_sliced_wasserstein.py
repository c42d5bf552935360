"""The sliced Wasserstein distance."""

import math

import numpy as np
import pytest
from scipy import stats

from fastvae.evaluation.quality import sliced_wasserstein as module
from fastvae.evaluation.quality.sliced_wasserstein import sliced_wasserstein


def plain(x, y, projections, seed):
    """Each direction alone, through the least common multiple of the numbers of rows."""
    rng, squared, count = np.random.default_rng([seed, 3]), [], math.lcm(len(x), len(y))
    directions = []
    for start in range(0, projections, 32):
        directions.append(rng.standard_normal((x.shape[1], min(32, projections - start))))
    for u in np.concatenate(directions, axis=1).T:
        a, b = (np.sort(z @ u / np.linalg.norm(u)) for z in (x, y))
        squared.append(np.square(np.repeat(a, count // len(a)) - np.repeat(b, count // len(b))).mean())
    return math.sqrt(np.mean(squared)), np.std(squared, ddof=1) / math.sqrt(projections)


@pytest.mark.parametrize(("n", "m"), [(200, 200), (200, 150), (7, 2), (3, 100)])
def test_as_the_formula_says(n, m):
    rng = np.random.default_rng(n + m)
    x, y = rng.normal(size=(n, 4)), rng.normal(size=(m, 4)) * [1, 2, 1, 1] + 0.3
    found = sliced_wasserstein(x, y, projections=70, seed=3)
    value, error_of_square = plain(x, y, 70, 3)
    assert found.value == pytest.approx(value, rel=1e-9)
    assert found.error == pytest.approx(error_of_square / (2 * value), rel=1e-6)


def test_one_column_is_scipys_distance_of_a_shift():
    x = np.random.default_rng(0).normal(size=(50, 1))
    assert sliced_wasserstein(x, x + 3, projections=5).value == pytest.approx(3)
    assert sliced_wasserstein(x, x + 3, projections=5).value == pytest.approx(
        stats.wasserstein_distance(x[:, 0], x[:, 0] + 3)
    )
    assert sliced_wasserstein(x, x, projections=5).value == 0


def test_a_shift_in_many_columns():
    """|shift|^2 / D is the mean of (u.shift)^2."""
    x, shift = np.random.default_rng(1).normal(size=(100, 10)), np.arange(10.0)
    found = sliced_wasserstein(x, x + shift, projections=4000)
    assert abs(found.value - math.sqrt(285 / 10)) < 4 * found.error
    assert found.error < 0.1


def test_the_error_is_that_of_other_directions():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(60, 5)), rng.normal(size=(60, 5)) * 1.5
    found = [sliced_wasserstein(x, y, projections=50, seed=i) for i in range(200)]
    assert np.mean([f.error for f in found]) / np.std([f.value for f in found]) == pytest.approx(1, abs=0.2)


def test_units_places_and_refusals():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(40, 3)), rng.normal(size=(30, 3))
    base = sliced_wasserstein(x, y).value
    assert sliced_wasserstein(1e4 * x + 1e8, 1e4 * y + 1e8).value == pytest.approx(1e4 * base, rel=1e-6)
    with pytest.raises(ValueError, match="projections=1 must be at least 2"):
        sliced_wasserstein(x, y, projections=1)
    assert module.AT_ONCE == 32  # as `plain` draws
