"""Gaussian Parzen windows."""

import math

import numpy as np
import pytest
from scipy.special import logsumexp

from fastvae.evaluation import parzen as module
from fastvae.evaluation.parzen import parzen

RNG = np.random.default_rng(0)
SAMPLES, X, HELD = RNG.normal(size=(500, 3)), RNG.normal(size=(70, 3)), RNG.normal(size=(200, 3))


def by_hand(samples, X, h):
    squares = np.square(X[:, None] - samples).sum(axis=2)
    return logsumexp(-squares / (2 * h * h), axis=1) - (
        math.log(len(samples)) + X.shape[1] * math.log(2 * math.pi * h * h) / 2
    )


def test_as_the_formula_says(monkeypatch):
    for rows, samples in ((256, 1024), (7, 33)):
        monkeypatch.setattr(module, "ROWS", rows)
        monkeypatch.setattr(module, "SAMPLES", samples)
        found = parzen(SAMPLES, X, None, bandwidth=0.3)
        np.testing.assert_allclose(found.values, by_hand(SAMPLES, X, 0.3), rtol=1e-10)
        assert found.n_samples == 500


def test_the_bandwidth_is_the_best_on_held_out_data():
    found = parzen(SAMPLES, X, HELD)
    h = found.details["bandwidth"]
    scores = {factor: by_hand(SAMPLES, HELD, factor * h).mean() for factor in (0.8, 0.92, 1.0, 1.09, 1.25)}
    assert max(scores, key=scores.get) == 1.0
    np.testing.assert_allclose(found.values, by_hand(SAMPLES, X, h), rtol=1e-10)
    # about Silverman's rule for a Gaussian
    assert 0.2 < h < 0.7


def test_units_far_from_0_and_of_any_size():
    base = parzen(SAMPLES, X, HELD)
    for scale, offset in ((1e-3, 0.0), (1e4, 0.0), (1.0, 1e7)):
        moved = parzen(*(scale * a + offset for a in (SAMPLES, X, HELD)))
        np.testing.assert_allclose(moved.values, base.values - 3 * math.log(scale), rtol=1e-6)


def test_near_copies_are_no_further_than_they_are():
    centres = RNG.normal(size=(50, 200)) + 30
    near = centres[:5] + 1e-6 * RNG.normal(size=(5, 200))
    found = parzen(centres, near, None, bandwidth=1e-6)
    np.testing.assert_allclose(found.values, by_hand(centres, near, 1e-6), rtol=1e-4)


def test_the_error_is_that_of_other_samples():
    estimates = [parzen(RNG.normal(size=(400, 1)), X[:5, :1], None, bandwidth=0.5) for _ in range(60)]
    spread = np.std([e.values for e in estimates], axis=0)
    np.testing.assert_allclose(np.mean([e.mcse for e in estimates], axis=0), spread, rtol=0.35)
    assert (estimates[0].ess < 400).all()


def test_what_is_refused():
    with pytest.raises(ValueError, match="held-out"):
        parzen(SAMPLES, X, None)
    with pytest.raises(ValueError, match="others"):
        parzen(SAMPLES, X, X.copy())
    with pytest.raises(ValueError, match="samples"):
        parzen(SAMPLES[:, :2], X, HELD)
    with pytest.raises(ValueError, match="validation"):
        parzen(SAMPLES, X, np.where(HELD > 2, np.nan, HELD))
    with pytest.raises(ValueError, match="no bandwidth"):
        parzen(np.ones((3, 2)), np.zeros((4, 2)), np.ones((3, 2)))
    with pytest.raises(ValueError, match="bandwidth"):
        parzen(SAMPLES, X, None, bandwidth=0.0)
