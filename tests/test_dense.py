"""The dense layer's kernels: values by hand and what the contract promises. Against the reference: test_contract.py."""

import numpy as np
import pytest

import reference
from fastvae.kernels.formulas import ACTIVATIONS, IDENTITY, RELU, SILU
from tolerances import check

NAN = np.nan


def test_forward_by_hand(kernels):
    x = np.array([[1, 2], [-1, 0.5]], np.float32)
    weight = np.array([[1, 0, -1], [2, 1, 0]], np.float32)
    bias = np.array([0.5, -1, 0], np.float32)
    out = np.empty((2, 3), np.float32)
    kernels.dense_forward(x, weight, bias, IDENTITY, out, out)
    np.testing.assert_array_equal(out, [[5.5, 1, -1], [0.5, -0.5, 1]])
    kernels.dense_forward(x, weight, bias, RELU, out, out)
    np.testing.assert_array_equal(out, [[5.5, 1, 0], [0.5, 0, 1]])


def test_backward_by_hand(kernels):
    x = np.array([[1, 2], [-1, 0.5]], np.float32)
    weight = np.array([[1, 0, -1], [2, 1, 0]], np.float32)
    y = np.array([[5.5, 1, 0], [0.5, 0, 1]], np.float32)
    d_out = np.array([[1, 2, 4], [3, 5, -2]], np.float32)
    d_x, d_weight, d_bias = np.empty((2, 2), np.float32), np.empty((2, 3), np.float32), np.empty(3, np.float32)
    kernels.dense_backward(x, y, weight, RELU, d_out, d_x, d_weight, d_bias)
    np.testing.assert_array_equal(d_out, [[1, 2, 0], [3, 0, -2]])
    np.testing.assert_array_equal(d_bias, [4, 2, -2])
    np.testing.assert_array_equal(d_weight, [[-2, 2, 2], [3.5, 4, -1]])
    np.testing.assert_array_equal(d_x, [[1, 4], [5, 6]])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_inputs_are_left_alone(kernels, activation):
    rng = np.random.default_rng(0)
    x, weight, bias, d_out = (rng.normal(size=s).astype(np.float32) for s in ((3, 5), (5, 4), (4,), (3, 4)))
    kept = [a.copy() for a in (x, weight, bias)]
    out, d_weight, d_bias = np.empty((3, 4), np.float32), np.empty((5, 4), np.float32), np.empty(4, np.float32)
    saved = np.empty_like(out) if activation == "silu" else out
    kernels.dense_forward(x, weight, bias, ACTIVATIONS[activation], out, saved)
    kernels.dense_backward(x, saved, weight, ACTIVATIONS[activation], d_out, None, d_weight, d_bias)
    for now, before in zip((x, weight, bias), kept, strict=True):
        np.testing.assert_array_equal(now, before)


def test_silu_saves_its_argument(kernels):
    """Its value does not tell it: silu(-1) and silu(-1.58...) are nearly the same number."""
    x, weight, bias = (np.array(v, np.float32) for v in ([[-1.0, 2.0]], np.eye(2), [0.25, 0.5]))
    out, saved = np.empty((2, 1, 2), np.float32)
    kernels.dense_forward(x, weight, bias, SILU, out, saved)
    np.testing.assert_array_equal(saved, [[-0.75, 2.5]])
    check(out, reference.silu(saved.astype(float)), "dense", 1)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_is_seen(kernels, activation):
    """One NaN in x reaches every output of its row, and no other row."""
    x, weight, bias = np.ones((3, 4), np.float32), np.ones((4, 9), np.float32), np.zeros(9, np.float32)
    x[1, 2] = NAN
    out = np.empty((3, 9), np.float32)
    kernels.dense_forward(x, weight, bias, ACTIVATIONS[activation], out, np.empty_like(out))
    np.testing.assert_array_equal(np.isnan(out), np.array([[False], [True], [False]]) & np.ones(9, bool))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_in_the_gradient_is_seen(kernels, activation):
    x, weight, saved = np.ones((3, 4), np.float32), np.ones((4, 2), np.float32), np.full((3, 2), 0.5, np.float32)
    d_out = np.ones((3, 2), np.float32)
    d_out[1, 0] = NAN
    d_x, d_weight, d_bias = np.empty_like(x), np.empty_like(weight), np.empty(2, np.float32)
    kernels.dense_backward(x, saved, weight, ACTIVATIONS[activation], d_out, d_x, d_weight, d_bias)
    np.testing.assert_array_equal(np.isnan(d_bias), [True, False])
    np.testing.assert_array_equal(np.isnan(d_weight), [[True, False]] * 4)
    np.testing.assert_array_equal(np.isnan(d_x).any(axis=1), [False, True, False])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_saturated_units(kernels, activation):
    """At +-1e4 every value and every derivative is what it is in the limit, and finite."""
    a = np.array([[1e4, -1e4]], np.float32)
    x, weight, bias = np.ones((1, 1), np.float32), a, np.zeros(2, np.float32)
    out = np.empty((1, 2), np.float32)
    saved = np.empty_like(out) if activation == "silu" else out
    d_out, d_weight, d_bias = np.array([[3, 5]], np.float32), np.empty((1, 2), np.float32), np.empty(2, np.float32)
    kernels.dense_forward(x, weight, bias, ACTIVATIONS[activation], out, saved)
    kernels.dense_backward(x, saved, weight, ACTIVATIONS[activation], d_out, None, d_weight, d_bias)
    value, derivative = reference.ACTIVATIONS[activation]
    np.testing.assert_allclose(out, value(a.astype(float)), rtol=1e-7, atol=1e-37)
    np.testing.assert_allclose(d_bias, [3, 5] * derivative(a.astype(float))[0], rtol=1e-7, atol=1e-37)
