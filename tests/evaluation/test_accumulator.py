"""What K weights say, block by block: against the formulas over all of them at once."""

import itertools
import math

import numpy as np
import pytest

from fastvae.evaluation.accumulator import BLOCK, Accumulator
from fastvae.evaluation.pareto import khat, tail_length

RNG = np.random.default_rng(0)


def gathered(log_weights, *cuts):
    accumulator = Accumulator(*log_weights.shape)
    edges = [0, *cuts, log_weights.shape[1]]
    for start, stop in itertools.pairwise(edges):
        accumulator.add(log_weights[:, start:stop])
    return accumulator.summary()


@pytest.mark.parametrize("samples", [1, 2, 3, 100, BLOCK, BLOCK + 1, 1000, 1024])
def test_as_the_formulas_say(samples):
    given = RNG.normal(size=(4, samples)) - 700.0
    found, weights = gathered(given), np.exp(given + 700)
    np.testing.assert_allclose(found.values, np.log(weights.mean(axis=1)) - 700, rtol=1e-14)
    np.testing.assert_allclose(found.ess, weights.sum(axis=1) ** 2 / np.square(weights).sum(axis=1), rtol=1e-12)
    tail = np.sort(given, axis=1)[:, -tail_length(samples) - 1 :]
    np.testing.assert_allclose(found.khat, khat(tail), rtol=1e-9)
    if samples >= 100:
        relative = weights.std(axis=1, ddof=1) / weights.mean(axis=1) / math.sqrt(samples)
        known = ~np.isnan(found.mcse)
        assert known.any()
        np.testing.assert_allclose(found.mcse[known], relative[known], rtol=1e-9)
    else:
        assert np.isnan(found.mcse).all()  # too few for a tail


@pytest.mark.parametrize("samples", [1, 2, 3, 5, 700, 1024, 1500])
def test_the_bounds_are_means_over_groups_of_the_first_samples(samples):
    given = 3 * RNG.normal(size=(5, samples))
    found, most = gathered(given).bounds, 1 << (samples.bit_length() - 1)
    assert list(found) == [1 << i for i in range(samples.bit_length())]
    for k, bound in found.items():
        groups = np.exp(given[:, :most].reshape(5, most // k, k)).mean(axis=2)
        np.testing.assert_allclose(bound, np.log(groups).mean(axis=1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("spread", [0.0, 1e-9, 1.0, 1e3])
def test_no_bound_decreases(spread):
    bounds = np.array(list(gathered(spread * RNG.normal(size=(50, 3000)) - 800).bounds.values()))
    assert (np.diff(bounds, axis=0) >= 0).all()
    assert spread < 1 or (np.diff(bounds, axis=0) > 0).any()


def test_how_weights_and_examples_come_in_changes_no_bit():
    given = 5 * RNG.normal(size=(6, 1337))
    whole = gathered(given)
    for other in (gathered(given, 1, 2, 255, 900), gathered(given, *range(7, 1337, 7))):
        for name in ("values", "mcse", "ess", "khat"):
            np.testing.assert_array_equal(getattr(other, name), getattr(whole, name))
        assert all((other.bounds[k] == bound).all() for k, bound in whole.bounds.items())
    alone = gathered(given[3:4], 500)
    assert alone.values[0] == whole.values[3]
    assert alone.khat[0] == whole.khat[3]
    assert alone.bounds[64][0] == whole.bounds[64][3]


def test_weights_without_variance_have_no_error():
    found = gathered(np.full((2, 1000), -123.25))
    np.testing.assert_allclose(found.values, -123.25, rtol=1e-15)
    np.testing.assert_allclose(found.ess, 1000)
    assert (found.mcse < 1e-7).all()
    assert (found.khat == -math.inf).all()
    assert (found.bounds[1] <= found.bounds[512]).all()


def test_weights_that_are_all_0_and_some_that_are():
    given = RNG.normal(size=(2, 1000))
    given[0], given[1, ::2] = -math.inf, -math.inf
    found = gathered(given)
    assert found.values[0] == -math.inf
    assert found.ess[0] == 0
    assert np.isnan(found.mcse[0])
    assert np.isnan(found.khat[0])
    assert found.bounds[512][0] == -math.inf
    np.testing.assert_allclose(found.values[1], np.log(np.exp(given[1]).mean()), rtol=1e-14)
    assert found.bounds[1][1] == -math.inf  # log of a single weight, which may be 0
    assert np.isfinite(found.bounds[64][1])


def test_a_heavy_tail_has_no_error():
    heavy = -0.9 * np.log(RNG.uniform(size=(20, 4000)))  # Pareto with k = 0.9
    found = gathered(heavy)
    assert np.isnan(found.mcse[found.khat > 0.7]).all()
    assert (found.khat > 0.7).mean() > 0.8
    assert np.isfinite(found.mcse[found.khat <= 0.7]).all()


def test_more_or_fewer_weights_than_were_announced():
    accumulator = Accumulator(1, 3)
    accumulator.add(np.zeros((1, 2)))
    with pytest.raises(ValueError, match="2 of 3"):
        accumulator.summary()
    with pytest.raises(ValueError, match="4 log weights"):
        accumulator.add(np.zeros((1, 2)))
