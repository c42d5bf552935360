"""Likelihoods: the kernels by hand and far out, and the classes above them. Kernels on shapes: test_contract.py."""

import math

import numpy as np
import pytest

from fastvae import reference
from fastvae.likelihoods import (
    Bernoulli,
    ContinuousBernoulli,
    Gaussian,
    NegativeBinomial,
    Poisson,
    make_likelihood,
)
from fastvae.likelihoods.gaussian import LOG_SIGMA_LOWEST
from fastvae.optimizers import Adam
from fastvae.parameters import Parameters
from fastvae.passes import Arena
from tests.support.passes import new_pass, run
from tests.support.tolerances import check

LOG_TWO_PI = math.log(2 * math.pi)


def both(kernels, op, x, out, *settings, weight=1.0, rtol=5e-7):
    """nll and gradient, after the forward alone was seen to give the same nll (its sums may be in another order)."""
    x, out = np.array(x, np.float32), np.array(out, np.float32)
    nll, alone, gradient = np.full(len(x), np.nan, np.float32), np.empty(len(x), np.float32), np.empty_like(x)
    getattr(kernels, op + "_forward_backward")(x, out, *settings, weight, nll, gradient)
    getattr(kernels, op + "_forward")(x, out, *settings, alone)
    np.testing.assert_allclose(nll, alone, rtol=rtol)
    return nll, gradient


def test_squared_error_by_hand(kernels):
    """Residuals 1 and 2 at sigma 2: 1/8 + 4/8 + 2 ln 2 + ln(2 pi)."""
    nll, gradient = both(kernels, "squared_error", [[1, 2]], [[2, 0]], math.log(2), 0.5, weight=3.0)
    np.testing.assert_allclose(nll, [0.625 + 2 * math.log(2) + LOG_TWO_PI], rtol=2e-7)
    np.testing.assert_allclose(gradient, [[0.75, -1.5]], rtol=2e-7)


@pytest.mark.parametrize("sigma", [1e-3, 0.5, 1.0, 100.0])
def test_a_perfect_reconstruction_has_only_the_constants(kernels, sigma):
    nll, gradient = both(kernels, "squared_error", *np.full((2, 3, 11), 0.7), math.log(sigma), 1 / sigma)
    np.testing.assert_allclose(nll, 11 * (math.log(sigma) + LOG_TWO_PI / 2), rtol=2e-7)
    np.testing.assert_array_equal(gradient, 0)


def test_bernoulli_by_hand(kernels):
    """Logit ln 3: p = 3/4."""
    a = math.log(3)
    nll, gradient = both(kernels, "bernoulli", [[1], [0], [0.5]], [[a], [a], [a]], weight=2.0)
    expected = [-math.log(0.75), -math.log(0.25), -0.5 * math.log(0.75 * 0.25)]
    np.testing.assert_allclose(nll, expected, rtol=3e-7)
    np.testing.assert_allclose(gradient, [[-0.5], [1.5], [0.5]], rtol=3e-7)


def test_bernoulli_at_logit_0(kernels):
    x = np.linspace(0, 1, 33)[:, None]
    nll, gradient = both(kernels, "bernoulli", x, np.zeros((33, 1)))
    np.testing.assert_allclose(nll, math.log(2), rtol=2e-7)
    np.testing.assert_allclose(gradient, 0.5 - x, rtol=2e-7, atol=1e-8)


def test_bernoulli_with_huge_logits(kernels):
    a = np.array([[1e4], [-1e4], [1e4], [-1e4], [60.0], [-60.0], [20.0], [1e4], [34.0], [-34.0]])
    x = np.array([[0.0], [1.0], [1.0], [0.0], [1.0], [0.0], [1.0], [0.25], [1.0], [0.0]])
    nll, gradient = both(kernels, "bernoulli", x, a)
    expected, slope = reference.bernoulli_forward_backward(x, a)
    np.testing.assert_allclose(nll, expected, rtol=5e-7)  # also the e^-60 that sigmoid(60) - 1 would lose
    slope[4:6] = 0  # of e^-60, as of all below 2^-50; that of e^-34 is there
    np.testing.assert_allclose(gradient, slope, rtol=5e-7)
    assert nll[4] > 0
    assert gradient[8] < 0 < gradient[9]


def test_one_bad_value_spoils_its_row_alone(kernels):
    for op, settings in (("squared_error", (0.0, 1.0)), ("bernoulli", ())):
        for spoiled in (0, 1):
            arrays = np.full((2, 3, 21), 0.5)
            arrays[spoiled, 1, 7] = np.nan
            nll, gradient = both(kernels, op, *arrays, *settings)
            np.testing.assert_array_equal(np.isnan(nll), [False, True, False])
            np.testing.assert_array_equal(np.argwhere(np.isnan(gradient)), [[1, 7]])


def test_long_rows(kernels):
    """784 and 3072 columns: the float32 sums stay near the float64 ones."""
    rng = np.random.default_rng(0)
    for columns in (784, 3072):
        x, out = rng.uniform(size=(2, columns)).astype(np.float32), rng.normal(size=(2, columns)).astype(np.float32)
        for op, sigma, settings in (("squared_error", (0.5,), (math.log(0.5), 2.0)), ("bernoulli", (), ())):
            truth = getattr(reference, op + "_forward_backward")(x.astype(float), out.astype(float), *sigma)[0]
            check(both(kernels, op, x, out, *settings, rtol=2e-6)[0], truth, "model")


def test_sigmoid_inplace(kernels):
    a = np.array([[0, math.log(3), -1e4, 1e4]], np.float32)
    kernels.sigmoid_inplace(a)
    np.testing.assert_allclose(a, [[0.5, 0.75, 0, 1]], rtol=2e-7)


# ---- fastvae.likelihoods -----------------------------------------------------------------------------------------


def bound(likelihood, kernels=None, deviation=1.0, columns=1):
    parameters = Parameters(likelihood.shapes())
    likelihood.bind(parameters, kernels)
    likelihood.initialise(deviation * np.ones(columns), np.zeros(columns))
    return likelihood, parameters


def gaussian(sigma, columns, per_column, deviation=1.0):
    return bound(Gaussian(sigma, columns, per_column), None, deviation, columns)


def pass_over(kernels, likelihood, x, out, step=1, largest=None, shares=1, optimizer=None):
    """nll and gradient of the mean over the batch, `largest` times as long as which the largest one is; the gradient
    of a parameter is left where there is no optimizer, else it takes a step."""
    p = new_pass(kernels, len(x), shares, Arena(largest or len(x)))
    nll, gradient = likelihood.loss(p, p.cut(x), p.cut(out), p.slots.real("example weight"))
    p.update(optimizer, [likelihood])
    run(p, optimizer, step=step, **{"example weight": 1 / len(x)})
    return nll, gradient


class Nothing:
    """An optimizer that has nothing to move: what a likelihood remembers comes after its step."""

    fused = True

    def write(self, *_):
        raise AssertionError("somebody has a gradient")

    step_count = 0

    def numbers(self, count):
        return {}


def remembering(kernels, likelihood, x, out, **how):
    """`pass_over` in a training."""
    return pass_over(kernels, likelihood, x, out, optimizer=Nothing(), **how)


def forward(kernels, likelihood, x, out):
    """nll under the likelihood's own sigma."""
    p = new_pass(kernels, len(x), 2, backward=False)
    nll = p.empty()
    assert likelihood.nll(p, p.cut(x), p.cut(out), nll) is nll
    run(p)
    return nll


def residuals(rows, columns, deviation):
    """Data, and data that are so far away: a number, or one a column."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, columns))
    return x.astype(np.float32), (x + deviation * rng.normal(size=x.shape)).astype(np.float32)


def mean_squares(x, xhat, per_column):
    return np.atleast_1d(((x.astype(float) - xhat) ** 2).mean(axis=0 if per_column else None))


def truth(x, xhat, sigma):
    """The reference's nll and slope."""
    return reference.squared_error_forward_backward(x.astype(float), xhat.astype(float), sigma)


one_or_each = pytest.mark.parametrize("per_column", [False, True])


def test_names_and_values_are_checked():
    assert isinstance(make_likelihood("bernoulli", 1.0), Bernoulli)
    for sigma in (0.5, "learned", "optimal"):
        assert isinstance(make_likelihood("gaussian", sigma), Gaussian)
    with pytest.raises(ValueError, match="did you mean 'gaussian'"):
        make_likelihood("gausian", 1.0)
    for sigma in (0, -1.0, math.nan, math.inf, "learnd", None):
        with pytest.raises(ValueError, match="sigma="):
            make_likelihood("gaussian", sigma)


def test_parameters():
    for likelihood in (Bernoulli(), Gaussian(0.5), Gaussian(0.5, 7)):
        assert likelihood.shapes() == likelihood.constants() == {}
    for choice in Gaussian.CHOICES:
        for per_column, size in ((False, 1), (True, 7)):
            likelihood = Gaussian(choice, 7, per_column)
            assert likelihood.shapes() == {"sigma.parameter": (size,)}
            assert {name: array.shape for name, array in likelihood.constants().items()} == {"sigma.lowest": (size,)}


TERMS = {
    "fixed sigma": (lambda: gaussian(0.7, 5, False)[0], "normal"),
    "one sigma": (lambda: gaussian("learned", 5, False)[0], "normal"),
    "a sigma a column": (lambda: gaussian("learned", 5, True, np.arange(1.0, 6.0))[0], "normal"),
    "bernoulli": (Bernoulli, "uniform"),
    "poisson": (Poisson, "counts"),
    "negative binomial": (lambda: bound(NegativeBinomial(5), columns=5)[0], "counts"),
    "continuous bernoulli": (ContinuousBernoulli, "uniform"),
}


@pytest.mark.parametrize("case", TERMS)
def test_the_terms_of_columns_add_up_to_the_nll(kernels, case):
    """So does the log-Jacobian."""
    make, data = TERMS[case]
    likelihood, rng = make(), np.random.default_rng(0)
    x = {"normal": rng.normal(size=(7, 5)), "uniform": rng.uniform(size=(7, 5)), "counts": rng.poisson(3, (7, 5))}[data]
    x, a = x.astype(np.float32), rng.normal(size=(7, 5)).astype(np.float32)
    terms = likelihood.terms(x, a)
    assert terms.shape == (7, 5)
    assert terms.dtype == np.float64
    np.testing.assert_allclose(-terms.sum(axis=1), forward(kernels, likelihood, x, a), rtol=2e-6)
    scale = np.array([2.0, 0.5, 3.0, 1.0, 7.0])
    of_columns = likelihood.log_jacobian_terms(scale)
    np.testing.assert_array_equal(of_columns, np.log(scale) if likelihood.DENSITY else np.zeros(5))
    assert likelihood.log_jacobian(scale) == of_columns.sum()


def test_jacobian_and_intercept():
    scale = np.array([2.0, 0.5, 3.0])
    assert Bernoulli().log_jacobian(scale) == 0
    np.testing.assert_allclose(Gaussian().log_jacobian(scale), math.log(3), rtol=1e-12)
    mean = np.array([0.25, 0.0, 1.0])
    np.testing.assert_array_equal(Gaussian().intercept(mean), mean)
    expected = [-math.log(3), math.log(0.001 / 0.999), math.log(0.999 / 0.001)]
    np.testing.assert_allclose(Bernoulli().intercept(mean), expected, rtol=1e-12)


def test_mean(kernels):
    out = np.array([[0.0, 2.0]], np.float32)
    for likelihood, expected in ((Gaussian(), [[0, 2]]), (Bernoulli(), [[0.5, 1 / (1 + math.exp(-2))]])):
        p = new_pass(kernels, 1, backward=False)
        mean = bound(likelihood, kernels)[0].mean(p, p.cut(out))
        run(p)
        np.testing.assert_allclose(mean, expected, rtol=2e-7)


@pytest.mark.parametrize("sigma", [0.3, 1, np.float32(2)])
def test_gaussian_with_fixed_sigma(kernels, sigma):
    likelihood, _ = gaussian(sigma, 6, False, deviation=5.0)
    assert likelihood.sigma == sigma
    x, xhat = residuals(4, 6, 1.0)
    nll, d_xhat = pass_over(kernels, likelihood, x, xhat)
    alone = forward(kernels, likelihood, x, xhat)
    expected, slope = truth(x, xhat, float(sigma))
    check(nll, expected, "likelihood", np.abs(expected) + 6)
    check(alone, expected, "likelihood", np.abs(expected) + 6)
    check(d_xhat, slope / 4, "likelihood")


@one_or_each
@pytest.mark.parametrize("choice", Gaussian.CHOICES)
def test_sigma_starts_from_the_spread_of_the_data(choice, per_column):
    for spread in (0.02, 0.3, 1.0, 40.0):
        np.testing.assert_allclose(gaussian(choice, 3, per_column, spread)[0].sigma, spread, rtol=2e-6)
    np.testing.assert_allclose(gaussian(choice, 3, per_column, 0.0)[0].sigma, 1.0, rtol=2e-6)
    deviation = np.array([0.1, 0.0, 7.0])  # one column is constant
    likelihood, _ = gaussian(choice, 3, per_column, deviation)
    whole = math.sqrt((deviation**2).mean())
    np.testing.assert_allclose(likelihood.sigma, [0.1, whole, 7] if per_column else whole, rtol=2e-6)
    np.testing.assert_allclose(likelihood.output_gain(), [0.1, whole, 7])


@one_or_each
@pytest.mark.parametrize("choice", Gaussian.CHOICES)
def test_sigma_has_a_lowest_value(choice, per_column):
    """Of e^-9 of the data's spread, in any units."""
    for spread in (1e-3, 1.0, 1e5):
        likelihood, parameters = gaussian(choice, 2, per_column, spread)
        parameters.values[:] = -600
        np.testing.assert_allclose(np.log(likelihood.sigma), LOG_SIGMA_LOWEST + math.log(spread), rtol=1e-6)
        likelihood.set_sigma(1e-30)
        np.testing.assert_allclose(np.log(likelihood.sigma), LOG_SIGMA_LOWEST + math.log(spread), atol=2e-3)


@one_or_each
@pytest.mark.parametrize("parameter", [-1.1, -0.9, -0.4, 0.0, 0.15])
def test_gradient_of_learned_sigma(kernels, parameter, per_column):
    """Against differences of the definition in float64: log sigma = lowest + softplus(10 p - lowest)."""
    likelihood, parameters = gaussian("learned", 5, per_column)
    p = parameter + 0.05 * np.arange(likelihood.size)
    parameters.values[: len(p)] = p
    p, lowest = parameters.values[: len(p)].astype(float), likelihood.lowest.astype(float)
    sigma = reference.soft_sigma(p, lowest)[0]
    np.testing.assert_allclose(likelihood.sigma, sigma if per_column else sigma[0], rtol=1e-12)
    x, xhat = residuals(8, 5, 1.3 * sigma)
    nll, d_xhat = pass_over(kernels, likelihood, x, xhat)
    for i in range(len(p)):
        losses = []
        for step in (1e-5, -1e-5):
            moved = p.copy()
            moved[i] += step
            losses.append(truth(x, xhat, reference.soft_sigma(moved, lowest)[0])[0].mean())
        expected = (losses[0] - losses[1]) / 2e-5
        np.testing.assert_allclose(parameters.gradients[i], expected, rtol=5e-5, atol=1e-4)
    assert np.abs(parameters.gradients).max() > 1
    expected, slope = truth(x, xhat, sigma)
    check(nll, expected, "model", np.abs(expected) + 50)
    check(d_xhat, slope / 8, "model", np.abs(slope))


@one_or_each
def test_optimal_sigma(kernels, per_column):
    """sigma^2 = mean of (x - f)^2: nll is sum_D (log(2 pi sigma^2) + 1) / 2 in the mean, and no other is better."""
    likelihood, parameters = gaussian("optimal", 30, per_column, deviation=2.0)
    x, xhat = residuals(8, 30, np.linspace(0.1, 0.5, 30))
    nll, d_xhat = pass_over(kernels, likelihood, x, xhat)
    best = np.sqrt(mean_squares(x, xhat, per_column))
    expected, slope = truth(x, xhat, best)
    closed = ((np.log(2 * np.pi * best**2) + 1) / 2 * np.ones(30)).sum()
    np.testing.assert_allclose(expected.mean(), closed, rtol=1e-12)
    for other in (0.99, 1.01):
        assert truth(x, xhat, other * best)[0].mean() > expected.mean()
    np.testing.assert_allclose(nll, expected, rtol=0, atol=30 * 2e-6)
    np.testing.assert_allclose(d_xhat, slope / 8, rtol=3e-6)
    assert not parameters.gradients.any()
    assert likelihood.sigma == pytest.approx(2.0 * np.ones(likelihood.size) if per_column else 2.0)


@one_or_each
def test_gradient_through_the_optimal_sigma(kernels, per_column):
    """The loss with the best sigma put in, by differences in float64: sigma's own dependence on f adds nothing."""
    likelihood, _ = gaussian("optimal", 4, per_column)
    x, xhat = residuals(3, 4, 0.5)
    d_xhat = pass_over(kernels, likelihood, x, xhat)[1]

    def loss(f):
        return ((np.log(2 * np.pi * mean_squares(x, f, per_column)) + 1) / 2 * np.ones(4)).sum()

    for i in np.ndindex(x.shape):
        step = np.zeros(x.shape)
        step[i] = 1e-5
        expected = (loss(xhat.astype(float) + step) - loss(xhat.astype(float) - step)) / 2e-5
        np.testing.assert_allclose(d_xhat[i], expected, rtol=1e-5, atol=2e-6)


@one_or_each
@pytest.mark.parametrize("deviation", [1.0, 0.1, 0.01, 0.003])
def test_optimal_sigma_keeps_its_precision_for_small_residuals(kernels, deviation, per_column):
    likelihood, _ = gaussian("optimal", 784, per_column)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(128, 784)).astype(np.float32)
    xhat = x + np.float32(deviation) * rng.normal(size=x.shape).astype(np.float32)
    nll = remembering(kernels, likelihood, x, xhat)[0]
    best = np.sqrt(mean_squares(x, xhat, per_column))
    np.testing.assert_allclose(likelihood.sigma, best if per_column else best[0], rtol=5e-6)
    np.testing.assert_allclose(nll, truth(x, xhat, best)[0], rtol=0, atol=5e-3)


@one_or_each
def test_optimal_sigma_is_remembered(kernels, per_column):
    """Outside training: the mean of sigma^2 over the first batches, then a running one of about the last ten."""
    likelihood, _ = gaussian("optimal", 50, per_column, deviation=2.0)
    first, second = residuals(16, 50, np.linspace(0.3, 0.7, 50)), residuals(16, 50, 0.2)
    a, b = (mean_squares(*batch, per_column) for batch in (first, second))

    def check_variance(expected):
        np.testing.assert_allclose(np.square(likelihood.sigma), expected if per_column else expected[0], rtol=1e-5)

    remembering(kernels, likelihood, *first, step=1)
    check_variance(a)
    remembering(kernels, likelihood, *second, step=2, shares=3)
    check_variance((a + b) / 2)
    remembering(kernels, likelihood, *first, step=50)
    check_variance(0.9 * (a + b) / 2 + 0.1 * a)
    before = np.atleast_1d(np.square(likelihood.sigma))
    remembering(kernels, likelihood, *second, step=51, largest=64)
    check_variance(0.975 * before + 0.025 * b)
    alone = forward(kernels, likelihood, *first)
    expected = truth(*first, likelihood.sigma)[0]
    check(alone, expected, "model", np.abs(expected) + 50)


@one_or_each
def test_a_perfect_reconstruction_with_optimal_sigma(kernels, per_column):
    """sigma stays at e^-9 of the spread instead of 0; everything is finite."""
    likelihood, _ = gaussian("optimal", 10, per_column, deviation=0.1)
    x = residuals(4, 10, 0.0)[0]
    nll, d_xhat = remembering(kernels, likelihood, x, x.copy())
    np.testing.assert_allclose(nll, 10 * (LOG_SIGMA_LOWEST + math.log(0.1) + LOG_TWO_PI / 2), rtol=1e-6)
    np.testing.assert_array_equal(d_xhat, 0)
    np.testing.assert_allclose(np.log(likelihood.sigma), LOG_SIGMA_LOWEST + math.log(0.1), atol=2e-3)


def test_a_column_that_is_reconstructed_perfectly_costs_the_others_nothing(kernels):
    likelihood, _ = gaussian("optimal", 6, True)
    x, xhat = residuals(9, 6, np.array([0.3, 0, 0.3, 0.3, 0, 0.3]))
    remembering(kernels, likelihood, x, xhat)
    expected = np.sqrt(np.maximum(mean_squares(x, xhat, True), math.exp(2 * LOG_SIGMA_LOWEST + 2e-3)))
    np.testing.assert_allclose(likelihood.sigma, expected, rtol=2e-5)


def test_bernoulli_class(kernels):
    likelihood, _ = bound(Bernoulli(), kernels)
    rng = np.random.default_rng(0)
    x, logits = rng.uniform(size=(4, 6)).astype(np.float32), rng.normal(size=(4, 6)).astype(np.float32)
    nll, d_logits = pass_over(kernels, likelihood, x, logits)
    alone = forward(kernels, likelihood, x, logits)
    expected, slope = reference.bernoulli_forward_backward(x.astype(float), logits.astype(float))
    check(nll, expected, "likelihood")
    check(alone, expected, "likelihood")
    check(d_logits, slope / 4, "likelihood", 0.25)


@one_or_each
@pytest.mark.parametrize("sigma", [0.5, *Gaussian.CHOICES])
def test_the_bits_do_not_depend_on_the_number_of_shares(kernels, sigma, per_column):
    """Nor does an optimal sigma, which is that of the whole batch, or the gradient of a learned one."""
    x, xhat = residuals(9, 6, 0.4)
    found = []
    for shares in (1, 2, 4):
        likelihood, parameters = gaussian(sigma, 6, per_column)
        nll, d_xhat = pass_over(kernels, likelihood, x, xhat, shares=shares)
        if sigma == "optimal":
            remembering(kernels, likelihood, x, xhat, shares=shares)
        found.append((nll, d_xhat, parameters.gradients, parameters.values))
    for other in found[1:]:
        for a, b in zip(other, found[0], strict=True):
            np.testing.assert_array_equal(a, b)


@one_or_each
def test_an_optimal_sigma_waits_for_all_rows(kernels, per_column):
    """Those that the pass itself makes: shares come one after the other here, so that what does not wait shows."""
    likelihood, _ = gaussian("optimal", 6, per_column)
    x, logits = residuals(9, 6, 2.0)
    mean = 1 / (1 + np.exp(-logits.astype(float)))
    expected = truth(x, mean, np.sqrt(mean_squares(x, mean, per_column)))[0]
    p = new_pass(kernels, 9, 4)
    p.add("sigmoid_inplace", p.cut(logits))
    nll, _ = likelihood.loss(p, p.cut(x), logits, 1.0)
    assert len(p.phases) == 2
    run(p)
    check(nll, expected, "model", np.abs(expected) + 10)


@one_or_each
@pytest.mark.parametrize("clip_norm", [None, 1e-3])
def test_a_learned_sigma_is_moved_by_the_optimizer(kernels, per_column, clip_norm):
    """In the step itself, by the same gradient as is left without one."""
    likelihood, parameters = gaussian("learned", 5, per_column)
    x, xhat = residuals(8, 5, 1.3)
    pass_over(kernels, likelihood, x, xhat)
    before, gradient = parameters.values.astype(float), parameters.gradients.astype(float)
    optimizer = Adam(parameters, kernels, 0.01, clip_norm)
    pass_over(kernels, likelihood, x, xhat, shares=3, optimizer=optimizer)
    factor = 1.0 if clip_norm is None else min(1.0, clip_norm / np.linalg.norm(gradient))
    expected = reference.adam(before, factor * gradient, 0 * gradient, 0 * gradient, 1, 0.01)
    check(parameters.values, expected[0], "model", np.abs(expected[0]) + 1)
    check(optimizer.state["first_moment"], expected[1], "model")


def test_gradients_of_several_uses_of_a_learned_sigma_add_up(kernels):
    likelihood, parameters = gaussian("learned", 5, True)
    both = [residuals(8, 5, size) for size in (1.0, 2.0)]
    alone = []
    for x, xhat in both:
        pass_over(kernels, likelihood, x, xhat)
        alone.append(parameters.gradients.astype(float))
    p = new_pass(kernels, 8)
    for x, xhat in both:
        likelihood.loss(p, p.cut(x), p.cut(xhat), 1 / 8)
    p.update(None, [likelihood])
    run(p)
    check(parameters.gradients, alone[0] + alone[1], "model", np.abs(alone[0]) + np.abs(alone[1]))
