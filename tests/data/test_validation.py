"""Arrays as they enter, their statistics in pieces, and scaling."""

import numpy as np
import pytest

from fastvae.data import validation
from fastvae.data.minibatches import Examples
from fastvae.data.scaling import check_unit_range, scaling
from fastvae.data.validation import as_examples, check_values, statistics
from fastvae.kernels import cpu

RNG = np.random.default_rng(0)
X = RNG.normal(size=(103, 6)) * [1, 10, 1e-3, 1e4, 1, 1] + [0, 5, 1, 1e5, -3, 0]


@pytest.mark.parametrize("rows", [1, 7, 103, 1000])
def test_statistics_do_not_depend_on_the_pieces(monkeypatch, rows):
    monkeypatch.setattr(validation, "PIECE_BYTES", rows * 6 * 8)
    facts = statistics(X)
    np.testing.assert_allclose(facts.mean, X.mean(0), rtol=1e-12)
    np.testing.assert_allclose(facts.deviation, X.std(0), rtol=1e-10)
    assert (facts.smallest == X.min(0)).all()
    assert (facts.largest == X.max(0)).all()


@pytest.mark.parametrize(("offset", "spread"), [(1.7e9, 1e-3), (273.15, 1e-10), (-1e15, 10), (0, 1e-30), (1e30, 1e18)])
@pytest.mark.parametrize("rows", [13, 10**6])
def test_a_small_spread_far_from_zero_is_measured_and_standardised(monkeypatch, rows, offset, spread):
    """Times within a millisecond, in seconds since 1970: not constant, and as exact as the values, piece by piece."""
    monkeypatch.setattr(validation, "PIECE_BYTES", rows * 8)
    data = offset + spread * np.random.default_rng(0).normal(size=(100_000, 1))
    exact = (data - data[0]).std()  # the differences are exact
    facts = statistics(data)
    np.testing.assert_allclose(facts.deviation, exact, rtol=1e-6)
    np.testing.assert_allclose(
        facts.mean, data[0] + (data - data[0]).mean(), atol=np.spacing(abs(offset)) + 1e-9 * spread
    )
    shift, factor = scaling("standard", facts)
    scaled = (data - shift) / factor
    assert abs(scaled.mean()) < 2e-3
    assert scaled.std() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e6 + 0.1, -1.7e9 + 1 / 7, 0.0])
@pytest.mark.parametrize("steps", [0, 1, 5])
def test_rounding_is_no_spread(value, steps):
    """A column of one value, to some last bits, has no deviation to divide by."""
    column = np.full((1000, 1), value)
    column[::3] += steps * np.spacing(abs(value))
    if value or not steps:
        with pytest.raises(ValueError, match="1 of 1 columns are constant"):
            scaling("standard", statistics(column))


def test_every_bad_entry_is_counted_over_all_pieces(monkeypatch):
    monkeypatch.setattr(validation, "PIECE_BYTES", 10 * 6 * 8)
    bad = X.copy()
    bad[15, 2], bad[15, 3], bad[90, 0] = np.nan, -np.inf, 1e39
    for check in (statistics, check_values):
        with pytest.raises(ValueError, match=r"X has 3 entries .*NaN at row 15, column 2"):
            check(bad)


def test_nothing_is_copied_that_need_not_be():
    assert np.shares_memory(as_examples(X), X)
    assert as_examples(X, columns=6) is not None


@pytest.mark.parametrize("scale", ["standard", "minmax", (-5, 7), None])
def test_scaling_maps_as_it_says(scale):
    offset, factor = scaling(scale, statistics(X))
    scaled = (X - offset) / factor
    if scale == "standard":
        np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-10)
        np.testing.assert_allclose(scaled.std(0), 1)
    elif scale == "minmax":
        np.testing.assert_allclose([scaled.min(0), scaled.max(0)], [[0] * 6, [1] * 6])
    elif scale is None:
        assert (scaled == X).all()
    else:
        np.testing.assert_allclose(scaled, (X + 5) / 12)


def test_minmax_takes_constant_columns_to_zero():
    constant = X.copy()
    constant[:, 2] = 4
    offset, factor = scaling("minmax", statistics(constant))
    assert (((constant - offset) / factor)[:, 2] == 0).all()


def test_unit_range_tells_raw_and_scaled():
    one, zero = np.ones(2), np.zeros(2)
    check_unit_range(zero, one, zero, one)
    with pytest.raises(ValueError, match=r"values in \[0, 3\]; likelihood"):
        check_unit_range(zero, 3 * one, zero, one)
    with pytest.raises(ValueError, match=r"values in \[0, 3\] \(scaled: \[0, 1.5\]\)"):
        check_unit_range(zero, 3 * one, zero, 2 * one)


@pytest.mark.parametrize("dtype", ["?", "u1", "i2", "i8", "f4", "f8", "f2", ">f4", ">i4", "g"])
def test_examples_of_every_dtype(dtype):
    data = (RNG.random((30, 4)) * 10).astype(dtype)
    examples = Examples(data, np.full(4, 1.0), np.full(4, 3.0), np.uint64(0), cpu)
    indices, out = np.array([3, 29, 3, 0]), np.empty((4, 4), np.float32)
    examples.fill(indices, out, 1, 0)
    np.testing.assert_allclose(out, (data[indices].astype(float) - 1) / 3, rtol=1e-6)


def test_wide_values_keep_their_differences():
    seconds = 1.7e9 + np.arange(20.0)[:, None]  # float32 tells none of these apart
    offset, factor = scaling("standard", statistics(seconds))
    examples = Examples(seconds, offset, factor, np.uint64(0), cpu)
    out = np.empty((20, 1), np.float32)
    examples.fill(np.arange(20), out, 1, 0)
    np.testing.assert_allclose(out[:, 0], (np.arange(20) - 9.5) / np.arange(20).std(), rtol=1e-5)


def test_dynamic_binarisation_is_drawn_anew_each_step_and_the_same_for_the_same():
    data = RNG.random((50, 9)).astype(np.float32)
    examples = Examples(data, np.zeros(9), np.ones(9), np.uint64(3), cpu, "dynamic")
    draws = np.empty((3, 50, 9), np.float32)
    for draw, step in zip(draws, (1, 2, 1), strict=True):
        examples.fill(np.arange(50), draw, step, 0)
    assert set(np.unique(draws)) == {0.0, 1.0}
    assert (draws[0] == draws[2]).all()
    assert (draws[0] != draws[1]).mean() > 0.2
    with pytest.raises(ValueError, match="binarize='dinamic' is not known: did you mean 'dynamic'"):
        Examples(data, np.zeros(9), np.ones(9), np.uint64(3), cpu, "dinamic")
