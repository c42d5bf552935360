"""log Gamma and the terms of the Poisson nll: values by hand, the largest errors, and the ends of float32."""

import math

import numpy as np
import pytest

from fastvae import reference
from fastvae.kernels import formulas as f
from fastvae.kernels.cpu.compiler import kernel
from tests.kernels.test_formulas import ulps

NAN, INF = np.nan, np.inf
EPSILON = 2.0**-24


@kernel
def apply_log_gamma(x, out):
    for i in range(x.size):
        out[i] = f.log_gamma(x[i])


@kernel
def apply_excess(x, out):
    for i in range(x.size):
        out[i] = f.log_factorial_excess(x[i], f.log(x[i]))


@kernel
def apply_poisson(x, a, value, slope):
    for i in range(x.size):
        value[i], slope[i] = f.poisson_term(x[i], a[i])


def log_gamma(x):
    x = np.asarray(x, np.float32)
    out = np.full_like(x, 77)
    apply_log_gamma(x, out)
    return out


def poisson(x, a):
    """Value and slope of the terms, float32."""
    x, a = np.broadcast_arrays(np.asarray(x, np.float32), np.asarray(a, np.float32))
    value, slope = np.full(x.shape, 77, np.float32), np.full(x.shape, 77, np.float32)
    apply_poisson(np.ascontiguousarray(x), np.ascontiguousarray(a), value, slope)
    return value, slope


def excess(x):
    """ln x! - x ln x + x in float64: by Stirling's series where the difference would cancel."""
    x = np.asarray(x, float)
    large, small = np.maximum(x, 20.0), np.minimum(x, 20.0)
    series = 0.5 * np.log(2 * np.pi * large) + 1 / (12 * large) - 1 / (360 * large**3) + 1 / (1260 * large**5)
    direct = reference.log_gamma(small + 1) - small * np.log(np.where(small > 0, small, 1.0)) + small
    return np.where(x > 20, series, direct)


def poisson_truth(x, a):
    """Value and slope in float64 from e^d - 1 - d: e^a - x a + ln x! would lose what is asked for."""
    x, a = np.asarray(x, np.longdouble), np.asarray(a, np.longdouble)
    d = np.where(x > 0, a - np.log(np.where(x > 0, x, 1)), 0)
    value = np.where(x > 0, x * (np.expm1(d) - d) + excess(x), np.exp(a))
    slope = np.where(x > 0, x * np.expm1(d), np.exp(a))
    return value.astype(float), slope.astype(float)


def worst_log_gamma(stride):
    """Largest error in ulp over every `stride`-th normal float32 above 0, and where."""
    worst, argument, block = 0.0, None, 2**19
    first, last = (np.float32(x).view(np.uint32) for x in (np.finfo(np.float32).smallest_normal, INF))
    for start in range(int(first), int(last), block * stride):
        x = np.arange(start, min(int(last), start + block * stride), stride, dtype=np.uint64)
        x = x.astype(np.uint32).view(np.float32)
        with np.errstate(over="ignore"):
            error = ulps(log_gamma(x), reference.log_gamma(x.astype(float)))
        i = int(np.argmax(np.where(np.isnan(error), INF, error)))
        if not error[i] <= worst:
            worst, argument = float(error[i]), x[i]
    return worst, argument


def test_largest_error():
    worst, argument = worst_log_gamma(1009)
    assert 0.4 < worst <= 6, f"{worst:.2f} ulp at {argument!r}"


@pytest.mark.slow
def test_largest_error_of_all_float32():
    worst, argument = worst_log_gamma(1)
    assert worst <= 6, f"{worst:.2f} ulp at {argument!r}"


@pytest.mark.parametrize("center", [1.0, 1.5, 2.0, 2.5, 2.75])
def test_next_to_the_zeros_and_the_seams(center):
    x = np.concatenate(
        [
            (np.float32(center).view(np.int32) + np.arange(-500, 501, dtype=np.int32)).view(np.float32),
            np.linspace(0.9 * center, 1.1 * center, 20_001).astype(np.float32),
        ]
    )
    assert ulps(log_gamma(x), reference.log_gamma(x.astype(float))).max() <= 6


def test_log_gamma_by_hand():
    n = np.arange(1, 35)
    expected = [math.log(math.factorial(k - 1)) for k in n]
    np.testing.assert_allclose(log_gamma(n), expected, rtol=2e-7)
    np.testing.assert_array_equal(log_gamma([1, 2]), [0, 0])  # 0! = 1! = 1
    np.testing.assert_allclose(log_gamma([0.5, 1.5]), [math.log(math.pi) / 2, math.log(math.pi / 4) / 2], rtol=5e-7)


def test_the_ends_of_log_gamma():
    least = np.finfo(np.float32).smallest_normal
    np.testing.assert_allclose(log_gamma([least, 1e-30]), -np.log([least, 1e-30]), rtol=2e-7)
    np.testing.assert_array_equal(log_gamma([INF, 3e38]), INF)
    x = np.array([NAN, 1.0, NAN, -NAN] * 9)
    np.testing.assert_array_equal(np.isnan(log_gamma(x)), np.isnan(x))


def test_log_factorial_excess():
    x = np.concatenate([np.arange(2000), np.linspace(0, 4, 20_001), np.logspace(3, 9, 20_001)]).astype(np.float32)
    out = np.empty_like(x)
    apply_excess(x, out)
    assert ulps(out, excess(x))[x > 0].max() <= 4
    assert out[0] == 0


# ---- the terms of Poisson's nll ----------------------------------------------------------------------------------


def test_poisson_by_hand():
    ln2, ln3 = math.log(2), math.log(3)
    value, slope = poisson([0, 1, 2, 3, 0], [0, 0, ln3, ln2, -ln2])
    np.testing.assert_allclose(value, [1, 1, 3 - 2 * ln3 + ln2, 2 - 3 * ln2 + math.log(6), 0.5], rtol=3e-7)
    np.testing.assert_allclose(slope, [1, 0, 1, -1, 0.5], rtol=3e-7)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 20, 100, 1e3, 1e4, 1e5, 1e6, 2.0**24, 1e8, 0.3, 1.4])
@pytest.mark.parametrize("spread", [1e-3, 0.1, 0.5, 3, 40])
def test_poisson_near_and_far_from_the_best_rate(count, spread):
    rng = np.random.default_rng(0)
    best = math.log(count) if count else 0.0
    a = np.clip(best + rng.uniform(-spread, spread, 20_000), -80, 30).astype(np.float32)
    x = np.full_like(a, count)
    (value, slope), (true_value, true_slope) = poisson(x, a), poisson_truth(x, a)
    ulp = np.spacing(np.abs(true_value.astype(np.float32)))
    error = np.abs(value - true_value) - (count > 1e6) * np.abs(true_slope) * np.spacing(np.abs(a)) / 2
    assert (error <= 24 * ulp).all(), (error / ulp).max()
    assert (np.abs(slope - true_slope) <= 2.5 * EPSILON * (x + np.exp(a.astype(float)))).all()
    assert (value >= 0).all()


def test_a_count_of_0_whatever_the_rate():
    """ln 0, which the formula takes, is not infinity there, but must not matter."""
    a = np.linspace(-120, 30, 30_001).astype(np.float32)
    value, slope = poisson(0, a)
    np.testing.assert_array_equal(value, slope)
    np.testing.assert_allclose(value, np.exp(a.astype(float)), rtol=3e-7, atol=1e-38)


def test_poisson_is_the_reference():
    """What the truth above is made of, where float64 has digits enough."""
    rng = np.random.default_rng(1)
    x, a = rng.poisson(5.0, (100, 1)).astype(float), rng.normal(1.5, 1.0, (100, 1))
    for found, expected in zip(poisson_truth(x, a), reference.poisson_forward_backward(x, a), strict=True):
        np.testing.assert_allclose(found.ravel(), np.ravel(expected), rtol=1e-12, atol=1e-14)


def test_poisson_far_out():
    """Above 30 along the tangent; without overflow, and with a slope that leads back."""
    value, slope = poisson([0, 5, 1e6, 0, 3], [1e4, 31, 100, -1e4, -1e4])
    top = math.exp(30)
    expected = [top * 9971, top * 2 - 5 * 31 + math.log(120), top * 71, 0, 3e4 + math.log(6)]
    np.testing.assert_allclose(value, expected, rtol=4e-7)
    np.testing.assert_allclose(slope, [top, top, top, 0, -3], rtol=2e-7)
    assert np.isfinite(slope * slope).all()
    for found in poisson(7, [30 - 2e-6, 30, 30 + 2e-6]):
        np.testing.assert_allclose(found, found[1], rtol=3e-6)
    assert not np.isfinite(poisson([0, 5, 0, 5], [INF, INF, -INF, -INF])[0]).any()  # so that it is seen


def test_nan_passes_through_poisson():
    for count in (0, 1, 40):
        a = np.array([NAN, 1.0, NAN, -NAN] * 9)
        for found in (*poisson(count, a), *poisson(a, math.log(count or 1))):
            np.testing.assert_array_equal(np.isnan(found), np.isnan(a))
