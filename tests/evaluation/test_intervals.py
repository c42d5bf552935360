"""Intervals of 95%: how wide they are, how often they hold log p(x), and where there is none."""

import numpy as np
import pytest
from scipy import stats

from fastvae.evaluation.annealed import annealed, bracket
from fastvae.evaluation.elbo import elbo
from fastvae.evaluation.importance import ENOUGH, importance
from fastvae.evaluation.linear import LinearVAE
from fastvae.evaluation.result import LogLikelihood, student_quantile
from fastvae.evaluation.widening import FEWEST_SAMPLES, pilot_samples


def tiled(linear, count):
    X = np.repeat(linear.draw(1, 1), count, axis=0)
    return X, linear.log_density(X[:1])[0]


def coverage(found, truth):
    low, high = found.interval.T
    known = ~np.isnan(found.mcse)
    return float(((low < truth) & (truth < high))[known].mean()), float(known.mean())


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 7, 19, 100, 4999])
def test_quantiles_of_student(degrees):
    assert student_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=2e-3)


def test_intervals_are_as_wide_as_the_draws_are_few():
    arrays = [np.zeros(2), np.ones(2), np.ones(2), np.ones(2)]
    plain = LogLikelihood("importance", "estimate", *arrays, 5000, 0.0)
    few = LogLikelihood("annealed", "lower bound", *arrays, 8, 0.0, degrees_of_freedom=7)
    np.testing.assert_allclose(plain.interval, [[-1.96, 1.96]] * 2, rtol=1e-4)
    np.testing.assert_allclose(few.interval, [[-2.3646, 2.3646]] * 2, rtol=1e-3)
    assert np.isnan(student_quantile(0))
    linear = LinearVAE.drawn(6, 2, 0.3, 1)
    model = linear.estimator()
    found = elbo(model, model.examples(linear.draw(5, 1)), 2)
    half = 0.5 * np.diff(found.interval, axis=1)[:, 0]
    np.testing.assert_allclose(half, 12.706 * found.mcse, rtol=1e-3)  # two draws


@pytest.mark.parametrize("chains", [4, 8])
def test_few_chains_cover_what_they_promise(chains):
    linear, count = LinearVAE.drawn(10, 3, 0.5, 1), 1500
    X, truth = tiled(linear, count)
    model = linear.estimator(linear.with_tail(0.5))
    settings = {"n_temperatures": 3, "n_chains": chains, "n_simulated": 0, "seed": 1}
    share, known = coverage(annealed(model, model.examples(X), **settings), truth)
    assert known == 1
    assert 0.93 - 0.01 < share < 0.97 + 0.01


def test_no_error_from_fewer_than_four_chains():
    linear = LinearVAE.drawn(6, 2, 0.3, 1)
    model = linear.estimator()
    for chains, refused in ((1, True), (3, True), (4, False)):
        found = annealed(model, model.examples(linear.draw(5, 1)), n_temperatures=3, n_chains=chains, n_simulated=0)
        assert np.isnan(found.mcse).all() == np.isnan(found.interval).all() == refused
        assert np.isfinite(found.values).all()
    upper = bracket(model, 5, n_temperatures=3, n_chains=3).upper
    assert np.isnan(upper.mcse).all()


def test_a_narrow_q_is_widened_before_few_samples_too():
    assert pilot_samples(FEWEST_SAMPLES) == 32
    assert pilot_samples(FEWEST_SAMPLES - 1) == 0
    linear = LinearVAE.drawn(50, 10, 0.97, 1)
    X, truth = tiled(linear, 1500)
    model = linear.estimator(linear.with_tail(0.55))
    examples = model.examples(X)
    found = importance(model, examples, 300, seed=1)
    assert coverage(found, truth)[0] > coverage(importance(model, examples, 300, seed=1, widen=1.0), truth)[0] + 0.015
    assert coverage(found, truth)[0] > 0.915


def test_what_is_too_short_says_so():
    linear = LinearVAE.drawn(6, 2, 0.3, 1)
    model = linear.estimator()
    examples = model.examples(linear.draw(3, 1))
    assert importance(model, examples, ENOUGH).details == {"widen": "auto", "pilot": 32}
    assert "few" in importance(model, examples, ENOUGH - 1).details["interval"]
    for samples, widen in ((FEWEST_SAMPLES - 1, "auto"), (5000, 1.0)):
        details = importance(model, examples, samples, widen=widen).details
        assert details["pilot"] == 0
        assert details["widen"] == widen
        assert "wide enough" in details["interval"]
