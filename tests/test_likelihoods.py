"""Likelihoods: the kernels by hand and far out, and the classes above them. Kernels on shapes: test_contract.py."""

import math

import numpy as np
import pytest

from fastvae import reference
from fastvae.kernels.scalars import EXAMPLE_WEIGHT, SIGMA, Scalars
from fastvae.likelihoods import LOG_SIGMA_LOWEST, Bernoulli, Gaussian, make_likelihood
from fastvae.parameters import Parameters
from tolerances import check

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
    nll, gradient = both(kernels, "squared_error", [[1, 2]], [[2, 0]], 2.0, weight=3.0)
    np.testing.assert_allclose(nll, [0.625 + 2 * math.log(2) + LOG_TWO_PI], rtol=2e-7)
    np.testing.assert_allclose(gradient, [[0.75, -1.5]], rtol=2e-7)


@pytest.mark.parametrize("sigma", [1e-3, 0.5, 1.0, 100.0])
def test_a_perfect_reconstruction_has_only_the_constants(kernels, sigma):
    nll, gradient = both(kernels, "squared_error", np.full((3, 11), 0.7), np.full((3, 11), 0.7), sigma)
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
    a = np.array([[1e4], [-1e4], [1e4], [-1e4], [60.0], [-60.0], [20.0], [1e4]])
    x = np.array([[0.0], [1.0], [1.0], [0.0], [1.0], [0.0], [1.0], [0.25]])
    nll, gradient = both(kernels, "bernoulli", x, a)
    expected, slope = reference.bernoulli_forward_backward(x, a)
    np.testing.assert_allclose(nll, expected, rtol=5e-7)  # also the e^-60 that sigmoid(60) - 1 would lose
    np.testing.assert_allclose(gradient, slope, rtol=5e-7)
    assert nll[4] > 0
    assert gradient[4] < 0


def test_one_bad_value_spoils_its_row_alone(kernels):
    for op, settings in (("squared_error", (1.0,)), ("bernoulli", ())):
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
        for op, settings in (("squared_error", (0.5,)), ("bernoulli", ())):
            truth = getattr(reference, op + "_forward_backward")(x.astype(float), out.astype(float), *settings)[0]
            check(both(kernels, op, x, out, *settings, rtol=2e-6)[0], truth, "model")


def test_sigmoid_inplace(kernels):
    a = np.array([[0, math.log(3), -1e4, 1e4]], np.float32)
    kernels.sigmoid_inplace(a)
    np.testing.assert_allclose(a, [[0.5, 0.75, 0, 1]], rtol=2e-7)


# ---- fastvae.likelihoods -----------------------------------------------------------------------------------------


def bound(likelihood, spread=1.0):
    parameters = Parameters(likelihood.shapes())
    likelihood.bind(parameters)
    likelihood.initialise(spread)
    return likelihood, parameters


def pass_over(kernels, likelihood, x, out, step=1, part=1.0):
    """nll and gradient of the mean over the batch, through both steps of the loss."""
    nll, gradient = np.full(len(x), np.nan, np.float32), np.full_like(x, np.nan)
    program = kernels.Program(Scalars())
    program.scalars.reals[[EXAMPLE_WEIGHT, SIGMA]] = 1 / len(x), likelihood.training_sigma
    likelihood.forward_backward(program, x, out, nll, gradient)
    program.run()
    factor = likelihood.conclude(nll, x.shape[1], step, part)
    assert likelihood.waits or factor == 1
    return nll, gradient * np.float32(factor)


def forward(kernels, likelihood, x, out):
    """nll under the likelihood's own sigma."""
    nll, program = np.full(len(x), np.nan, np.float32), kernels.Program(Scalars())
    program.scalars.reals[SIGMA] = likelihood.sigma
    likelihood.forward(program, x, out, nll)
    program.run()
    return nll


def residuals(rows, columns, deviation):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, columns))
    return x.astype(np.float32), (x + deviation * rng.normal(size=x.shape)).astype(np.float32)


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
    assert Bernoulli().shapes() == {}
    assert Gaussian(0.5).shapes() == {}
    assert Gaussian("learned").shapes() == Gaussian("optimal").shapes() == {"log_sigma": (1,)}


def test_jacobian_and_output_bias():
    scale = np.array([2.0, 0.5, 3.0])
    assert Bernoulli().log_jacobian(scale) == 0
    np.testing.assert_allclose(Gaussian().log_jacobian(scale), math.log(3), rtol=1e-12)
    mean = np.array([0.25, 0.0, 1.0])
    np.testing.assert_array_equal(Gaussian().output_bias(mean), mean)
    expected = [-math.log(3), math.log(0.001 / 0.999), math.log(0.999 / 0.001)]
    np.testing.assert_allclose(Bernoulli().output_bias(mean), expected, rtol=1e-12)


def test_mean(kernels):
    out = np.array([[0.0, 2.0]], np.float32)
    for likelihood, expected in ((Gaussian(), [[0, 2]]), (Bernoulli(), [[0.5, 1 / (1 + math.exp(-2))]])):
        program = kernels.Program(Scalars())
        bound(likelihood)[0].mean_inplace(program, out)
        program.run()
        np.testing.assert_allclose(out, expected, rtol=2e-7)


@pytest.mark.parametrize("sigma", [0.3, 1, np.float32(2)])
def test_gaussian_with_fixed_sigma(kernels, sigma):
    likelihood, _ = bound(Gaussian(sigma), spread=5.0)
    assert likelihood.sigma == sigma
    x, xhat = residuals(4, 6, 1.0)
    nll, d_xhat = pass_over(kernels, likelihood, x, xhat)
    alone = forward(kernels, likelihood, x, xhat)
    expected, slope = reference.squared_error_forward_backward(x.astype(float), xhat.astype(float), float(sigma))
    check(nll, expected, "likelihood", np.abs(expected) + 6)
    check(alone, expected, "likelihood", np.abs(expected) + 6)
    check(d_xhat, slope / 4, "likelihood")


@pytest.mark.parametrize("choice", ["learned", "optimal"])
def test_sigma_starts_from_the_spread_of_the_data(choice):
    for spread in (0.02, 0.3, 1.0, 40.0):
        np.testing.assert_allclose(bound(Gaussian(choice), spread)[0].sigma, spread, rtol=2e-6)
    np.testing.assert_allclose(bound(Gaussian(choice), 0.0)[0].sigma, 0.01, rtol=1e-5)


@pytest.mark.parametrize("choice", ["learned", "optimal"])
def test_sigma_has_a_lowest_value(choice):
    likelihood, parameters = bound(Gaussian(choice))
    parameters.values[0] = -600
    np.testing.assert_allclose(math.log(likelihood.sigma), LOG_SIGMA_LOWEST, rtol=1e-12)


@pytest.mark.parametrize("parameter", [-7.0, -2.0, 0.0, 1.5])
def test_gradient_of_learned_sigma(kernels, parameter):
    """Against differences of the definition in float64: log sigma = -6 + softplus(p + 6)."""
    likelihood, parameters = bound(Gaussian("learned"))
    parameters.values[0] = parameter
    log_sigma = float(-6 + reference.softplus(parameter + 6))
    x, xhat = residuals(8, 30, 1.3 * math.exp(log_sigma))
    nll, d_xhat = pass_over(kernels, likelihood, x, xhat)
    x, xhat = x.astype(float), xhat.astype(float)

    def loss(p):
        return reference.squared_error_forward_backward(x, xhat, math.exp(-6 + reference.softplus(p + 6)))[0].mean()

    expected = (loss(parameter + 1e-4) - loss(parameter - 1e-4)) / 2e-4
    assert abs(expected) > 1
    np.testing.assert_allclose(parameters.gradients[0], expected, rtol=2e-5)
    truth, slope = reference.squared_error_forward_backward(x, xhat, math.exp(log_sigma))
    check(nll, truth, "model", np.abs(truth) + 30 * (1 - log_sigma))
    check(d_xhat, slope / 8, "likelihood")


def test_optimal_sigma(kernels):
    """sigma^2 = mean of (x - f)^2: nll is D/2 (log(2 pi sigma^2) + 1) in the mean, and no other sigma is better."""
    likelihood, parameters = bound(Gaussian("optimal"), spread=2.0)
    x, xhat = residuals(8, 30, 0.3)
    nll, d_xhat = pass_over(kernels, likelihood, x, xhat)
    x, xhat = x.astype(float), xhat.astype(float)
    best = math.sqrt(((x - xhat) ** 2).mean())
    truth, slope = reference.squared_error_forward_backward(x, xhat, best)
    np.testing.assert_allclose(truth.mean(), 15 * (math.log(2 * math.pi * best**2) + 1), rtol=1e-12)
    for other in (0.99, 1.01):
        assert reference.squared_error_forward_backward(x, xhat, other * best)[0].mean() > truth.mean()
    np.testing.assert_allclose(nll, truth, rtol=0, atol=30 * 2e-6)
    np.testing.assert_allclose(d_xhat, slope / 8, rtol=3e-6)
    assert parameters.gradients[0] == 0


def test_gradient_through_the_optimal_sigma(kernels):
    """The loss with the best sigma put in, by differences in float64: sigma's own dependence on f adds nothing."""
    likelihood, _ = bound(Gaussian("optimal"))
    x, xhat = residuals(3, 4, 0.5)
    d_xhat = pass_over(kernels, likelihood, x, xhat)[1]

    def loss(f):
        return 2 * (math.log(2 * math.pi * ((x.astype(float) - f) ** 2).mean()) + 1)

    for i in np.ndindex(x.shape):
        step = np.zeros(x.shape)
        step[i] = 1e-5
        expected = (loss(xhat.astype(float) + step) - loss(xhat.astype(float) - step)) / 2e-5
        np.testing.assert_allclose(d_xhat[i], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("deviation", [1.0, 0.1, 0.01, 0.003])
def test_optimal_sigma_keeps_its_precision_for_small_residuals(kernels, deviation):
    likelihood, _ = bound(Gaussian("optimal"))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(128, 784)).astype(np.float32)
    xhat = x + np.float32(deviation) * rng.normal(size=x.shape).astype(np.float32)
    nll = pass_over(kernels, likelihood, x, xhat)[0]
    best = ((x.astype(float) - xhat) ** 2).mean()
    expected = reference.squared_error_forward_backward(x.astype(float), xhat.astype(float), best**0.5)[0]
    np.testing.assert_allclose(likelihood.sigma**2, best, rtol=1e-5)
    np.testing.assert_allclose(nll, expected, rtol=0, atol=5e-3)


def test_optimal_sigma_is_remembered(kernels):
    """Outside training: the mean of sigma^2 over the first batches, then a running one of about the last ten."""
    likelihood, parameters = bound(Gaussian("optimal"), spread=2.0)
    first, second = residuals(16, 50, 0.5), residuals(16, 50, 0.2)
    a, b = (((x.astype(float) - xhat) ** 2).mean() for x, xhat in (first, second))
    pass_over(kernels, likelihood, *first, step=1)
    np.testing.assert_allclose(likelihood.sigma**2, a, rtol=1e-5)
    pass_over(kernels, likelihood, *second, step=2)
    np.testing.assert_allclose(likelihood.sigma**2, (a + b) / 2, rtol=1e-5)
    pass_over(kernels, likelihood, *first, step=50)
    np.testing.assert_allclose(likelihood.sigma**2, 0.9 * (a + b) / 2 + 0.1 * a, rtol=1e-5)
    before = likelihood.sigma**2
    pass_over(kernels, likelihood, *second, step=51, part=0.25)
    np.testing.assert_allclose(likelihood.sigma**2, 0.975 * before + 0.025 * b, rtol=1e-5)
    kept = parameters.values.copy()
    pass_over(kernels, likelihood, *first, step=0)  # not a step of training
    np.testing.assert_array_equal(parameters.values, kept)
    x, xhat = first
    alone = forward(kernels, likelihood, x, xhat)
    expected = reference.squared_error_forward_backward(x.astype(float), xhat.astype(float), likelihood.sigma)[0]
    check(alone, expected, "likelihood", np.abs(expected) + 50)


def test_a_perfect_reconstruction_with_optimal_sigma(kernels):
    """sigma stays at e^-6 instead of 0; everything is finite."""
    likelihood, _ = bound(Gaussian("optimal"))
    x = residuals(4, 10, 0.0)[0]
    nll, d_xhat = pass_over(kernels, likelihood, x, x.copy())
    np.testing.assert_allclose(nll, 10 * (LOG_SIGMA_LOWEST + LOG_TWO_PI / 2), rtol=1e-2)
    np.testing.assert_array_equal(d_xhat, 0)


def test_a_bad_value_does_not_enter_the_memory(kernels):
    likelihood, parameters = bound(Gaussian("optimal"))
    x, xhat = residuals(4, 10, 0.5)
    xhat[1, 2] = np.nan
    before = parameters.values.copy()
    nll, _ = pass_over(kernels, likelihood, x, xhat)
    assert np.isnan(nll).any()
    np.testing.assert_array_equal(parameters.values, before)


def test_bernoulli_class(kernels):
    likelihood, _ = bound(Bernoulli())
    rng = np.random.default_rng(0)
    x, logits = rng.uniform(size=(4, 6)).astype(np.float32), rng.normal(size=(4, 6)).astype(np.float32)
    nll, d_logits = pass_over(kernels, likelihood, x, logits)
    alone = forward(kernels, likelihood, x, logits)
    expected, slope = reference.bernoulli_forward_backward(x.astype(float), logits.astype(float))
    check(nll, expected, "likelihood")
    check(alone, expected, "likelihood")
    check(d_logits, slope / 4, "likelihood", 0.25)
