"""Formulas in float32: the functions that stand in for NumPy's, and what a copy makes of a function."""

import math

import numpy as np
import pytest

from fastvae.kernels import formulas
from fastvae.own.formulas import Formula, digest_of, expm1, lgamma, log, log1p, logaddexp

RNG = np.random.default_rng(2)
POSITIVE = np.exp(RNG.uniform(-85, 88, 500)).astype(np.float32)
AROUND = np.concatenate([RNG.uniform(-0.999, 3, 500), np.exp(RNG.uniform(-60, 60, 200)),
                         -np.exp(RNG.uniform(-60, -0.01, 200))]).astype(np.float32)  # fmt: skip
INFINITY, NOTHING = np.float32(np.inf), np.float32(np.nan)
TWO = 2


def ulps(function, exact, *arrays):
    """The largest error in units of the last place of what is exact."""
    found = np.array([function(*values) for values in zip(*arrays, strict=True)], np.float64)
    expected = exact(*(array.astype(np.float64) for array in arrays))
    return (np.abs(found - expected) / np.spacing(np.abs(expected).astype(np.float32))).max()


def test_accuracy():
    assert ulps(log, np.log, POSITIVE) <= 3
    assert ulps(log1p, np.log1p, AROUND) <= 6
    assert ulps(expm1, np.expm1, AROUND[np.abs(AROUND) < 80]) <= 6
    a, b = (RNG.normal(0, 20, 300).astype(np.float32) for _ in range(2))
    errors = [abs(float(logaddexp(x, y)) - np.logaddexp(float(x), float(y))) for x, y in zip(a, b, strict=True)]
    assert np.max(errors / (1 + np.maximum(np.abs(a), np.abs(b)))) < 2.0**-22
    x = np.exp(RNG.uniform(-40, 20, 300)).astype(np.float32)
    exact = np.array([math.lgamma(v) for v in x.astype(float)])
    assert np.max(np.abs([float(lgamma(v)) for v in x] - exact) / (np.abs(exact) + 0.1)) < 2.0**-20


def test_ends():
    np.testing.assert_equal(
        [log(v) for v in map(np.float32, (0, -1, np.inf, np.nan))], [-np.inf, np.nan, np.inf, np.nan]
    )
    assert float(log(np.float32(1e-42))) == pytest.approx(math.log(float(np.float32(1e-42))), rel=1e-6)
    ends = [log1p(v) for v in map(np.float32, (-1, -2, np.inf, np.nan, 0))]
    np.testing.assert_equal(ends, [-np.inf, np.nan, np.inf, np.nan, 0])
    ends = [expm1(v) for v in map(np.float32, (-np.inf, np.inf, np.nan, 0, 200, -200))]
    np.testing.assert_equal(ends, [-1, np.inf, np.nan, 0, np.inf, -1])
    np.testing.assert_equal(logaddexp(NOTHING, INFINITY), np.nan)
    assert logaddexp(np.float32(0), np.float32(500)) == 500
    np.testing.assert_equal([lgamma(v) for v in map(np.float32, (0, -1.5, np.nan))], [np.nan] * 3)


def helper(r):
    return 1 - np.exp(-r)


def branching(x, a):
    r = abs(x - a)
    return (r**2 / TWO if r < 1 else r - 0.5) + 3 * math.log1p(r) + math.pi, helper(r)


def looping(x, a):
    total = 0.0
    for k in range(1, 4):
        total += x**k / (k + a)
    return total


def of_degrees(nu):
    return lambda x, a: (nu + 1) / 2 * np.log1p((x - a) ** 2 / nu)


def by_formulas(x, a):
    return formulas.poisson_term(abs(x), a)[0] + formulas.sigmoid(a) + formulas.softplus(x) * formulas.HALF


@pytest.mark.parametrize("function", [branching, looping, of_degrees(4.0), by_formulas])
def test_a_function_in_both(function):
    """As Python it is float64; compiled all is float32, where nothing counts a loop."""
    made = Formula(function, "f")
    for x, a in RNG.normal(size=(20, 2)):
        exact, narrow = made(x, a), made.in_float32(x, a)
        np.testing.assert_allclose(narrow, exact, rtol=2e-6, atol=1e-6)
        if function is not by_formulas:
            np.testing.assert_allclose(exact, function(np.float64(x), np.float64(a)), rtol=1e-15)
    if function is not looping:
        made.compiled(np.float32(x), np.float32(a))
        (signature,) = made.compiled.nopython_signatures
        assert "float64" not in str(signature)


def test_the_exact_formulas_are_exact():
    """Those of the package are written out in float64, and not their float32."""
    made = Formula(lambda x, a: formulas.bernoulli_term(x, a)[0], "f")
    x, a = 0.3, 1.7
    assert made(x, a) == pytest.approx(np.logaddexp(0, a) - x * a, rel=1e-15)
    made = Formula(lambda x, a: formulas.poisson_term(x, a)[0], "f")
    assert made(3.0, a) == pytest.approx(math.exp(a) - 3 * a + math.lgamma(4), rel=1e-13)


def test_digests():
    """The same of the same; another of another number, wherever it is read; None of what nobody can tell."""
    assert digest_of(of_degrees(4.0)) == digest_of(of_degrees(4.0)) != digest_of(of_degrees(5.0))
    assert digest_of(branching) != digest_of(looping)
    before = digest_of(branching)
    scope = dict(branching.__globals__, TWO=3)
    assert digest_of(type(branching)(branching.__code__, scope)) != before
    scope = dict(branching.__globals__, helper=looping)
    assert digest_of(type(branching)(branching.__code__, scope)) != before
    scope = dict(branching.__globals__, TWO=np.zeros(3))
    assert digest_of(type(branching)(branching.__code__, scope)) is None
