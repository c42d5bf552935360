"""The losses of rows, made from their terms: against the reference on awkward shapes, by hand, far out.

`LOSSES` and what checks them serve every backend: `run` is a function (name, x, out, params, weight or None) -> nll,
gradient or None.
"""

import inspect
import math
import re

import numpy as np
import pytest
from numba import typeof
from numba.core.caching import NullCache

from fastvae import reference
from fastvae.kernels.cpu import compiler, processor
from fastvae.kernels.cpu.row_losses import FUNCTIONS, functions_of
from fastvae.kernels.formulas import formula
from fastvae.kernels.row_losses import ROW_LOSSES, RowLoss
from tests.support.tolerances import check

SHAPES = [(1, 1), (7, 33), (3, 4), (5, 17), (2, 64), (129, 31)]
HALF_LOG_TWO_PI = math.log(2 * math.pi) / 2


def on_cpu(name, x, out, params, weight=None):
    nll, gradient = np.full(len(x), np.nan, np.float32), np.full(x.shape, np.nan, np.float32)
    if weight is None:
        FUNCTIONS[f"{name}_forward"](x, out, *params, nll)
        return nll, None
    FUNCTIONS[f"{name}_forward_backward"](x, out, *params, weight, nll, gradient)
    return nll, gradient


def normal(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


# Of each loss: x, what the network puts out, and the other operands; then nll and slope in float64, and their
# magnitudes, which rounding errors scale with.


def bernoulli(rng, shape):
    x, logits = rng.uniform(size=shape).astype(np.float32), 4 * normal(rng, *shape)
    x[:, ::3] = np.round(x[:, ::3])
    nll, slope = reference.bernoulli_forward_backward(x.astype(float), logits.astype(float))
    s = reference.sigmoid(logits.astype(float))
    return (x, logits, ()), (nll, slope), (nll, (1 - x) * s + x * (1 - s))


def poisson(rng, shape):
    rate = rng.lognormal(1, 1.5, shape)
    x, log_rate = rng.poisson(rate).astype(np.float32), np.log(rate).astype(np.float32) + normal(rng, *shape)
    nll, slope = reference.poisson_forward_backward(x.astype(float), log_rate.astype(float))
    return (x, log_rate, ()), (nll, slope), (nll, x + np.exp(log_rate.astype(float)))


def divergence(rng, shape):
    """Also of means that are nearly 0 or 1, and of one that is x itself, where both parts cancel."""
    x, mean = (rng.uniform(0.01, 0.99, shape).astype(np.float32) for _ in range(2))
    mean[:, ::3] = np.float32(1e-4) * mean[:, ::3]
    mean[:, 1::3] = 1 - np.float32(1e-2) * mean[:, 1::3]
    mean[:, 2::6] = x[:, 2::6]
    a, m = x.astype(float), mean.astype(float)
    value, slope = reference.divergence_forward_backward(a, m)
    size = (a * np.abs(np.log(a / m)) + (1 - a) * np.abs(np.log((1 - a) / (1 - m))) + 1).sum(axis=1)
    return (x, mean, ()), (value, slope), (size, (a + m) / (m * (1 - m)))


def squared_error(rng, shape):
    x, xhat, sigma = normal(rng, *shape), normal(rng, *shape), rng.lognormal()
    nll, slope = reference.squared_error_forward_backward(x.astype(float), xhat.astype(float), sigma)
    size = ((x.astype(float) - xhat) ** 2 / (2 * sigma**2) + abs(math.log(sigma)) + 1).sum(axis=1)
    return (x, xhat, (math.log(sigma), 1 / sigma)), (nll, slope), (size, np.abs(slope))


def gaussian(rng, shape):
    """Each column with another sigma; its inverse is float32, and sigma itself is not."""
    x, xhat, log_sigma = normal(rng, *shape), normal(rng, *shape), normal(rng, shape[1])
    inverse = np.exp(-log_sigma)
    wide = inverse.astype(float)
    squares = ((x.astype(float) - xhat) * wide) ** 2
    nll = (squares / 2 + log_sigma.astype(float) + HALF_LOG_TWO_PI).sum(axis=1)
    slope = (xhat.astype(float) - x) * wide**2
    size = (squares / 2 + np.abs(log_sigma) + 1).sum(axis=1)
    return (x, xhat, (log_sigma, inverse)), (nll, slope), (size, np.abs(slope))


def continuous_bernoulli(rng, shape):
    x, a = rng.random(shape, np.float32), 4 * normal(rng, *shape)
    nll, slope, _ = reference.mixed.continuous_bernoulli(x.astype(float), a.astype(float), 0.0)
    size = (np.abs(nll) + np.abs(a) + 1).sum(axis=1)
    return (x, a, ()), (nll.sum(axis=1), slope), (size, np.ones_like(slope))


LOSSES = {
    "bernoulli": bernoulli, "poisson": poisson, "continuous_bernoulli": continuous_bernoulli, "divergence": divergence,
    "squared_error": squared_error, "gaussian": gaussian,
}  # fmt: skip


def check_loss(run, name, shape):
    """Both directions against float64."""
    (x, out, params), (nll, slope), (size, slope_size) = LOSSES[name](np.random.default_rng(list(shape)), shape)
    alone, nothing = run(name, x, out, params)
    check(alone, nll, "likelihood", size)
    assert nothing is None
    found, gradient = run(name, x, out, params, 0.37)
    check(found, nll, "likelihood", size)
    check(gradient, 0.37 * slope, "likelihood", 0.37 * slope_size)


def check_by_hand(run):
    """Residuals 1 and 2 at sigma 2: 1/8 + 4/8 + 2 ln 2 + ln(2 pi). Logit ln 3: p = 3/4. Counts 0, 2 at rates 3, 2."""
    ln2, ln3, x, xhat = math.log(2), math.log(3), np.float32([[1, 2]]), np.float32([[2, 0]])
    each = np.full(2, ln2, np.float32), np.full(2, 0.5, np.float32)
    for name, params in (("squared_error", (ln2, 0.5)), ("gaussian", each)):
        nll, gradient = run(name, x, xhat, params, 3.0)
        np.testing.assert_allclose(nll, [0.625 + 2 * ln2 + 2 * HALF_LOG_TWO_PI], rtol=3e-7)
        np.testing.assert_allclose(gradient, [[0.75, -1.5]], rtol=2e-7)
    nll, gradient = run("bernoulli", np.float32([[1], [0], [0.5]]), np.float32([[ln3]] * 3), (), 2.0)
    np.testing.assert_allclose(nll, [math.log(4 / 3), math.log(4), 0.5 * math.log(16 / 3)], rtol=3e-7)
    np.testing.assert_allclose(gradient, [[-0.5], [1.5], [0.5]], rtol=3e-7)
    nll, gradient = run("poisson", np.float32([[0, 2]]), np.float32([[ln3, ln2]]), (), 2.0)
    np.testing.assert_allclose(nll, [3 + 2 - ln2], rtol=3e-7)
    np.testing.assert_allclose(gradient, [[6, 0]], rtol=3e-7, atol=1e-6)
    nll, gradient = run("divergence", np.float32([[0.5, 0.25]]), np.float32([[0.25, 0.25]]), (), 3.0)
    np.testing.assert_allclose(nll, [0.5 * ln2 + 0.5 * math.log(2 / 3)], rtol=3e-6)
    np.testing.assert_allclose(gradient, [[-4.0, 0]], rtol=3e-7, atol=1e-6)


def check_far_out(run):
    """Nothing overflows, and what is small beside a large number is not lost with it."""
    a = np.float32([[1e4], [-1e4], [1e4], [-1e4], [60.0], [-60.0], [20.0], [1e4]])
    x = np.float32([[0], [1], [1], [0], [1], [0], [1], [0.25]])
    m = np.float32([[0.0], [1.0], [1e-30], [2.0], [-1.0]])  # of which 0 and 1 only rounding makes
    nll, gradient = run("divergence", np.full((5, 1), 0.25, np.float32), m, (), 1.0)
    ends = reference.divergence_forward_backward(np.full((2, 1), 0.25), np.array([[2.0**-20], [1 - 2.0**-20]]))
    np.testing.assert_allclose(nll, ends[0][[0, 1, 0, 1, 0]], rtol=1e-6)
    np.testing.assert_allclose(gradient, ends[1][[0, 1, 0, 1, 0]], rtol=1e-6)
    nll, gradient = run("bernoulli", x, a, (), 1.0)
    expected, slope = reference.bernoulli_forward_backward(x.astype(float), a.astype(float))
    np.testing.assert_allclose(nll, expected, rtol=5e-7)
    np.testing.assert_allclose(gradient, np.where(np.abs(slope) < 2.0**-50, 0.0, slope), rtol=5e-7)
    assert (gradient[4:6] == 0).all()  # of a probability of e^-60 of what is not there: see the formula
    x = np.float32([[1e6], [1e6], [0], [3], [0], [7]])
    a = np.float32([[math.log(1e6)], [13.5], [-1e4], [-1e4], [1e4], [31]])
    nll, gradient = run("poisson", x, a, (), 1.0)
    expected, slope = reference.poisson_forward_backward(x.astype(float), a.astype(float))
    np.testing.assert_allclose(nll, expected, rtol=1.5e-6)
    np.testing.assert_allclose(gradient, slope, rtol=5e-7, atol=0.2)


def check_bad_values(run):
    """One spoils its own row alone, and its own place of the gradient."""
    for name, case in LOSSES.items():
        for columns in (21, 24):
            for spoiled in (0, 1):
                (x, out, params), _, _ = case(np.random.default_rng(0), (3, columns))
                (x, out)[spoiled][1, 7] = np.nan
                nll, gradient = run(name, x, out, params, 1.0)
                np.testing.assert_array_equal(np.isnan(nll), [False, True, False])
                np.testing.assert_array_equal(np.argwhere(np.isnan(gradient)), [[1, 7]])
                np.testing.assert_array_equal(np.isnan(run(name, x, out, params)[0]), [False, True, False])


@formula
def line_term(x, a, gain, offset):
    """(gain (a - x) + offset, gain)."""
    return gain * (a - x) + offset, gain


LINES = {each: RowLoss("line", line_term, "a", ("gain", "offset"), per_column=each) for each in (False, True)}


def check_line(run, each, columns):
    """A loss with other parameters than a Gaussian's: what a term is given, and in which order."""
    rng = np.random.default_rng(columns)
    x, a = rng.integers(-9, 9, (2, 3, columns)).astype(np.float32)
    params = rng.integers(-9, 9, (2, columns)).astype(np.float32) if each else (3.0, -2.0)
    expected = (params[0] * (a - x) + params[1]).sum(axis=1)  # in whole numbers, so without rounding
    np.testing.assert_array_equal(run("line", x, a, params)[0], expected)
    nll, gradient = run("line", x, a, params, 0.5)
    np.testing.assert_array_equal(nll, expected)
    np.testing.assert_array_equal(gradient, np.broadcast_to(0.5 * np.asarray(params[0], np.float32), x.shape))


@pytest.mark.parametrize("columns", [1, 16, 37])
@pytest.mark.parametrize("each", [False, True])
def test_a_loss_with_parameters(each, columns, monkeypatch):
    for name, function in functions_of(LINES[each]).items():
        function._cache = NullCache()  # the digest of the sources does not know this one's term
        monkeypatch.setitem(FUNCTIONS, name, function)
    check_line(on_cpu, each, columns)


def test_every_loss_is_checked():
    assert set(LOSSES) == {loss.name for loss in ROW_LOSSES}
    assert set(FUNCTIONS) == {f"{name}_{way}" for name in LOSSES for way in ("forward", "forward_backward")}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_loss(name, shape):
    check_loss(on_cpu, name, shape)


def test_by_hand():
    check_by_hand(on_cpu)


def test_far_out():
    check_far_out(on_cpu)


def test_bad_values():
    check_bad_values(on_cpu)


@pytest.mark.parametrize("name", LOSSES)
def test_slopes_of_the_reference_by_differences(name):
    """In float64, also above a log rate of 30."""
    (x, out, params), _, _ = LOSSES[name](np.random.default_rng(0), (4, 3))
    x, out = x.astype(float), out.astype(float)
    out[0, 0] = 33.0 if name == "poisson" else out[0, 0]
    settings = [np.exp(params[0])] if params else []
    both = getattr(reference, f"{'squared_error' if params else name}_forward_backward")
    slope = both(x, out, *settings)[1]
    for i in np.ndindex(out.shape):
        step = np.zeros(out.shape)
        step[i] = 1e-6 * (min(out[i], 1 - out[i]) if name == "divergence" else max(1, abs(out[i])))
        above, below = (both(x, out + sign * step, *settings)[0][i[0]] for sign in (1, -1))
        size = 1e-7 * (np.abs(slope[i[0]]).max() + 10)
        np.testing.assert_allclose((above - below) / (2 * step[i]), slope[i], rtol=1e-6, atol=size)


def test_operands_are_those_of_the_contract():
    names = {name: ",".join(inspect.signature(function.py_func).parameters) for name, function in FUNCTIONS.items()}
    assert names == {
        "bernoulli_forward": "x,logits,nll",
        "bernoulli_forward_backward": "x,logits,weight,nll,d_logits",
        "continuous_bernoulli_forward": "x,logits,nll",
        "continuous_bernoulli_forward_backward": "x,logits,weight,nll,d_logits",
        "divergence_forward": "x,mean,nll",
        "divergence_forward_backward": "x,mean,weight,nll,d_mean",
        "poisson_forward": "x,log_rate,nll",
        "poisson_forward_backward": "x,log_rate,weight,nll,d_log_rate",
        "squared_error_forward": "x,xhat,log_sigma,inverse,nll",
        "squared_error_forward_backward": "x,xhat,log_sigma,inverse,weight,nll,d_xhat",
        "gaussian_forward": "x,xhat,log_sigma,inverse,nll",
        "gaussian_forward_backward": "x,xhat,log_sigma,inverse,weight,nll,d_xhat",
    }


def test_each_has_code_of_its_own():
    """Made from the same lines, they are told apart on the disk."""
    files = set()
    for name, function in FUNCTIONS.items():
        loss, backward = name.split("_forward")[0], name.endswith("backward")
        (x, out, params), _, _ = LOSSES[loss](np.random.default_rng(0), (2, 3))
        on_cpu(loss, x, out, params, 1.0 if backward else None)
        arguments = (x, out, *params, 1.0, x[:, 0].copy(), x) if backward else (x, out, *params, x[:, 0].copy())
        signature = tuple(typeof(argument) for argument in arguments)
        assert signature in function.overloads
        files.add(function._cache._file_name(signature, function.targetctx.codegen()))
    assert len(files) == len(FUNCTIONS) == 2 * len(ROW_LOSSES)


@pytest.mark.skipif(processor.architecture() != "x86_64", reason="looks for instructions of x86-64")
@pytest.mark.parametrize("name", LOSSES)
def test_loops_vectorise(name):
    (x, out, params), _, _ = LOSSES[name](np.random.default_rng(0), (2, 32))
    fresh = compiler.as_part(FUNCTIONS[f"{name}_forward_backward"])
    fresh(x, out, *params, 1.0, x[:, 0].copy(), x.copy())
    (text,) = fresh.inspect_asm().values()
    assert len(re.findall(r"\bv?f?n?m(?:ul|add|sub)\w*ps\b", text)) > 3
