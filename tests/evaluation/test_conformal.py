"""Conformal p-values: by hand, at ties, at the fewest rows, and their rate of false alarms over many splits."""

import math

import numpy as np
import pytest

from fastvae.evaluation.conformal import fewest, flagged, p_values, threshold
from tests.evaluation.linear import LinearGaussian

ALPHAS = [0.01, 0.05, 0.1, 0.3]


def test_by_hand():
    held = [3.0, 1.0, 2.0, 2.0]
    np.testing.assert_allclose(p_values([0.5, 1.0, 1.5, 2.0, 9.0], held), [0.2, 0.4, 0.4, 0.8, 1.0])
    np.testing.assert_allclose(p_values([1.0, 2.0, 3.0], held, among=True), [0.25, 0.75, 1.0])
    np.testing.assert_allclose(p_values([1.0, 1.0], held, among=[True, False]), [0.25, 0.4])
    assert threshold(held, 0.2) == 1.0  # p of what lies below is 1/5
    assert threshold(held, 0.4) == 2.0
    assert threshold(held, 0.199) is None
    assert threshold(held, 1.0) == math.inf


@pytest.mark.parametrize("alpha", [*ALPHAS, 1 / 3, 0.037])
def test_the_threshold_is_that_of_the_p_values(alpha):
    """Also among ties; and with one held-out row fewer than `fewest`, nothing can be flagged."""
    rng = np.random.default_rng(0)
    for count in (fewest(alpha) - 1, fewest(alpha), fewest(alpha) + 1, 300):
        held = rng.integers(0, 40, count)
        scores = np.arange(-1, 41)
        below, found = threshold(held, alpha), flagged(p_values(scores, held), alpha)
        assert (below is None) == (count < fewest(alpha))
        np.testing.assert_array_equal(found, np.zeros(len(scores), bool) if below is None else scores < below)


def rates(scores, alpha, splits, rng, held=199):
    """Share of false alarms in each of some splits of the scores."""
    out = []
    for _ in range(splits):
        order = rng.permutation(len(scores))
        known, new = scores[order[:held]], scores[order[held:]]
        out.append(flagged(p_values(new, known), alpha).mean())
    return np.array(out)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("kind", ["normal", "heavy", "ties"])
def test_false_alarms_over_200_splits_are_as_rare_as_asked(alpha, kind):
    """alpha (n + 1) is whole: the rate is alpha but for ties, which may only make it smaller."""
    rng = np.random.default_rng(1)
    scores = {"normal": rng.normal(size=1000), "heavy": rng.standard_cauchy(1000), "ties": rng.integers(0, 30, 1000)}
    found = rates(scores[kind], alpha, 200, rng).mean()
    assert found < alpha + 0.01
    assert found > alpha - 0.01 or kind == "ties"


def test_false_alarms_of_a_model_s_scores():
    """A VAE's ELBO of rows of one source: the same rate; of rows from another, nearly all are flagged."""
    linear = LinearGaussian(2, 5, mistake=0.1)
    scores = linear.vae.score_samples(linear.draw(1000))
    assert abs(rates(scores, 0.05, 200, np.random.default_rng(0)).mean() - 0.05) < 0.01
    other = linear.vae.score_samples(linear.draw(100) + np.float32(8))
    assert flagged(p_values(other, scores), 0.05).mean() > 0.95


def test_held_out_rows_among_themselves_are_uniform():
    held = np.random.default_rng(0).normal(size=50)
    np.testing.assert_allclose(np.sort(p_values(held, held, among=True)), np.arange(1, 51) / 50)
