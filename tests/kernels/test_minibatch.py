"""Minibatches: every shuffle a permutation, uniformly drawn; every dtype gathered and scaled."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastvae.kernels import philox

SEED = np.uint64(2**63 + 11)
COUNTS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 63, 64, 65, 255, 256, 257, 1000, 60_000]


def order(kernels, count, seed=SEED, epoch=1, start=0, n=None):
    out = np.full(count - start if n is None else n, -1, np.int64)
    kernels.shuffled_indices(np.uint64(seed), epoch, count, start, out)
    return out


# ---- shuffled_indices --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("epoch", [0, 1, 2**31])
def test_a_permutation(kernels, count, epoch):
    np.testing.assert_array_equal(np.sort(order(kernels, count, epoch=epoch)), np.arange(count))


@settings(max_examples=50, deadline=None)
@given(count=st.integers(1, 5000), seed=st.integers(0, 2**64 - 1), epoch=st.integers(0, 2**32))
def test_a_permutation_for_any_count(count, seed, epoch):
    from fastvae.kernels import cpu

    np.testing.assert_array_equal(np.sort(order(cpu, count, seed, epoch)), np.arange(count))


@pytest.mark.parametrize("size", [1, 7, 128])
def test_chunks_agree_with_the_whole(kernels, size):
    whole = order(kernels, 257)
    chunks = [order(kernels, 257, start=i, n=min(size, 257 - i)) for i in range(0, 257, size)]
    np.testing.assert_array_equal(np.concatenate(chunks), whole)


def test_more_rows_than_32_bits(kernels):
    """A few entries of a permutation of 2^40: in range, different, and spread over it."""
    found = order(kernels, 2**40, start=2**39, n=1000)
    assert len(np.unique(found)) == 1000
    assert 0 <= found.min() < 2**34
    assert 2**40 - 2**34 < found.max() < 2**40


def test_every_epoch_and_seed_has_its_own(kernels):
    here = order(kernels, 1000)
    for change in ({"epoch": 2}, {"seed": int(SEED) ^ 1}, {"seed": int(SEED) ^ 2**63}, {"seed": int(SEED) ^ 2**32}):
        other = order(kernels, 1000, **change)
        assert np.mean(here == other) < 0.01
    np.testing.assert_array_equal(order(kernels, 1000), here)


def test_neighbours_are_scattered(kernels):
    """Position and entry do not correlate, nor do neighbouring entries."""
    found = order(kernels, 60_000).astype(float)
    bound = 4 / math.sqrt(60_000)
    assert abs(np.corrcoef(found, np.arange(60_000))[0, 1]) < bound
    assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < bound


def deviates(counts, degrees):
    """Chi-square of equally likely cells, as standard deviations from its mean."""
    expected = counts.sum() / counts.size
    return (((counts - expected) ** 2 / expected).sum() - degrees) / math.sqrt(2 * degrees)


@pytest.mark.parametrize(("count", "seeds"), [(2, 4000), (5, 4000), (10, 20_000), (100, 5000)])
def test_positions_are_uniform(kernels, count, seeds):
    """Over seeds, every index stands at every position equally often: (n - 1)^2 degrees of freedom."""
    table = np.zeros((count, count))
    out = np.empty(count, np.int64)
    positions = np.arange(count)
    for seed in range(seeds):
        kernels.shuffled_indices(np.uint64(seed), 0, count, 0, out)
        table[positions, out] += 1
    assert abs(deviates(table, (count - 1) ** 2)) < 4.5


def test_epochs_are_as_uniform_as_seeds(kernels):
    table = np.zeros((10, 10))
    for epoch in range(5000):
        table[np.arange(10), order(kernels, 10, epoch=epoch)] += 1
    assert abs(deviates(table, 81)) < 4.5


def test_pairs_are_uniform(kernels):
    """The first two entries of seven: 42 ordered pairs, equally likely."""
    table = np.zeros((7, 7))
    for seed in range(8000):
        first, second = order(kernels, 7, seed=seed, n=2)
        table[first, second] += 1
    assert (np.diag(table) == 0).all()
    assert abs(deviates(table[~np.eye(7, dtype=bool)], 41)) < 4.5


@pytest.mark.parametrize("count", [4, 5, 6])
def test_small_permutations_are_uniform(kernels, count):
    """All 24, 120 or 720 of them equally often, over seeds and epochs."""
    rows = np.array([order(kernels, count, seed, epoch) for seed in range(1500) for epoch in range(20)])
    _, frequencies = np.unique(rows @ count ** np.arange(count), return_counts=True)
    cells = math.factorial(count)
    assert len(frequencies) == cells
    assert abs(deviates(frequencies, cells - 1)) < 4.5


def is_odd(permutation):
    unseen, cycles = set(range(len(permutation))), 0
    while unseen:
        cycles, index = cycles + 1, min(unseen)
        while index in unseen:
            unseen.remove(index)
            index = int(permutation[index])
    return (len(permutation) - cycles) % 2


@pytest.mark.parametrize("count", [2, 3, 15, 16, 17, 63, 64, 65, 255, 256, 257])
def test_even_and_odd_permutations_are_equally_likely(kernels, count):
    n = 1600
    odd = sum(is_odd(order(kernels, count, seed, epoch)) for seed in range(n // 8) for epoch in range(8))
    assert abs(odd / n - 0.5) < 4.5 * 0.5 / math.sqrt(n)


@pytest.mark.parametrize("count", [9, 33, 64, 65, 256])
def test_orders_of_distant_entries_are_uniform(kernels, count):
    """Which of five entries is larger than which: 120 cases."""
    places = np.unique([0, count // 3, count // 2, count - 2, count - 1])
    found = np.array([order(kernels, count, seed)[places].argsort() for seed in range(4000)])
    _, frequencies = np.unique(found @ 5 ** np.arange(5), return_counts=True)
    assert len(frequencies) == 120
    assert abs(deviates(frequencies, 119)) < 4.5


def test_the_stream_is_its_own(kernels):
    """The keys are words that no other use draws."""
    assert philox.SHUFFLE not in (philox.LATENT, philox.BINARIZATION, philox.PRIOR, philox.INITIALISATION)


# ---- gather ------------------------------------------------------------------------------------------------------

DTYPES = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]


@pytest.mark.parametrize("wide", ["float32", "float64"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_gather(kernels, dtype, wide):
    rng = np.random.default_rng(0)
    data = rng.integers(0, 2 if dtype == "bool" else 100, (20, 7)).astype(dtype)
    indices = rng.integers(0, 20, 33)
    offset, scale = rng.normal(size=7).astype(wide), rng.uniform(0.5, 3, 7).astype(wide)
    out = np.full((33, 7), np.nan, np.float32)
    kernels.gather(data, indices, offset, scale, out)
    expected = (data[indices].astype(float) - offset) / scale
    np.testing.assert_allclose(out, expected, rtol=3e-7, atol=1e-5 if wide == "float32" else 1e-7)


def test_gather_by_hand(kernels):
    out = np.empty((3, 2), np.float32)
    data = np.array([[0, 255], [128, 51]], np.uint8)
    kernels.gather(data, np.array([1, 0, 1]), np.zeros(2, np.float32), np.full(2, 255, np.float32), out)
    np.testing.assert_array_equal(out, np.float32([[128 / 255, 0.2], [0, 1], [128 / 255, 0.2]]))


@pytest.mark.parametrize("dtype", ["int64", "float64"])
def test_gather_keeps_what_float32_would_lose(kernels, dtype):
    """Seconds since 1970, one apart: equal in float32, 0, 1, 2, ... after the offset."""
    data = (1_700_000_000 + np.arange(5)[:, None]).astype(dtype)
    assert len(np.unique(data.astype(np.float32))) == 1
    out = np.empty((5, 1), np.float32)
    kernels.gather(data, np.arange(5), np.array([1.7e9]), np.ones(1), out)
    np.testing.assert_array_equal(out[:, 0], np.arange(5))


def test_gather_from_views(kernels):
    """Rows of a strided, read-only array, as a memory map gives them."""
    data = np.arange(60, dtype=np.float32).reshape(6, 10)[::2, ::3]
    data.flags.writeable = False
    out = np.empty((2, 4), np.float32)
    kernels.gather(data, np.array([2, 0]), np.zeros(4, np.float32), np.ones(4, np.float32), out)
    np.testing.assert_array_equal(out, [[40, 43, 46, 49], [0, 3, 6, 9]])


def test_gather_passes_nan(kernels):
    data = np.array([[1.0, np.nan]])
    out = np.empty((1, 2), np.float32)
    kernels.gather(data, np.zeros(1, np.int64), np.zeros(2), np.ones(2), out)
    np.testing.assert_array_equal(out, [[1, np.nan]])


# ---- rows in order -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", [lambda X: X, lambda X: X[::3, ::2], lambda X: X[::-1, ::-1], lambda X: X.T])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_in_order_are_those_gathered(kernels, dtype, view):
    data = view(np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 100, (20, 7)).astype(dtype))
    rows, columns = data.shape
    for wide in ("float32", "float64"):
        offset, scale = np.arange(columns).astype(wide), np.arange(1, columns + 1).astype(wide)
        found, expected = (np.full((rows, columns), np.nan, np.float32) for _ in range(2))
        kernels.gather(data, np.arange(rows), offset, scale, expected)
        assert kernels.read_rows(data, offset, scale, -1e9, 1e9, found) == 0
        np.testing.assert_array_equal(found, expected)


def test_what_is_out_of_range_is_counted(kernels):
    """The limits themselves are within; NaN and infinity are not within any."""
    data = np.array([[0, 1, -1e-9], [np.nan, 0.5, 1 + 1e-6], [np.inf, -np.inf, 1]])
    out, nothing, one = np.empty((3, 3), np.float32), np.zeros(3), np.ones(3)
    assert kernels.read_rows(data, nothing, one, 0.0, 1.0, out) == 5
    largest = float(np.finfo(np.float32).max)
    assert kernels.read_rows(data, nothing, one, -largest, largest, out) == 3
    assert (
        kernels.read_rows(
            np.full((2, 50), 1e300), np.zeros(50), np.ones(50), -largest, largest, np.empty((2, 50), np.float32)
        )
        == 100
    )


# ---- threshold ---------------------------------------------------------------------------------------------------


def test_threshold(kernels):
    """Strictly above; the threshold is taken as the float32 that data of the same value are."""
    x = np.array([[0, 0.1, 0.5, 0.5000001, 1, -3]], np.float32)
    for cut, expected in [(0.5, [0, 0, 0, 1, 1, 0]), (0.1, [0, 0, 1, 1, 1, 0]), (0, [0, 1, 1, 1, 1, 0])]:
        out = x.copy()
        kernels.threshold_inplace(out, cut)
        np.testing.assert_array_equal(out, [expected])
