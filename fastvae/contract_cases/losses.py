"""Contract cases of the likelihoods, of functions in place, and of a sigma that is not fixed."""

import itertools
import math

import numpy as np

from fastvae import reference
from fastvae.contract_cases.case import SIGMA, WEIGHT, Case, Compared, garbage, normal, wide

# ---- likelihoods --------------------------------------------------------------------------------------------------


def _both_ways(op, inputs, nll, slope):
    """Cases of a likelihood: `op`_forward and `op`_forward_backward are alike, but for the weight and the gradient.

    `nll` and `slope` are what is expected of nll (B,) and of its gradient (B, D), each with its size.
    """

    def make(backward):
        found = garbage(len(nll[0]))
        compared = [Compared(found, *nll)]
        if not backward:
            return Case(f"{op}_forward", (*inputs, found), compared)
        gradient = garbage(*slope[0].shape)
        compared.append(Compared(gradient, WEIGHT * slope[0], WEIGHT * slope[1]))
        return Case(f"{op}_forward_backward", (*inputs, WEIGHT, found, gradient), compared)

    return make


def _each(x, out):
    """Both in float64, with x as many rows as the output."""
    x, out = wide(x, out)
    return reference.repeated(x, len(out)), out


def _squared_error(rng, shape, precision, samples):
    x, xhat = (normal(rng, shape[0] * k, shape[1]) for k in (1, samples))
    exact_x, exact_xhat = _each(x, xhat)
    nll, slope = reference.squared_error_forward_backward(exact_x, exact_xhat, SIGMA)
    constant = shape[1] * (abs(math.log(SIGMA)) + 0.5 * math.log(2 * math.pi))
    inputs = x, xhat, math.log(SIGMA), 1 / SIGMA
    return _both_ways("squared_error", inputs, (nll, np.abs(nll) + constant), (slope, np.abs(slope)))


def _gaussian(rng, shape, precision, samples):
    """Each column has another sigma."""
    x, xhat, log_sigma = *(normal(rng, shape[0] * k, shape[1]) for k in (1, samples)), normal(rng, shape[1])
    inverse = np.exp(-log_sigma.astype(np.float64)).astype(np.float32)
    (x64, xhat64), (logs, inverse64) = _each(x, xhat), wide(log_sigma, inverse)
    halves = ((x64 - xhat64) * inverse64) ** 2 / 2  # as the op has sigma: twice rounded, which the reference has not
    exact = reference.squared_error_forward_backward(x64, xhat64, np.exp(logs))
    nll, slope = (halves + logs + math.log(2 * math.pi) / 2).sum(axis=1), (xhat64 - x64) * inverse64**2
    for ours, theirs in zip((nll, slope), exact, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    sizes = (halves + np.abs(logs) + 1).sum(axis=1)
    return _both_ways("gaussian", (x, xhat, log_sigma, inverse), (nll, sizes), (slope, np.abs(slope)))


def _bernoulli(rng, shape, precision, samples):
    x, logits = rng.random(shape[:2], np.float32), 4 * normal(rng, shape[0] * samples, shape[1])
    x[:, ::3] = np.round(x[:, ::3])
    x64, logits64 = _each(x, logits)
    nll, slope = reference.bernoulli_forward_backward(x64, logits64)
    s = reference.sigmoid(logits64)
    return _both_ways("bernoulli", (x, logits), (nll, np.abs(nll)), (slope, (1 - x64) * s + x64 * (1 - s)))


def _continuous_bernoulli(rng, shape, precision, samples):
    x, logits = rng.random(shape[:2], np.float32), 4 * normal(rng, shape[0] * samples, shape[1])
    logits[:, ::3] *= np.float32(0.01)
    x64, logits64 = _each(x, logits)
    nll, slope, _ = reference.mixed.continuous_bernoulli(x64, logits64, 0.0)
    size = (np.abs(nll) + np.abs(logits64) + 1).sum(axis=1)
    return _both_ways("continuous_bernoulli", (x, logits), (nll.sum(axis=1), size), (slope, np.ones_like(slope)))


def _divergence(rng, shape, precision, samples):
    x, mean = (rng.uniform(0.02, 0.98, (shape[0] * k, shape[1])).astype(np.float32) for k in (1, samples))
    x64, mean64 = _each(x, mean)
    value, slope = reference.divergence_forward_backward(x64, mean64)
    size = (x64 * np.abs(np.log(x64 / mean64)) + (1 - x64) * np.abs(np.log((1 - x64) / (1 - mean64))) + 1).sum(axis=1)
    apart = (x64 + mean64) / (mean64 * (1 - mean64))
    return _both_ways("divergence", (x, mean), (value, size), (slope, apart))


SAMPLES = (1, 3)  # rows of output for a row of x


def _forward(make):
    return lambda *arguments: (make(*arguments, samples)(False) for samples in SAMPLES)


def _forward_backward(make):
    return lambda *arguments: (make(*arguments, samples)(True) for samples in SAMPLES)


def _poisson(rng, shape, precision, samples):
    """Counts at rates about e, which are not quite those that they were drawn with."""
    rate = rng.lognormal(1, 1.5, shape[:2])
    x, apart = rng.poisson(rate).astype(np.float32), normal(rng, shape[0] * samples, shape[1])
    log_rate = reference.repeated(np.log(rate).astype(np.float32), len(apart)) + apart
    x64, log64 = _each(x, log_rate)
    nll, slope = reference.poisson_forward_backward(x64, log64)
    return _both_ways("poisson", (x, log_rate), (nll, np.abs(nll)), (slope, x64 + np.exp(log64)))


# ---- functions of one number, over a matrix in place --------------------------------------------------------------


def _inplace(op, function, draw):
    """What makes the case of such an op, from numbers that `draw` gives."""

    def make(rng, shape, precision):
        x = draw(rng, *shape[:2])
        expected = function(x.astype(np.float64))
        yield Case(op, (x,), [Compared(x, expected, np.abs(expected))])

    return make


def _scale_rows_inplace(rng, shape, precision):
    scale, x = normal(rng, shape[0]), normal(rng, *shape[:2])
    expected = scale.astype(np.float64)[:, None] * x
    yield Case("scale_rows_inplace", (scale, x), [Compared(x, expected, np.abs(expected))])


def _log1p(rng, shape, precision):
    x, out = _counts(rng, *shape[:2]), garbage(*shape[:2])
    expected = np.log1p(x.astype(np.float64))
    yield Case("log1p", (x, out), [Compared(out, expected, np.abs(expected))])


# ---- a sigma that is not fixed ------------------------------------------------------------------------------------


def _sigmas(rng, columns):
    """Parameters and lowest log sigma: one a column, and one for all; near their lowest, and far above."""
    for size in sorted({1, columns}, reverse=True):
        yield rng.uniform(-1.2, 0.3, size).astype(np.float32), rng.uniform(-9, -4, size).astype(np.float32)


def _sigma_forward(rng, shape, precision):
    columns = shape[1]
    for parameter, lowest in _sigmas(rng, columns):
        log_sigma, inverse = garbage(columns), garbage(columns)
        expected = np.log(reference.soft_sigma(*wide(parameter, lowest))[0]) * np.ones(columns)
        size = 10 * np.abs(parameter) + np.abs(lowest) + 1
        compared = [
            Compared(log_sigma, expected, size),
            Compared(inverse, np.exp(-expected), np.exp(-expected) * size),
        ]
        yield Case("sigma_forward", (parameter, lowest, log_sigma, inverse), compared)


def _sigma_backward(rng, shape, precision):
    """As after `gaussian_forward_backward`, and after rows of that were weighed, one with 0."""
    shape = shape[:2]
    weights = rng.random(shape[0], np.float32) + np.float32(0.01)
    weights[1::5] = 0
    for (parameter, lowest), each_row in itertools.product(_sigmas(rng, shape[1]), (None, weights)):
        sigma, slope = reference.soft_sigma(*wide(parameter, lowest))
        sigma = sigma * np.ones(shape[1])
        x, inverse, d_parameter = normal(rng, *shape), (1 / sigma).astype(np.float32), garbage(len(parameter))
        xhat = (x + rng.normal(size=shape) * sigma * 1.5).astype(np.float32)
        x64, xhat64, inverse64 = wide(x, xhat, inverse)
        a = np.ones((shape[0], 1)) if each_row is None else each_row[:, None].astype(np.float64)
        d_xhat = (a * WEIGHT * (xhat64 - x64) * inverse64**2).astype(np.float32)
        each = reference.d_log_sigma(x64, xhat64, 1 / inverse64, a)
        squares = (a * ((x64 - xhat64) * inverse64) ** 2).sum(axis=0)
        if len(parameter) == 1:
            each, squares = each.sum(keepdims=True), squares.sum(keepdims=True)
        size = 10 * np.abs(parameter) + np.abs(lowest) + 4  # of the argument, whose rounding the slope has
        allowed = WEIGHT * slope * (a.sum() * shape[1] / len(parameter) + squares) * size
        compared = [Compared(d_parameter, WEIGHT * slope * each, allowed)]
        operands = d_xhat, inverse, parameter, lowest, WEIGHT, each_row, d_parameter
        yield Case("sigma_backward", operands, compared)


def _sigma_optimal(rng, shape, precision):
    """Some columns are without any error, and some sigmas would be lower than they may be."""
    shape = shape[:2]
    for lowest, samples in itertools.product((normal(rng, shape[1]) - 9, normal(rng, 1) - 9, np.ones(1) * 3), SAMPLES):
        x, lowest = normal(rng, *shape), lowest.astype(np.float32)
        each = reference.repeated(x, samples * len(x))
        xhat = each + normal(rng, *each.shape) * np.exp(normal(rng, shape[1]))
        xhat[:, ::3] = each[:, ::3]
        log_sigma, inverse = garbage(shape[1]), garbage(shape[1])
        expected = np.log(reference.optimal_sigma(*wide(each, xhat, lowest))) * np.ones(shape[1])
        compared = [
            Compared(log_sigma, expected, np.abs(expected) + 1),
            Compared(inverse, np.exp(-expected), np.exp(-expected) * (np.abs(expected) + 1)),
        ]
        yield Case("sigma_optimal", (x, xhat, lowest, log_sigma, inverse), compared)


def _sigma_remember(rng, shape, precision):
    """The parameter by the sigma that it stands for: near its lowest one, many parameters are nearly the same."""
    for parameter, lowest in _sigmas(rng, shape[1]):
        for step, share in ((1, 0.25), (3, 1.0), (50, 0.75)):
            seen, kept = normal(rng, shape[1]), parameter.copy()
            old = reference.soft_sigma(*wide(parameter, lowest))[0]
            best = np.exp(seen[: len(old)].astype(np.float64))
            expected = np.log(reference.remembered_sigma(old, best, step, share))
            size = 10 * np.abs(parameter) + np.abs(lowest) + np.abs(expected) + 1

            def compare(_, kept=kept, lowest=lowest, expected=expected, size=size):
                log_sigma = np.log(reference.soft_sigma(*wide(kept, lowest))[0])
                by_itself = Compared(kept, kept.copy(), 0.0)
                return [by_itself, Compared(log_sigma.astype(np.float32), expected, size)]

            yield Case("sigma_remember", (seen, share, lowest, step, kept), compare)


def _counts(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return np.floor(np.exp(4 * normal(rng, *shape)))


CASES = {
    "squared_error_forward": _forward(_squared_error),
    "squared_error_forward_backward": _forward_backward(_squared_error),
    "gaussian_forward": _forward(_gaussian),
    "gaussian_forward_backward": _forward_backward(_gaussian),
    "sigma_forward": _sigma_forward,
    "sigma_backward": _sigma_backward,
    "sigma_optimal": _sigma_optimal,
    "sigma_remember": _sigma_remember,
    "bernoulli_forward": _forward(_bernoulli),
    "bernoulli_forward_backward": _forward_backward(_bernoulli),
    "continuous_bernoulli_forward": _forward(_continuous_bernoulli),
    "continuous_bernoulli_forward_backward": _forward_backward(_continuous_bernoulli),
    "divergence_forward": _forward(_divergence),
    "divergence_forward_backward": _forward_backward(_divergence),
    "poisson_forward": _forward(_poisson),
    "poisson_forward_backward": _forward_backward(_poisson),
    "sigmoid_inplace": _inplace("sigmoid_inplace", reference.sigmoid, lambda rng, *shape: 5 * normal(rng, *shape)),
    "continuous_mean_inplace": _inplace(
        "continuous_mean_inplace",
        lambda a: reference.mixed.continuous_bernoulli(np.zeros_like(a), a, 0.0)[1],
        lambda rng, *shape: 5 * normal(rng, *shape),
    ),
    "tanh_inplace": _inplace("tanh_inplace", np.tanh, normal),
    "exp_inplace": _inplace("exp_inplace", np.exp, lambda rng, *shape: 5 * normal(rng, *shape)),
    "log1p": _log1p,
    "scale_rows_inplace": _scale_rows_inplace,
}
