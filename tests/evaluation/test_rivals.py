"""The dumbest models of the same data, for many rows, for constant columns, and for rows that lie on a GPU."""

import math

import numpy as np
import pytest

from fastvae.data.device_rows import DeviceRows
from fastvae.evaluation.grid import dequantized, grid_step
from fastvae.evaluation.linear import LinearVAE
from fastvae.evaluation.rivals import GAUSSIAN, INDEPENDENT, rivals, rivals_by_row
from fastvae.models import linear_start
from fastvae.models.linear_start import gaussian_log_density


class Rows(DeviceRows):
    """Rows that can be had on the host by a copy of a contiguous range alone, as those on a GPU."""

    def host(self) -> np.ndarray:
        assert self.array.flags.c_contiguous
        return self.array.copy()


def test_all_rows_are_scored_in_whatever_order(monkeypatch):
    monkeypatch.setattr(linear_start, "MOST_NUMBERS", 8 * 400)
    linear = LinearVAE.drawn(8, 2, 0.3, 1)
    model, X = linear.estimator(), linear.draw(4000, 2)
    by_distance = np.argsort(np.square(X - linear.mean).sum(axis=1))
    shuffled, in_order = (rivals(model, model.examples(rows)) for rows in (X, X[by_distance]))
    assert set(shuffled) == {GAUSSIAN, INDEPENDENT}
    for name, value in shuffled.items():
        assert in_order[name] == pytest.approx(value, abs=0.1)
    assert shuffled[GAUSSIAN] == pytest.approx(linear.log_density(X).mean(), abs=0.2)


@pytest.mark.parametrize("halves", [True, False])
def test_each_row_has_its_own(halves):
    """By a Gaussian of SciPy's formula, which is shrunk by next to nothing for so many rows."""
    linear = LinearVAE.drawn(5, 2, 0.3, 1)
    model, X, new = linear.estimator(), linear.draw(3000, 2), linear.draw(1501, 3)
    found = rivals_by_row(model, model.examples(new), None if halves else model.examples(X))
    for name, values in rivals(model, model.examples(new), None if halves else model.examples(X)).items():
        assert values == found[name].mean()
    expected = np.empty((2, len(new)))
    for i in (0, 1):
        known = new[1 - i :: 2] if halves else X
        mean, C, rows = known.mean(axis=0), np.cov(known.T, bias=True), new[i::2] - known.mean(axis=0)
        squares = (rows * np.linalg.solve(C, rows.T).T).sum(axis=1)
        expected[0, i::2] = -0.5 * (squares + np.linalg.slogdet(2 * np.pi * C)[1])
        apart = (new[i::2] - mean) ** 2 / known.var(axis=0) + np.log(2 * np.pi * known.var(axis=0))
        expected[1, i::2] = -0.5 * apart.sum(axis=1)
    np.testing.assert_allclose(found[GAUSSIAN], expected[0], atol=0.05, rtol=0.01)
    np.testing.assert_allclose(found[INDEPENDENT], expected[1], atol=1e-3)


def test_pieces_change_nothing(monkeypatch):
    X, new = np.random.default_rng(0).normal(size=(2, 300, 3))
    whole = gaussian_log_density(X, new, slice(0, None, 2), slice(1, None, 3))
    assert whole == pytest.approx(gaussian_log_density(X[::2], new[1::3]), abs=1e-12)
    monkeypatch.setattr("fastvae.data.validation.PIECE_BYTES", 8 * 3 * 7)
    assert whole == pytest.approx(gaussian_log_density(X, new, slice(0, None, 2), slice(1, None, 3)), abs=1e-12)


def test_constant_columns_count_alike_in_both():
    X, new = np.random.default_rng(0).normal(size=(2, 1000, 2))
    one, two = np.full((1000, 1), 0.1), np.full((1000, 1), 7.0)
    plain = np.array(gaussian_log_density(X, new))
    wider = gaussian_log_density(np.hstack([one, X, two]), np.hstack([one, new, two]))
    np.testing.assert_allclose(wider, plain - math.log(2 * math.pi), atol=1e-9)
    apart = gaussian_log_density(np.hstack([X, two]), np.hstack([new, two + 3]))  # a constant that is another
    np.testing.assert_allclose(apart, plain - 0.5 * math.log(2 * math.pi) - 4.5, atol=1e-9)
    assert gaussian_log_density(two, two) == pytest.approx((-0.5 * math.log(2 * math.pi),) * 2)


def test_rows_on_a_gpu():
    X = np.random.default_rng(0).integers(0, 256, (300, 4)).astype(np.float32)
    assert grid_step(Rows(X)) == grid_step(X) == 1.0
    np.testing.assert_array_equal(dequantized(Rows(X), 1.0, 3), dequantized(X, 1.0, 3))
    parts = slice(0, None, 2), slice(1, None, 2)
    assert gaussian_log_density(Rows(X), Rows(X), *parts) == gaussian_log_density(X, X, *parts)
