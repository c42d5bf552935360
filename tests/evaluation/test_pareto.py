"""k-hat: of tails whose shape is known, and of weights that have none."""

import math

import numpy as np
import pytest
from scipy.stats import genpareto

from fastvae.evaluation.pareto import FEWEST, khat, tail_length, threshold

ROWS, SAMPLES = 200, 5000


def tails(shape, samples=SAMPLES, rows=ROWS, scale=1.0, seed=0):
    """Logarithms of the M + 1 largest of weights with a Pareto tail, (rows, M + 1)."""
    weights = 1.0 + scale * genpareto.rvs(shape, size=(rows, samples), random_state=seed)
    return np.log(np.sort(weights, axis=1)[:, -tail_length(samples) - 1 :])


def without_prior(k, tail):
    """k-hat before it was drawn to 1/2 as by 10 weights."""
    return (k * (tail + 10) - 5) / tail


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.3, 0.5, 0.7, 1.2])
def test_the_shape_of_a_generalised_pareto_tail(shape):
    found = without_prior(khat(tails(shape)), tail_length(SAMPLES))
    # the estimator is about as good as maximum likelihood: deviation (1 + k) / sqrt(M), here of 200 means
    deviation = (1 + shape) / math.sqrt(tail_length(SAMPLES))
    assert abs(found.mean() - shape) < 0.025
    assert 0.6 * deviation < found.std() < 1.5 * deviation


def test_as_maximum_likelihood_of_scipy():
    for row in tails(0.6, rows=5):
        weights = np.sort(np.exp(row))
        shape = genpareto.fit(weights[1:] - weights[0], floc=0)[0]
        assert abs(without_prior(khat(row[None]), len(row) - 1)[0] - shape) < 0.03


def test_nothing_that_is_added_to_the_logarithms_and_no_order_of_them_matters():
    given = tails(0.5, rows=20)
    np.testing.assert_allclose(khat(given - 12345.0), khat(given), rtol=1e-9)
    np.testing.assert_array_equal(khat(given[:, ::-1]), khat(given))
    np.testing.assert_array_equal(khat(given[7:8]), khat(given)[7:8])


def test_weights_that_are_all_alike_have_no_tail():
    assert khat(np.full((2, 30), -7.0)).tolist() == [-math.inf] * 2
    assert khat(np.full((1, 30), -math.inf)).tolist() == [-math.inf]


def test_one_weight_that_outweighs_all_others():
    lone = np.full((1, 100), -1000.0)
    lone[0, 3] = 0.0
    wide = np.linspace(-2000.0, 0.0, 100)[None]
    for given in (lone, wide, np.where(wide < -1000, -math.inf, wide)):
        assert khat(given)[0] > 1


def test_too_few_weights_and_ones_that_are_no_numbers():
    assert np.isnan(khat(np.zeros((3, FEWEST)))).all()
    assert np.isnan(khat(np.where(np.arange(30) == 4, math.nan, np.linspace(0, 1, 30))[None])).all()


def test_the_threshold_and_the_tail():
    assert threshold(1) == -math.inf
    assert threshold(100) == 0.5
    assert threshold(5000) == 0.7
    assert [tail_length(K) for K in (1, 25, 225, 5000)] == [1, 5, 45, 213]
