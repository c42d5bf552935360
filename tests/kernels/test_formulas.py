"""The scalar maths: values by hand, what happens at the ends of float32, and the largest errors in ulp.

The errors are those of the loops that the compiler makes of the formulas, with the products and sums that it fuses.
One ulp is the distance of float32 neighbours at the true value, 2^-149 at the least.
"""

import math

import numba
import numpy as np
import pytest

from fastvae import reference
from fastvae.kernels import formulas as f
from fastvae.kernels.cpu.compiler import kernel

(EXP, LOG, LOG1P_UNIT, ONE_MINUS_EXP_MINUS, RELU, LEAKY_RELU, TANH, SIGMOID, SOFTPLUS, SILU, D_RELU, D_LEAKY_RELU,
 D_TANH, D_SIGMOID, D_SOFTPLUS, D_SILU, LIMITED_LOGVAR, KL_LOGVAR, KL_MU, D_KL_LOGVAR, POWER_OF_TWO, BERNOULLI_0,
 BERNOULLI_1, D_BERNOULLI_0, D_BERNOULLI_1) = range(25)  # fmt: skip


@kernel
def apply(formula, x, out):
    """One formula on a vector, through a loop like those of the kernels. Compiled once for all formulas."""
    n, zero, one = x.size, f.ZERO, f.ONE
    if formula == EXP:
        for i in range(n):
            out[i] = f.exp(x[i])
    elif formula == LOG:
        for i in range(n):
            out[i] = f.log(x[i])
    elif formula == LOG1P_UNIT:
        for i in range(n):
            out[i] = f.log1p_unit(x[i])
    elif formula == ONE_MINUS_EXP_MINUS:
        for i in range(n):
            out[i] = f.one_minus_exp_minus(x[i])
    elif formula == RELU:
        for i in range(n):
            out[i] = f.relu(x[i])
    elif formula == LEAKY_RELU:
        for i in range(n):
            out[i] = f.leaky_relu(x[i])
    elif formula == TANH:
        for i in range(n):
            out[i] = f.tanh(x[i])
    elif formula == SIGMOID:
        for i in range(n):
            out[i] = f.sigmoid(x[i])
    elif formula == SOFTPLUS:
        for i in range(n):
            out[i] = f.softplus(x[i])
    elif formula == SILU:
        for i in range(n):
            out[i] = f.silu(x[i])
    elif formula == D_RELU:
        for i in range(n):
            out[i] = f.d_relu(x[i])
    elif formula == D_LEAKY_RELU:
        for i in range(n):
            out[i] = f.d_leaky_relu(x[i])
    elif formula == D_TANH:
        for i in range(n):
            out[i] = f.d_tanh(x[i])
    elif formula == D_SIGMOID:
        for i in range(n):
            out[i] = f.d_sigmoid(x[i])
    elif formula == D_SOFTPLUS:
        for i in range(n):
            out[i] = f.d_softplus(x[i])
    elif formula == D_SILU:
        for i in range(n):
            out[i] = f.d_silu(x[i])
    elif formula == LIMITED_LOGVAR:
        for i in range(n):
            out[i] = f.limited_logvar(x[i])
    elif formula == KL_LOGVAR:
        for i in range(n):
            out[i] = f.kl_term(zero, x[i])
    elif formula == KL_MU:
        for i in range(n):
            out[i] = f.kl_term(x[i], f.HALF)
    elif formula == D_KL_LOGVAR:
        for i in range(n):
            out[i] = f.d_kl_logvar(x[i], f.exp(x[i]))
    elif formula == POWER_OF_TWO:
        for i in range(n):
            out[i] = f.power_of_two(np.int32(x[i]))
    elif formula == BERNOULLI_0:
        for i in range(n):
            out[i] = f.bernoulli_term(zero, x[i])[0]
    elif formula == BERNOULLI_1:
        for i in range(n):
            out[i] = f.bernoulli_term(one, x[i])[0]
    elif formula == D_BERNOULLI_0:
        for i in range(n):
            out[i] = f.bernoulli_term(zero, x[i])[1]
    elif formula == D_BERNOULLI_1:
        for i in range(n):
            out[i] = f.bernoulli_term(one, x[i])[1]


@kernel
def apply_pairs(radius_words, angle_words, out):
    for i in range(radius_words.size):
        out[i, 0], out[i, 1] = f.box_muller(radius_words[i], angle_words[i])


@kernel
def kl_pairs(mu, logvar, out):
    for i in range(mu.size):
        out[i] = f.kl_term(mu[i], logvar[i])


def at(formula, *values):
    x = np.array(values, np.float32)
    out = np.full_like(x, 77)
    apply(formula, x, out)
    return out


def normal(x):
    return (x >= np.finfo(np.float32).smallest_normal) & (x < np.inf)


def everywhere(x):
    return np.full(x.shape, True)


def cut_off(p):
    """A probability in the Bernoulli's derivative: 0 where it is so small."""
    return np.where(p < 2.0**-50, 0.0, p)


def not_at_the_cut(a):
    """Where float32 knows on which side of it a logit is."""
    with np.errstate(invalid="ignore"):  # NaN
        return ~(np.abs(np.abs(a) - 50 * np.log(2)) < 1e-4)


# formula: (number, truth in float64, largest error in ulp, where it is asserted)
ERRORS = {
    "exp": (EXP, np.exp, 2, everywhere),
    "log": (LOG, np.log, 3, normal),
    "log1p_unit": (LOG1P_UNIT, np.log1p, 3, lambda x: (x >= 0) & (x <= 1)),
    "one_minus_exp_minus": (ONE_MINUS_EXP_MINUS, lambda y: -np.expm1(-y), 4, lambda y: y >= 0),
    "tanh": (TANH, np.tanh, 3, everywhere),
    "sigmoid": (SIGMOID, reference.sigmoid, 4, everywhere),
    "softplus": (SOFTPLUS, reference.softplus, 4, everywhere),
    "silu": (SILU, reference.silu, 5, lambda a: a > -87),  # beyond, a multiplies a gradual underflow
    "kl_term": (KL_LOGVAR, lambda v: reference.kl_terms(0.0, v), 16, lambda v: np.abs(v) <= 30),
    "d_kl_logvar": (D_KL_LOGVAR, lambda v: np.expm1(v) / 2, 4, lambda v: np.abs(v) <= 30),
    "bernoulli_term, x = 0": (BERNOULLI_0, reference.softplus, 4, np.isfinite),
    "bernoulli_term, x = 1": (BERNOULLI_1, lambda a: reference.softplus(-a), 4, np.isfinite),
    "d bernoulli_term, x = 0": (D_BERNOULLI_0, lambda a: cut_off(reference.sigmoid(a)), 4, not_at_the_cut),
    "d bernoulli_term, x = 1": (D_BERNOULLI_1, lambda a: -cut_off(reference.sigmoid(-a)), 4, not_at_the_cut),
}

BLOCK = 2**19


def ulps(found, truth):
    """Error in float32 ulp; 0 where both overflow alike."""
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = truth.astype(np.float32)
        error = np.abs(found - truth) / np.spacing(np.abs(rounded)).astype(np.float64)
    return np.where((found == rounded) & ~(error < 1), 0.0, error)


def worst_error(name, stride):
    """Largest error in ulp over every `stride`-th bit pattern of float32, and where; NaN must give NaN."""
    formula, truth, _, where = ERRORS[name]
    worst, argument = 0.0, None
    out = np.empty(BLOCK, np.float32)
    for start in range(0, 2**32, BLOCK * stride):
        bits = np.arange(start, min(2**32, start + BLOCK * stride), stride, dtype=np.uint64)
        x = bits.astype(np.uint32).view(np.float32)
        x = x[where(x) | np.isnan(x)]
        if not x.size:
            continue
        found = out[: x.size]
        apply(formula, x, found)
        unknown = np.isnan(x)
        if where is not normal:
            assert np.isnan(found[unknown]).all(), f"{name}: NaN gave a number"
        x, found = x[~unknown], found[~unknown]
        if x.size:
            with np.errstate(all="ignore"):
                error = ulps(found, truth(x.astype(np.float64)))
            error[np.isnan(error)] = np.inf  # a NaN that nobody put in
            i = int(np.argmax(error))
            if error[i] > worst:
                worst, argument = float(error[i]), x[i]
    return worst, argument


@pytest.mark.parametrize("name", ERRORS)
def test_largest_error(name):
    worst, argument = worst_error(name, 257)
    assert worst <= ERRORS[name][2], f"{worst:.2f} ulp at {argument!r}"
    assert worst > 0.4, "an error this small says that nothing was compared"


@pytest.mark.slow
@pytest.mark.parametrize("name", ERRORS)
def test_largest_error_of_all_float32(name):
    worst, argument = worst_error(name, 1)
    assert worst <= ERRORS[name][2], f"{worst:.2f} ulp at {argument!r}"


@pytest.mark.parametrize("name", ERRORS)
def test_largest_error_where_it_matters(name):
    """Evenly between -30 and 30 rather than by bit patterns, of which half lie below 1e-19."""
    formula, truth, bound, where = ERRORS[name]
    x = np.linspace(-30, 30, 400_001).astype(np.float32)
    x = x[where(x)]
    out = np.empty_like(x)
    apply(formula, x, out)
    error = ulps(out, truth(x.astype(np.float64)))
    assert error.max() <= bound, f"{error.max():.2f} ulp at {x[error.argmax()]!r}"


def test_kl_term_with_both_arguments():
    rng = np.random.default_rng(0)
    mu, logvar = rng.normal(size=(2, 200_000)).astype(np.float32)
    mu, logvar = mu * 10 ** rng.uniform(-6, 2, mu.size).astype(np.float32), logvar * np.float32(4)
    out = np.empty_like(mu)
    kl_pairs(mu, logvar, out)
    assert ulps(out, reference.kl_terms(mu.astype(float), logvar.astype(float))).max() <= 16


@pytest.mark.parametrize(
    ("formula", "truth", "bound"),
    [
        (D_TANH, lambda y: (1 - y) * (1 + y), 2),
        (D_SIGMOID, lambda y: y * (1 - y), 2),
        (D_SOFTPLUS, lambda y: -np.expm1(-y), 4),
    ],
)
def test_largest_error_of_derivatives_by_value(formula, truth, bound):
    y = np.linspace(0, 1, 300_001).astype(np.float32)
    out = np.empty_like(y)
    apply(formula, y, out)
    assert ulps(out, truth(y.astype(float))).max() <= bound


def test_d_silu():
    """An absolute error: it crosses 0 at -1.2785, and far out a (1 - s) brings the rounding of 1 - s with it."""
    a = np.linspace(-40, 40, 400_001).astype(np.float32)
    out = np.empty_like(a)
    apply(D_SILU, a, out)
    assert np.abs(out - reference.d_silu(a.astype(float))).max() <= 1.1e-6
    near = np.abs(a) < 2
    assert np.abs(out - reference.d_silu(a.astype(float)))[near].max() <= 3e-7


def test_box_muller():
    """Errors in units of the radius; every eighth of a turn and every scale of u is there."""
    rng = np.random.default_rng(1)
    radius = rng.integers(0, 2**32, 400_000, dtype=np.uint64)
    radius[::2] >>= rng.integers(0, 33, radius[::2].size, dtype=np.uint64)  # small u: the tail
    radius[1::4] = 2**32 - 1 - (radius[1::4] >> rng.integers(0, 33, radius[1::4].size, dtype=np.uint64))  # near 1
    angle = rng.integers(0, 2**32, radius.size, dtype=np.uint64)
    angle[:64] = np.repeat(np.arange(0, 2**32, 2**29, dtype=np.uint64), 8) + np.tile(np.arange(8, dtype=np.uint64), 8)
    angle[64:72] = np.arange(2**29 - 1, 2**32, 2**29, dtype=np.uint64)
    out = np.empty((radius.size, 2), np.float32)
    apply_pairs(radius.astype(np.uint32), angle.astype(np.uint32), out)
    size = np.sqrt(-2 * np.log(reference.uniform(radius)))
    error = np.abs(out - np.stack(reference.box_muller(radius, angle), axis=1))
    assert (error <= 4e-7 * size[:, None]).all(), (error / np.maximum(size, 1e-30)[:, None]).max()
    # sine and cosine alone, at radius sqrt(2 ln 2): within 2 ulp of their own size, also next to their zeros
    half = np.full(radius.size, 2**31, np.uint32)
    apply_pairs(half, angle.astype(np.uint32), out)
    assert ulps(out, np.stack(reference.box_muller(half, angle), axis=1))[72:].max() <= 5


def test_box_muller_by_hand():
    out = np.empty((5, 2), np.float32)
    apply_pairs(np.full(5, 2**31, np.uint32), (np.arange(5) * 2**30 % 2**32).astype(np.uint32), out)
    r = np.float32(math.sqrt(2 * math.log(2)))
    np.testing.assert_allclose(out, r * np.array([[1, 0], [0, 1], [-1, 0], [0, -1], [1, 0]]), rtol=2e-7)
    # the longest radius, from word 0: sqrt(66 ln 2); the shortest, from the highest word: 0
    apply_pairs(np.array([0, 2**32 - 1], np.uint32), np.zeros(2, np.uint32), out[:2])
    np.testing.assert_allclose(out[:2, 0], [math.sqrt(66 * math.log(2)), 0], rtol=2e-7)


# ---- by hand -----------------------------------------------------------------------------------------------------


def test_values_by_hand():
    ln2 = np.float32(math.log(2))
    np.testing.assert_allclose(at(EXP, 0, 1, ln2, -1), [1, math.e, 2, 1 / math.e], rtol=2e-7)
    np.testing.assert_allclose(at(LOG, 1, 2, math.e, 0.25), [0, ln2, 1, -2 * ln2], rtol=2e-7)
    np.testing.assert_allclose(at(LOG1P_UNIT, 0, 1, 0.5), [0, ln2, math.log(1.5)], rtol=2e-7)
    np.testing.assert_allclose(at(ONE_MINUS_EXP_MINUS, 0, ln2, 1e-6, 100), [0, 0.5, 1e-6 - 5e-13, 1], rtol=2e-7)
    np.testing.assert_allclose(at(SIGMOID, 0, math.log(3), -math.log(3)), [0.5, 0.75, 0.25], rtol=2e-7)
    np.testing.assert_allclose(at(SOFTPLUS, 0, math.log(3)), [ln2, math.log(4)], rtol=2e-7)
    np.testing.assert_allclose(at(TANH, 0, math.log(2), -math.log(3)), [0, 0.6, -0.8], rtol=2e-7)
    np.testing.assert_allclose(at(SILU, 0, math.log(3)), [0, 0.75 * math.log(3)], rtol=2e-7)
    np.testing.assert_allclose(at(D_SILU, 0, math.log(3)), [0.5, 0.75 + 0.1875 * math.log(3)], rtol=2e-7)
    np.testing.assert_array_equal(at(RELU, -2, 0, 3), [0, 0, 3])
    np.testing.assert_array_equal(at(D_RELU, 0, 3), [0, 1])
    np.testing.assert_array_equal(at(LEAKY_RELU, -200, 0, 3), [-2, 0, 3])
    np.testing.assert_array_equal(at(D_LEAKY_RELU, -2, 3), np.float32([0.01, 1]))
    np.testing.assert_array_equal(at(D_TANH, 0, 0.5, -1), [1, 0.75, 0])
    np.testing.assert_array_equal(at(D_SIGMOID, 0, 0.5, 1), [0, 0.25, 0])
    np.testing.assert_allclose(at(D_SOFTPLUS, 0, ln2), [0, 0.5], rtol=2e-7)
    np.testing.assert_array_equal(at(LIMITED_LOGVAR, -31, -30, 0.5, 20, 21), [-30, -30, 0.5, 20, 20])
    np.testing.assert_array_equal(at(POWER_OF_TWO, -126, -1, 0, 127), [2.0**-126, 0.5, 1, 2.0**127])
    np.testing.assert_allclose(at(KL_LOGVAR, 0, 1, ln2), [0, (math.e - 2) / 2, (1 - ln2) / 2], rtol=2e-7)
    np.testing.assert_allclose(at(KL_MU, 2), [(4 + math.exp(0.5) - 1.5) / 2], rtol=2e-7)
    np.testing.assert_allclose(at(D_KL_LOGVAR, 0, ln2, -ln2), [0, 0.5, -0.25], rtol=2e-7)
    np.testing.assert_allclose(at(BERNOULLI_0, 0, math.log(3)), [ln2, math.log(4)], rtol=2e-7)
    np.testing.assert_allclose(at(BERNOULLI_1, 0, math.log(3)), [ln2, math.log(4 / 3)], rtol=2e-7)
    np.testing.assert_allclose(at(D_BERNOULLI_1, 0, math.log(3)), [-0.5, -0.25], rtol=2e-7)


def test_the_seams_of_the_approximations():
    """On both sides of where one form takes over from another."""
    for name, seam in [
        ("tanh", 0.625),
        ("tanh", -0.625),
        ("one_minus_exp_minus", 0.5),
        ("kl_term", 0.34),
        ("kl_term", -0.34),
        ("d_kl_logvar", 0.34),
        ("d_kl_logvar", -0.34),
        ("log", math.sqrt(0.5)),
        ("log", math.sqrt(2.0)),
        ("exp", math.log(2) / 2),
    ]:
        formula, truth, bound, _ = ERRORS[name]
        x = (np.float32(seam).view(np.int32) + np.arange(-500, 501, dtype=np.int32)).view(np.float32)
        assert ulps(at(formula, *x), truth(x.astype(float))).max() <= bound, (name, seam)


# ---- the ends of float32 -----------------------------------------------------------------------------------------

INF, NAN, TINY = np.inf, np.nan, 1e-45


@pytest.mark.parametrize(
    ("formula", "arguments", "expected"),
    [
        (EXP, (INF, -INF, 89, -104, 0.0, -0.0, TINY, 1e4, -1e4), (INF, 0, INF, 0, 1, 1, 1, INF, 0)),
        (ONE_MINUS_EXP_MINUS, (INF, 1e4, 0.0, TINY), (1, 1, 0, TINY)),
        (LOG1P_UNIT, (0.0, 1e-38), (0, 1e-38)),
        (RELU, (INF, -INF, TINY, -TINY), (INF, 0, TINY, 0)),
        (LEAKY_RELU, (INF, -INF, TINY), (INF, -INF, TINY)),
        (TANH, (INF, -INF, 1e4, -1e4, TINY, -TINY, 0.0), (1, -1, 1, -1, TINY, -TINY, 0)),
        (SIGMOID, (INF, -INF, 1e4, -1e4, TINY, -0.0), (1, 0, 1, 0, 0.5, 0.5)),
        (SOFTPLUS, (INF, -INF, 1e4, -1e4, TINY), (INF, 0, 1e4, 0, 0.6931472)),
        (SILU, (INF, 1e4, -1e4, TINY, 0.0), (INF, 1e4, 0, 0, 0)),
        (D_SILU, (1e4, -1e4, TINY), (1, 0, 0.5)),
        (D_SOFTPLUS, (INF, 1e4, TINY), (1, 1, TINY)),
        (LIMITED_LOGVAR, (INF, -INF, TINY), (20, -30, TINY)),
        (KL_LOGVAR, (0.0, -0.0, TINY), (0, 0, 0)),
        (KL_MU, (INF, -INF, 1e4), (INF, INF, 5e7)),
        (BERNOULLI_0, (INF, 1e4, -1e4), (INF, 1e4, 0)),
        (BERNOULLI_1, (1e4, -1e4), (0, 1e4)),
        (D_BERNOULLI_0, (1e4, -1e4), (1, 0)),
        (D_BERNOULLI_1, (1e4, -1e4), (0, -1)),
    ],
)
def test_the_ends(formula, arguments, expected):
    np.testing.assert_allclose(at(formula, *arguments), np.array(expected, np.float32), rtol=1.5e-7, atol=0)


def test_exp_underflows_gradually():
    x = np.linspace(-104, -87, 1001).astype(np.float32)
    assert ulps(at(EXP, *x), np.exp(x.astype(float))).max() <= 1
    assert at(EXP, -103)[0] == np.float32(TINY)  # the smallest number above 0


def test_signs_of_zero():
    assert not np.signbit(at(RELU, 0.0)).any()
    np.testing.assert_array_equal(np.signbit(at(SILU, 0.0, -0.0)), [False, True])


NAN_FORMULAS = [EXP, LOG1P_UNIT, ONE_MINUS_EXP_MINUS, RELU, LEAKY_RELU, TANH, SIGMOID, SOFTPLUS, SILU, D_TANH,
                D_SIGMOID, D_SOFTPLUS, D_SILU, LIMITED_LOGVAR, KL_LOGVAR, KL_MU, D_KL_LOGVAR, BERNOULLI_0, BERNOULLI_1,
                D_BERNOULLI_0, D_BERNOULLI_1]  # fmt: skip
NAN_FORMULAS += [D_RELU, D_LEAKY_RELU]


@pytest.mark.parametrize("formula", NAN_FORMULAS)
def test_nan_passes_through(formula):
    """In every lane of a vector, and with either sign. `log` is left out: its domain is the normal numbers above 0."""
    x = np.array([NAN, 1.0, NAN, -NAN] * 9, np.float32)
    np.testing.assert_array_equal(np.isnan(at(formula, *x)), np.isnan(x))


def test_everything_is_float32():
    """A bare literal would make float64 of it; on a graphics card that costs thirty times the time."""
    one, word = np.float32(0.3), np.uint32(12345)
    formulas = {name for name, value in vars(f).items() if hasattr(value, "py_func")}
    calls = dict.fromkeys(formulas, (one,))
    calls |= {"kl_term": (one, one), "d_kl_logvar": (one, one), "bernoulli_term": (one, one)}
    calls |= {"divergence_term": (one, one), "poisson_term": (one, one), "log_factorial_excess": (one, one)}
    calls |= {"uniform": (word,), "bernoulli_draw": (word, one), "box_muller": (word, word)}
    calls |= {"power_of_two": (np.int32(3),), "bfloat16_pair": (one, one), "squared_error_term": (one, one, one)}
    calls |= {"soft_log_sigma": (one,) * 2, "soft_slope": (one,) * 2, "soft_parameter": (one,) * 3}
    calls |= {"log_sigma_gradient": (one,) * 4, "log_sigma_of_squares": (one,) * 3, "remembered_log_sigma": (one,) * 5}
    calls |= {"latent_terms": (one,) * 3, "latent_gradients": (one,) * 5, "adam_moved": (*(one,) * 5, (one,) * 7)}
    calls |= {"latent_sample": (one,) * 3, "log_of_mean": (one, one), "free_part": (one,) * 3}
    calls |= {"sample_gradients": (*(one,) * 6, 1), "with_kl_gradients": (one,) * 5}
    calls |= {"sgd_moved": (one,) * 8, "averaged": (one,) * 3, "corrupted": (one, f.MASKING, one, word, one)}
    assert len(calls) == len(formulas) > 20
    for name, arguments in calls.items():
        function = getattr(f, name)
        function(*arguments)
        signature = tuple(numba.typeof(a) for a in arguments)
        returned = str(function.overloads[signature].signature.return_type)
        real = ["float32", "UniTuple(float32 x 2)", "UniTuple(float32 x 3)"]
        expected = ["uint32"] if name in ("bfloat16_bits", "bfloat16_pair") else real
        assert returned in expected, (name, returned)
