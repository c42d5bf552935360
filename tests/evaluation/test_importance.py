"""log p(x) by importance sampling, and with z from the prior: against closed forms, and by relations that must hold."""

import math

import numpy as np
import pytest

from fastvae import VAE
from fastvae.evaluation import weights, widening
from fastvae.evaluation.importance import importance
from fastvae.evaluation.linear import LinearVAE
from fastvae.evaluation.naive import naive
from fastvae.evaluation.weights import Weights
from fastvae.evaluation.widening import widened

NAMES = ("values", "mcse", "ess", "khat")


def estimated(model, X, samples, seed=1, method=importance, **options):
    return method(model, model.examples(X), samples, seed=seed, **options)


@pytest.fixture(scope="module")
def linear():
    return LinearVAE.drawn(columns=8, latent_dim=3, gap=0.3, seed=0)


@pytest.fixture(scope="module")
def trained():
    """A small VAE of data in [0, 1], with hidden layers."""
    X = np.random.default_rng(0).uniform(size=(300, 12)).round().astype(np.float32)
    return VAE(2, (9,), epochs=3, random_state=0).fit(X), X


def test_unbiased_over_10000_replicates(linear):
    x = linear.draw(1, 3)
    truth = linear.log_density(x)[0]
    model, X = linear.estimator(), np.repeat(x, 10_000, axis=0)
    for method, options in ((importance, {"widen": 1.0}), (importance, {"widen": 1.4}), (naive, {})):
        for samples in (1, 10):
            ratio = np.exp(estimated(model, X, samples, method=method, **options).values - truth)
            assert abs(ratio.mean() - 1) < 4 * ratio.std() / 100


def test_the_pilot_leaves_the_estimate_unbiased(linear):
    x = linear.draw(1, 3)
    model, X = linear.estimator(0.6 * linear.variances), np.repeat(x, 3000, axis=0)
    ratio = np.exp(estimated(model, X, 340).values - linear.log_density(x)[0])
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / math.sqrt(len(ratio))


def test_an_exact_posterior_leaves_no_variance():
    rng = np.random.default_rng(0)  # one dimension: a diagonal is all there is
    linear = LinearVAE(rng.normal(size=(6, 1)).astype(np.float32).astype(float), np.zeros(6))
    X = linear.draw(20, 4)
    found = estimated(linear.estimator(), X, 500)
    np.testing.assert_allclose(found.values, linear.log_density(X), atol=2e-5)
    assert (found.mcse < 1e-6).all()
    np.testing.assert_allclose(found.ess, 500, rtol=1e-6)


def test_the_relative_variance_of_the_naive_estimator(linear):
    x = linear.draw(1, 3)
    weights = np.exp(estimated(linear.estimator(), np.repeat(x, 100_000, axis=0), 1, method=naive).values)
    squares, expected = np.square(weights), np.exp(linear.naive_log_square(x)[0])
    assert abs(squares.mean() - expected) < 4 * squares.std() / math.sqrt(len(squares))


def test_a_proposal_that_is_too_narrow_is_widened_and_the_error_falls():
    linear = LinearVAE.drawn(columns=30, latent_dim=8, gap=0.6, seed=2)
    narrow = linear.estimator(0.6 * linear.variances)
    X = np.repeat(linear.draw(1, 0), 300, axis=0)
    truth = linear.log_density(X)
    plain, auto = estimated(narrow, X, 3000, widen=1.0), estimated(narrow, X, 3000)
    assert np.square(auto.values - truth).mean() < np.square(plain.values - truth).mean() / 4
    assert auto.unreliable.mean() < 0.7 * plain.unreliable.mean()


def test_a_good_proposal_loses_nothing_and_one_too_wide_gains():
    linear = LinearVAE.drawn(columns=30, latent_dim=8, gap=0.02, seed=2)
    X = linear.draw(100, 0)
    for factor, least in ((1.0, 0.9), (2.0, 1.5)):
        model = linear.estimator(factor * linear.variances)
        plain, auto = estimated(model, X, 2000, widen=1.0), estimated(model, X, 2000)
        assert auto.ess.mean() > least * plain.ess.mean()


def test_no_dimension_becomes_wider_than_the_prior():
    logvar = np.array([[-3.0, -0.1, 0.0, 0.4]], np.float32)
    np.testing.assert_allclose(np.exp(widened(logvar, 2.0)), [[2 * math.exp(-3), 1.0, 1.0, math.exp(0.4)]], rtol=1e-6)
    np.testing.assert_allclose(np.exp(widened(logvar, 0.5)), 0.5 * np.exp(logvar), rtol=1e-6)


def test_bernoulli_against_quadrature(trained):
    """log p(x) of a decoder that is not linear, by a fine grid over both dimensions of z."""
    model, X = trained
    axis = np.linspace(-7, 7, 141)
    z = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2).astype(np.float32)
    mean = model.decode(z).astype(np.float64)
    log_joint = X[:40] @ np.log(mean).T + (1 - X[:40]) @ np.log1p(-mean).T
    log_joint += -0.5 * np.square(z).sum(axis=1) - math.log(2 * math.pi) + 2 * math.log(axis[1] - axis[0])
    truth = np.log(np.exp(log_joint).sum(axis=1))
    for method in (importance, naive):
        found = estimated(model, X[:40], 3000, method=method)
        assert (np.abs(found.values - truth) < 4.5 * found.mcse + 1e-5).all()
        assert np.nanmax(found.mcse) < 0.1


def test_scaling_the_data_moves_log_p_by_a_constant(linear):
    X, factor = linear.draw(20, 5), 3.5
    settings = {"likelihood": "gaussian", "epochs": 2, "random_state": 0, "scale": "standard"}
    models = [VAE(2, (5,), **settings).fit(c * X) for c in (1.0, factor)]
    one, other = (
        importance(model, model.examples(c * X), 300, seed=0) for model, c in zip(models, (1.0, factor), strict=True)
    )
    np.testing.assert_allclose(other.values, one.values - 8 * math.log(factor), atol=2e-3)


@pytest.mark.parametrize("samples", [1, 7, 600])
def test_how_the_work_is_cut_changes_no_bit(trained, samples, monkeypatch):
    model, X = trained
    whole = estimated(model, X, samples)
    assert whole.n_samples == samples
    for name, value in (("CHUNKS", 5), ("EXAMPLES", 33)):
        monkeypatch.setattr(weights, name, value)
    monkeypatch.setattr(widening, "BLOCK", 7)
    monkeypatch.setattr("fastvae.backend.CPU_PIECE", 77)
    monkeypatch.setattr(Weights, "at_once", property(lambda weights: 29))
    monkeypatch.setenv("FASTVAE_THREADS", "3")
    cut = estimated(model, X, samples)
    for name in NAMES:
        np.testing.assert_array_equal(getattr(cut, name), getattr(whole, name))
    assert list(cut.bounds) == list(whole.bounds)
    assert all((cut.bounds[k] == bound).all() for k, bound in whole.bounds.items())


def test_the_first_examples_alone_have_the_same_values(trained):
    model, X = trained
    np.testing.assert_array_equal(estimated(model, X[:17], 100).values, estimated(model, X, 100).values[:17])
    assert (estimated(model, X, 100, seed=2).values != estimated(model, X, 100).values).all()


class Counting:
    """Stops after so many questions."""

    def __init__(self, questions):
        self.left, self.told = questions, []

    def progressed(self, done, count, unit):
        self.told.append((done, count, unit))

    def stop_requested(self):
        self.left -= 1
        return self.left < 0


def test_stopping_returns_what_is_done(trained, monkeypatch):
    model, X = trained
    monkeypatch.setattr(weights, "EXAMPLES", 50)
    monkeypatch.setattr(Weights, "at_once", property(lambda weights: 50))
    whole, observer = estimated(model, X, 200), Counting(2 * 4 + 2)
    part = estimated(model, X, 200, observer=observer)
    assert not part.complete
    assert whole.complete
    assert len(part) == 100
    np.testing.assert_array_equal(part.values, whole.values[:100])
    assert observer.told[-1][0] >= 100
    assert {unit for _, _, unit in observer.told} == {"examples"}
    with pytest.raises(KeyboardInterrupt, match="before the first examples"):
        estimated(model, X, 200, observer=Counting(3))


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "5", None])
def test_sample_counts_that_are_none(trained, bad):
    model, X = trained
    for method in (importance, naive):
        with pytest.raises((ValueError, TypeError), match="n_samples"):
            estimated(model, X, bad, method=method)


@pytest.mark.parametrize("bad", [0, -1.0, math.nan, math.inf, "Auto", None, True])
def test_widening_that_is_none(trained, bad):
    with pytest.raises((ValueError, TypeError), match="widen"):
        estimated(*trained, 100, widen=bad)


def test_a_decoder_alone_has_no_q(trained, tmp_path):
    model, X = trained
    model.save(tmp_path / "model.npz")
    decoder = VAE.load(tmp_path / "model.npz", decoder_only=True)
    examples = model.examples(X)
    with pytest.raises(ValueError, match="decoder_only"):
        importance(decoder, examples, 100)
    np.testing.assert_array_equal(
        naive(decoder, examples, 100, seed=0).values, naive(model, examples, 100, seed=0).values
    )


def test_a_condition_beside_the_data(trained):
    """A condition that says everything: log p(x|c) of the right one is higher, and is what quadrature gives."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    X = (rng.uniform(size=(200, 6)) < np.where(labels, 0.9, 0.1)[:, None]).astype(np.float32)
    model = VAE(1, (5,), epochs=100, random_state=0).fit(X, condition=labels)
    axis = np.linspace(-7, 7, 701).astype(np.float32)
    for given in (labels[:9], 1 - labels[:9]):
        found = importance(model, model.examples(X[:9], condition=given), 2000)
        for i in range(9):
            mean = model.decode(axis[:, None], condition=np.full(len(axis), given[i])).astype(np.float64)
            log_joint = np.log(mean) @ X[i] + np.log1p(-mean) @ (1 - X[i]) - 0.5 * np.square(axis)
            truth = np.log(np.exp(log_joint).sum() * (axis[1] - axis[0]) / math.sqrt(2 * math.pi))
            assert abs(found.values[i] - truth) < 5 * np.nan_to_num(found.mcse[i], nan=0.1) + 1e-4
