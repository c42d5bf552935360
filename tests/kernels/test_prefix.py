"""Units that a row's columns move: values by hand, chunks and lanes and parts of them. More: test_contract.py."""

import numpy as np
import pytest

from fastvae import reference
from fastvae.kernels import cpu
from fastvae.kernels.ops import CHUNK, LANES, OPS
from tests.support.contract import as_a_program, check_op
from tests.support.tolerances import check

RNG = np.random.default_rng(0)


def operands(rows, columns, units, scale=0.3):
    x = (RNG.random((rows, columns)) < 0.3).astype(np.float32)
    weights = [RNG.standard_normal(s, np.float32) for s in ((columns, units), (units,), (columns, units), (columns,))]
    weights[0] *= np.float32(scale)
    return x, *weights


def forward(x, *weights):
    carried = np.full((len(x), -(-x.shape[1] // CHUNK) * weights[1].size), np.nan, np.float32)
    logits = np.full(x.shape, np.nan, np.float32)
    cpu.prefix_forward(x, *weights, carried, logits)
    return carried, logits


def backward(x, weight, output_weight, carried, d_logits, *pieces):
    gradients = [np.full(s, np.nan, np.float32) for s in (weight.shape, weight.shape[1:], weight.shape, x.shape[1:])]
    for first, last in pieces:
        cpu.prefix_backward(x, weight, output_weight, carried, d_logits, first, last, 0, *gradients)
    return gradients


def test_by_hand(kernels):
    """One unit: h is sigmoid(0) = 1/2, sigmoid(0) again, and sigmoid(ln 3) = 3/4 once the second column was 1."""
    x, weight = np.array([[0, 1, 0]], np.float32), np.array([[7], [np.log(3)], [5]], np.float32)
    bias, v, b = np.zeros(1, np.float32), np.array([[2], [4], [8]], np.float32), np.array([1, 0, -1], np.float32)
    carried, logits = np.empty((1, 1), np.float32), np.empty((1, 3), np.float32)
    kernels.prefix_forward(x, weight, bias, v, b, carried, logits)
    np.testing.assert_allclose(logits, [[2, 2, 5]], rtol=1e-6)
    d_weight, d_bias, d_v, d_b = (np.empty(s, np.float32) for s in ((3, 1), 1, (3, 1), 3))
    d_logits = np.array([[1, 2, 3]], np.float32)
    kernels.prefix_backward(x, weight, v, carried, d_logits, 0, 1, 0, d_weight, d_bias, d_v, d_b)
    np.testing.assert_allclose(d_weight, [[0], [3 * 8 * 3 / 16], [0]], rtol=1e-6)
    np.testing.assert_allclose(d_bias, [(1 * 2 + 2 * 4) / 4 + 3 * 8 * 3 / 16], rtol=1e-6)
    np.testing.assert_allclose(d_v, [[0.5], [1], [2.25]], rtol=1e-6)
    np.testing.assert_array_equal(d_b, [1, 2, 3])


@pytest.mark.parametrize(
    "shape", [(3, 2 * CHUNK + 5, 7), (5, CHUNK + 1, LANES + 1), (2, CHUNK - 1, 2 * LANES)], ids=str
)
@pytest.mark.parametrize("op", ["prefix_forward", "prefix_backward"])
def test_chunks_and_lanes(kernels, op, shape):
    check_op(kernels, op, shape, [as_a_program])


def test_parts_of_the_units_have_the_bits_of_all():
    x, weight, bias, v, b = operands(9, CHUNK + 9, 3 * LANES + 11)
    carried, _ = forward(x, weight, bias, v, b)
    d_logits, units = RNG.standard_normal(x.shape, np.float32), bias.size
    whole = backward(x, weight, v, carried, d_logits, (0, units))
    parts = backward(x, weight, v, carried, d_logits, (LANES, 2 * LANES), (2 * LANES, units), (0, LANES))
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_off_is_left_out_and_nothing_else():
    """Beside a forward that works out each sigmoid of each column."""
    x, weight, bias, v, b = operands(20, 150, 90)
    before = np.cumsum(x[:, :, None] * weight, axis=1) - x[:, :, None] * weight
    naive = np.einsum("bdh,dh->bd", reference.sigmoid(bias + before), v) + b
    np.testing.assert_allclose(forward(x, weight, bias, v, b)[1], naive, rtol=1e-4, atol=1e-4)
    weight[x.any(axis=0) == 0] = np.nan  # of columns that are never 1
    np.testing.assert_allclose(forward(x, weight, bias, v, b)[1], naive, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("large", [30.0, 200.0])
def test_units_that_go_far_come_back(large):
    """Within a chunk exp(-a) would leave the range of float32: no unit may stay where it went."""
    columns = 20
    x, v = np.ones((1, columns), np.float32), np.eye(columns, 1, -columns + 1, np.float32)  # the last output alone
    weight = np.full((columns, 1), -large, np.float32)
    weight[columns // 2 - 1 : -1] = large
    weight[columns // 2 - 1] = 0
    bias, b = np.full(1, 0.5, np.float32), np.zeros(columns, np.float32)
    a = 0.5 + weight[:-1].astype(float).sum()
    logits = forward(x, weight, bias, v, b)[1]
    check(logits[0, -1:], reference.sigmoid(np.array([a])), "prefix", 1 + large * columns)
    assert 0 < logits[0, -1] < 1


def test_not_a_number_goes_through():
    x, weight, bias, v, b = operands(4, 30, 10)
    bias[3] = np.nan
    assert np.isnan(forward(x, weight, bias, v, b)[1]).all()


def test_what_is_carried_must_be_as_wide_as_it_will_be():
    x, *weights = operands(2, CHUNK + 1, 3)
    with pytest.raises(ValueError, match="K = 3 must be H = 3 for each 64 of D = "):
        cpu.prefix_forward(x, *weights, np.empty((2, 3), np.float32), np.empty_like(x))
    assert [o.name for o in OPS["prefix_forward"].operands if o.output] == ["carried", "logits"]
