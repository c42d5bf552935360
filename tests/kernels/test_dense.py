"""The dense layer's kernels: values by hand and what the contract promises. Against the reference: test_contract.py."""

import numpy as np
import pytest

from fastvae import reference
from fastvae.contract_cases import adam_numbers
from fastvae.kernels.formulas import ACTIVATIONS, IDENTITY, RELU, SILU
from tests.support.tolerances import check

NAN = np.nan
SETTINGS = adam_numbers(4, 0.02, 0.85, 0.97, 1e-3, 0.1)  # step, learning rate, betas, epsilon, weight decay


def backward(kernels, x, saved, weight, activation, d_out, d_x):
    """Both halves of a layer's backward; return d_weight and d_bias."""
    d_weight, d_bias = np.full_like(weight, NAN), np.full(weight.shape[1], NAN, np.float32)
    kernels.dense_backward_input(saved, weight, activation, d_out, 0, d_x)
    kernels.dense_backward_weight(x, d_out, 0, len(weight), 0, d_weight, d_bias)
    return d_weight, d_bias


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
    d_x = np.empty((2, 2), np.float32)
    d_weight, d_bias = backward(kernels, x, y, weight, RELU, d_out, d_x)
    np.testing.assert_array_equal(d_out, [[1, 2, 0], [3, 0, -2]])
    np.testing.assert_array_equal(d_bias, [4, 2, -2])
    np.testing.assert_array_equal(d_weight, [[-2, 2, 2], [3.5, 4, -1]])
    np.testing.assert_array_equal(d_x, [[1, 4], [5, 6]])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_inputs_are_left_alone(kernels, activation):
    rng = np.random.default_rng(0)
    x, weight, bias, d_out = (rng.normal(size=s).astype(np.float32) for s in ((3, 5), (5, 4), (4,), (3, 4)))
    kept = [a.copy() for a in (x, weight, bias)]
    out = np.empty((3, 4), np.float32)
    saved = np.empty_like(out) if activation == "silu" else out
    kernels.dense_forward(x, weight, bias, ACTIVATIONS[activation], out, saved)
    kept += [saved.copy()]
    backward(kernels, x, saved, weight, ACTIVATIONS[activation], d_out, np.empty_like(x))
    kept += [d_out.copy()]
    moments = [np.zeros(s, np.float32) for s in (weight.shape, weight.shape, bias.shape, bias.shape)]
    kernels.dense_adam_inplace(x, d_out, 0, 5, weight.copy(), *moments[:2], bias.copy(), *moments[2:], *SETTINGS)
    for now, before in zip((x, weight, bias, saved, d_out), kept, strict=True):
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
    d_x = np.empty_like(x)
    d_weight, d_bias = backward(kernels, x, saved, weight, ACTIVATIONS[activation], d_out, d_x)
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
    d_out = np.array([[3, 5]], np.float32)
    kernels.dense_forward(x, weight, bias, ACTIVATIONS[activation], out, saved)
    _, d_bias = backward(kernels, x, saved, weight, ACTIVATIONS[activation], d_out, None)
    value, derivative = reference.ACTIVATIONS[activation]
    np.testing.assert_allclose(out, value(a.astype(float)), rtol=1e-7, atol=1e-37)
    np.testing.assert_allclose(d_bias, [3, 5] * derivative(a.astype(float))[0], rtol=1e-7, atol=1e-37)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_d_x_is_added_to_what_is_there(kernels, activation):
    """For two layers that read one input: the same bits as the two gradients and their sum."""
    rng = np.random.default_rng(0)
    for rows, columns, outputs in ((3, 5, 4), (29, 34, 17), (1, 1, 1), (8, 64, 9)):
        weight, saved, d_out = (
            rng.normal(size=s).astype(np.float32) for s in ((columns, outputs), (rows, outputs), (rows, outputs))
        )
        before = rng.normal(size=(rows, columns)).astype(np.float32)
        alone, added = np.empty_like(before), before.copy()
        kernels.dense_backward_input(saved, weight, ACTIVATIONS[activation], d_out.copy(), 0, alone)
        kernels.dense_backward_input(saved, weight, ACTIVATIONS[activation], d_out.copy(), 1, added)
        np.testing.assert_array_equal(added, before + alone)


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (7, 33, 5), (30, 40, 17), (64, 300, 256), (16, 784, 120), (5, 140, 1030)], ids=str
)
def test_gradient_and_adam_at_once_are_the_two_after_each_other(kernels, shape):
    """Bit for bit: a clipped run goes the way of one that is not while nothing is clipped. Also for weights that are
    made in several strips, and where rows clash in the cache."""
    rows, columns, outputs = shape
    rng = np.random.default_rng(list(shape))
    x, d_a = (rng.normal(size=(rows, n)).astype(np.float32) for n in (columns, outputs))
    flat, size = rng.random((3, columns * outputs + outputs), np.float32), columns * outputs
    expected, gradient = flat.copy(), np.full(size + outputs, NAN, np.float32)
    kernels.dense_backward_weight(x, d_a, 0, columns, 0, gradient[:size].reshape(columns, outputs), gradient[size:])
    kernels.adam_inplace(expected[0], gradient, expected[1], expected[2], *SETTINGS, 1.0)
    views = [a[:size].reshape(columns, outputs) for a in flat] + [a[size:] for a in flat]
    kernels.dense_adam_inplace(x, d_a, 0, columns, *views, *SETTINGS)
    np.testing.assert_array_equal(flat, expected)


@pytest.mark.parametrize("parts", [2, 3, 7, 50])
def test_parts_of_a_weight_are_the_whole(kernels, parts):
    """However many threads share a layer, also where some get no row: bit for bit, every row and the bias once."""
    rows, columns, outputs = 19, 41, 35
    rng = np.random.default_rng(0)
    x, d_a = (rng.normal(size=(rows, n)).astype(np.float32) for n in (columns, outputs))
    shapes = [(columns, outputs)] * 3 + [(outputs,)] * 3
    start = [rng.random(s, np.float32) for s in shapes]
    found = []
    for count in (1, parts):
        gradients, arrays = [np.full(s, NAN, np.float32) for s in (shapes[0], shapes[3])], [a.copy() for a in start]
        for part in range(count):
            piece = columns * part // count, columns * (part + 1) // count
            kernels.dense_backward_weight(x, d_a, *piece, 0, *gradients)
            kernels.dense_adam_inplace(x, d_a, *piece, *arrays, *SETTINGS)
        found.append([*gradients, *arrays])
    for whole, pieces in zip(*found, strict=True):
        np.testing.assert_array_equal(pieces, whole)


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 33, 5), (19, 41, 35), (64, 300, 256), (5, 140, 1030)], ids=str)
@pytest.mark.parametrize("parts", [1, 2, 50])
def test_gradients_of_two_uses_add_up(kernels, shape, parts):
    """Of a weight that stands twice in a model: the bits of both gradients and their sum, however it is shared."""
    rows, columns, outputs = shape
    rng = np.random.default_rng(list(shape))
    uses = [[rng.standard_normal((rows, n), np.float32) for n in (columns, outputs)] for _ in range(2)]
    alone = [[np.full(s, NAN, np.float32) for s in ((columns, outputs), (outputs,))] for _ in uses]
    for use, gradients in zip(uses, alone, strict=True):
        kernels.dense_backward_weight(*use, 0, columns, 0, *gradients)
    added = [np.full_like(gradient, NAN) for gradient in alone[0]]
    for accumulate, use in enumerate(uses):
        for part in range(parts):
            piece = columns * part // parts, columns * (part + 1) // parts
            kernels.dense_backward_weight(*use, *piece, accumulate, *added)
    for found, one, other in zip(added, *alone, strict=True):
        np.testing.assert_array_equal(found, one + other)
