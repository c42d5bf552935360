"""Arrays of noise: equal to the reference's, the same however they are cut, and distributed as they should be."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fastvae import reference
from fastvae.kernels import philox
from tests.support.tolerances import check

SEED = np.uint64(0x9E3779B97F4A7C15)
DRAWS = 2**21


def drawn(kernels, op, shape, seed=SEED, stream=philox.LATENT, step=3, first_row=0):
    out = np.full(shape, np.nan, np.float32)
    getattr(kernels, op)(seed, stream, step, first_row, out)
    return out


def binarized(kernels, x, seed=SEED, step=3, first_row=0):
    x = x.copy()
    kernels.binarize_inplace(x, seed, step, first_row)
    return x


@pytest.fixture(scope="module")
def many(kernels):
    """Two million normals, in 4096 rows."""
    return drawn(kernels, "normal_noise", (4096, DRAWS // 4096)).astype(np.float64)


# ---- which numbers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5, 7, 8, 33])
@pytest.mark.parametrize("stream", [philox.LATENT, philox.PRIOR, philox.INITIALISATION])
def test_equal_to_the_reference(kernels, columns, stream):
    place = (SEED, stream, 2**31 + 5, 2**31 - 2)
    u = drawn(kernels, "uniform_noise", (5, columns), *place)
    np.testing.assert_array_equal(u, reference.uniforms(*place, (5, columns)))
    n = drawn(kernels, "normal_noise", (5, columns), *place)
    expected = reference.normals(*place, (5, columns))
    check(n, expected, "normal", 6.8)  # the longest radius
    np.testing.assert_array_less(np.abs(n - expected), 3e-6)


@pytest.mark.parametrize("op", ["normal_noise", "uniform_noise"])
@pytest.mark.parametrize("cut", [1, 7, 64, 128, 200])
def test_independent_of_the_cut(kernels, op, cut):
    whole = drawn(kernels, op, (257, 19))
    parts = [drawn(kernels, op, (min(cut, 257 - i), 19), first_row=i) for i in range(0, 257, cut)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_binarization_independent_of_the_cut(kernels):
    x = np.random.default_rng(0).uniform(size=(257, 19)).astype(np.float32)
    whole = binarized(kernels, x)
    parts = [binarized(kernels, x[i : i + 50], first_row=i) for i in range(0, 257, 50)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_independent_of_threads(kernels):
    whole = drawn(kernels, "normal_noise", (4000, 21))
    out = np.empty_like(whole)

    def piece(i):
        kernels.normal_noise(SEED, philox.LATENT, 3, i, out[i : i + 125])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(piece, range(0, 4000, 125)))
    np.testing.assert_array_equal(out, whole)


def test_wider_arrays_begin_alike(kernels):
    """Column j of row i is the same number in every array that holds it."""
    wide = drawn(kernels, "normal_noise", (9, 30))
    for columns in (1, 2, 3, 4, 6, 29):
        np.testing.assert_array_equal(drawn(kernels, "normal_noise", (9, columns)), wide[:, :columns])


@pytest.mark.parametrize(
    "change",
    [
        {"seed": np.uint64(int(SEED) ^ 1)},
        {"seed": np.uint64(int(SEED) ^ 2**63)},
        {"stream": philox.PRIOR},
        {"step": 4},
        {"first_row": 1000},
    ],
    ids=["seed", "high bit of the seed", "stream", "step", "row"],
)
def test_every_coordinate_counts(kernels, change):
    here, there = (drawn(kernels, "uniform_noise", (100, 12), **c) for c in ({}, change))
    assert np.mean(here == there) < 0.01
    assert len(np.unique(here)) > 1190  # each row and each column has its own; float32 makes few of them alike


def test_the_next_row_is_the_next_first_row(kernels):
    here, next_row = (drawn(kernels, "normal_noise", (100, 12), first_row=i) for i in (0, 1))
    np.testing.assert_array_equal(here[1:], next_row[:-1])


# ---- how they are distributed ------------------------------------------------------------------------------------


def test_moments_of_normals(many):
    """Each within 4 standard errors: of the mean 1, the variance 2, the third moment 15, the fourth 96 over n."""
    for power, expected, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        assert abs((many**power).mean() - expected) < 4 * math.sqrt(variance / many.size), power


def test_moments_of_uniforms(kernels):
    u = drawn(kernels, "uniform_noise", (4096, DRAWS // 4096)).astype(np.float64)
    assert u.min() > 0
    assert u.max() <= 1
    assert abs(u.mean() - 0.5) < 4 * math.sqrt(1 / 12 / u.size)
    assert abs(u.var() - 1 / 12) < 4 * math.sqrt(1 / 180 / u.size)


def kolmogorov_p(cdf_of_sorted):
    """Asymptotic p-value of the largest distance between the empirical distribution and the given one."""
    n = cdf_of_sorted.size
    i = np.arange(n)
    distance = max((cdf_of_sorted - i / n).max(), ((i + 1) / n - cdf_of_sorted).max())
    t = (math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n)) * distance
    return min(1.0, 2 * sum((-1) ** (k - 1) * math.exp(-2 * k * k * t * t) for k in range(1, 101)))


def normal_cdf(x):
    return 0.5 * np.array([math.erfc(-v / math.sqrt(2)) for v in x])


def test_kolmogorov_smirnov(kernels, many):
    n = np.sort(many.ravel()[:200_000])
    assert kolmogorov_p(normal_cdf(n)) > 1e-4
    assert kolmogorov_p(normal_cdf(n * 1.02)) < 1e-4, "a deviation 2% off would pass unseen"
    u = np.sort(drawn(kernels, "uniform_noise", (1000, 200)).astype(np.float64).ravel())
    assert kolmogorov_p(u) > 1e-4


def test_tails_of_normals(many):
    for bound in (3.0, 4.0):
        expected = many.size * math.erfc(bound / math.sqrt(2))
        assert abs((np.abs(many) > bound).sum() - expected) < 4 * math.sqrt(expected)


@pytest.mark.parametrize(("lag_row", "lag_column"), [(0, 1), (0, 2), (0, 3), (0, 4), (1, 0), (2, 0), (1, 1)])
def test_neighbours_do_not_correlate(many, lag_row, lag_column):
    rows, columns = many.shape
    here, there = many[: rows - lag_row, : columns - lag_column], many[lag_row:, lag_column:]
    for power, variance in [(1, 1.0), (2, 4.0)]:  # also of the squares: the two of a Box-Muller pair share a radius
        product = (here**power - (power == 2)) * (there**power - (power == 2))
        assert abs(product.mean()) < 4 * math.sqrt(variance / here.size)


def test_steps_streams_and_seeds_do_not_correlate(kernels, many):
    shape = many.shape
    for change in ({"step": 4}, {"stream": philox.PRIOR}, {"seed": np.uint64(int(SEED) + 1)}):
        other = drawn(kernels, "normal_noise", shape, **change)
        assert abs((many * other).mean()) < 4 / math.sqrt(many.size)


# ---- binarisation ------------------------------------------------------------------------------------------------


def test_binarization_never_at_0_always_at_1(kernels):
    for value in (0.0, 1.0):
        x = np.full((1024, 1023), value, np.float32)
        np.testing.assert_array_equal(binarized(kernels, x), x)


def test_binarization_probabilities(kernels):
    """Of each probability, within 4 standard errors, in the full blocks and in the columns beyond them."""
    for columns in (64, 3):
        rows = 2**18 // columns
        for p in np.float32([0.001, 0.1, 0.25, 0.5, 0.9, 0.999]):
            out = binarized(kernels, np.full((rows, columns), p, np.float32))
            assert set(np.unique(out)) <= {0.0, 1.0}
            assert abs(out.mean() - p) < 4 * math.sqrt(p * (1 - p) / out.size), (columns, p)


@pytest.mark.parametrize("columns", [1, 3, 4, 6, 33])
def test_binarization_against_the_reference(kernels, columns):
    """1 where the upper 24 bits of the word, as a fraction, lie below the probability."""
    x = np.random.default_rng(0).uniform(size=(50, columns)).astype(np.float32)
    word = reference.words(SEED, reference.BINARIZATION, 3, 11, x.shape)
    expected = (word // 256) / 2.0**24 < x
    np.testing.assert_array_equal(binarized(kernels, x, first_row=11), expected)
