"""Dense layers whose weight is a staircase: values by hand, more panels than one, and parts. More: test_contract.py."""

import numpy as np
import pytest

from fastvae import reference
from fastvae.contract_cases import adam_numbers
from fastvae.kernels.cpu import masked
from fastvae.kernels.formulas import IDENTITY, RELU
from fastvae.kernels.slots import Slots
from tests.support.tolerances import check

ADAM = (4, 0.02, 0.85, 0.97, 1e-3, 0.1)
SHAPES = [(3, 200, 150), (5, 65, 900), (2, 1100, 33), (1, 130, 1300)]


def normal(rng, *shape):
    return rng.standard_normal(shape, np.float32)


def stairs(rng, depth, columns):
    return np.sort(rng.integers(0, depth + 1, columns))


def test_by_hand(kernels):
    """Output 0 sees nothing, 1 the first input, 2 both."""
    x = np.array([[1, 2], [-1, 0.5]], np.float32)
    weight, depths = np.array([[0, 3, -1], [0, 0, 4]], np.float32), np.array([0, 1, 2])
    bias, out = np.array([0.5, -1, 0], np.float32), np.empty((2, 3), np.float32)
    kernels.masked_forward(x, weight, bias, IDENTITY, depths, out, out)
    np.testing.assert_array_equal(out, [[0.5, 2, 7], [0.5, -4, 3]])
    kernels.masked_accumulate(x, weight, depths, out)
    np.testing.assert_array_equal(out, [[0.5, 5, 14], [0.5, -7, 6]])
    d_out, d_x = np.array([[1, 2, 3], [1, 0, 2]], np.float32), np.empty((2, 2), np.float32)
    kernels.masked_backward_input(out, weight, IDENTITY, depths, d_out, 0, d_x)
    np.testing.assert_array_equal(d_x, [[3, 12], [-2, 8]])
    d_weight, d_bias = np.full((2, 3), np.nan, np.float32), np.full(3, np.nan, np.float32)
    kernels.masked_backward_weight(x, d_out, 0, 2, 0, depths, d_weight, d_bias)
    np.testing.assert_array_equal(d_weight, [[0, 2, 1], [0, 0, 7]])
    np.testing.assert_array_equal(d_bias, [2, 2, 5])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_many_panels(kernels, shape):
    """Of outputs, of inputs, and blocks of the gradient, in pieces; against float64."""
    rows, depth, columns = shape
    rng = np.random.default_rng(list(shape))
    assert columns > masked.panel(columns) or depth > masked.panel(depth)
    depths = stairs(rng, depth, columns)
    mask = reference.staircase(depths, depth)
    x, weight, bias = (
        normal(rng, rows, depth),
        normal(rng, depth, columns) * mask.astype(np.float32),
        normal(rng, columns),
    )
    x64, weight64 = x.astype(float), weight.astype(float)
    out, size = np.full((rows, columns), np.nan, np.float32), np.abs(x64) @ np.abs(weight64)
    kernels.masked_forward(x, weight, bias, RELU, depths, out, out)
    check(
        out, reference.masked_forward(x64, weight64, bias.astype(float), "relu", mask), "product", size + np.abs(bias)
    )
    before = out.astype(float)
    kernels.masked_accumulate(x, weight, depths, out)
    check(out, before + x64 @ weight64, "product", size + before)
    d_a, d_x = normal(rng, rows, columns), normal(rng, rows, depth)
    d64, before = d_a.astype(float), d_x.astype(float)
    kernels.masked_backward_input(d_a, weight, IDENTITY, depths, d_a, 1, d_x)
    check(d_x, before + d64 @ weight64.T, "product", np.abs(before) + np.abs(d64) @ np.abs(weight64.T))
    _, gradient, of_bias = reference.masked_backward(x64, weight64, bias.astype(float), "identity", mask, d64)
    size = np.abs(x64.T) @ np.abs(d64) * mask
    moments = [normal(rng, depth, columns) * mask.astype(np.float32) for _ in range(2)]
    moments[1] = np.abs(moments[1])
    of_bias_moments = [np.ones(columns, np.float32) for _ in range(2)]
    d_weight, d_bias = np.full((depth, columns), np.nan, np.float32), np.full(columns, np.nan, np.float32)
    moved, m, v, bias = weight.copy(), *[moment.copy() for moment in moments], bias.copy()
    for first, last in ((0, depth // 3), (depth // 3, depth // 3), (depth // 3, depth)):
        kernels.masked_backward_weight(x, d_a, first, last, 0, depths, d_weight, d_bias)
        kernels.masked_adam_inplace(
            x, d_a, first, last, depths, moved, m, v, bias, *of_bias_moments, *adam_numbers(*ADAM)
        )
    check(d_weight, gradient, "product", size)
    check(d_bias, of_bias, "product", np.abs(d64).sum(0))
    assert (d_weight[mask == 0] == 0).all()
    kernels.masked_backward_weight(x, d_a, 0, depth, 1, depths, d_weight, d_bias)
    check(d_weight, 2 * gradient, "product", 2 * size)
    expected = reference.adam(weight64, gradient, moments[0].astype(float), moments[1].astype(float), *ADAM)
    np.testing.assert_allclose(m, expected[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(moved, expected[0], rtol=1e-4, atol=1e-5)
    assert all((array[mask == 0] == 0).all() for array in (moved, m, v))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_bits_are_those_of_the_whole_product(kernels, precision):
    """What is left out is zeros."""
    from fastvae.kernels.cpu.program import missing

    if missing(precision):
        pytest.skip(missing(precision))
    rng, (rows, depth, columns) = np.random.default_rng(0), (33, 300, 290)
    depths = stairs(rng, depth, columns)
    weight = normal(rng, depth, columns) * reference.staircase(depths, depth).astype(np.float32)
    x, d_a, bias = normal(rng, rows, depth), normal(rng, rows, columns), np.zeros(columns, np.float32)
    found = []
    for ops, mask in (("dense", ()), ("masked", (depths,))):
        out, d_x, d_weight = (np.empty(s, np.float32) for s in ((rows, columns), (rows, depth), (depth, columns)))
        program = kernels.Program(Slots(), precision)
        program.add(f"{ops}_forward", x, weight, bias, RELU, *mask, out, out)
        program.add(f"{ops}_backward_input", out, weight, RELU, *mask, d_a.copy(), 0, d_x)
        program.add(f"{ops}_backward_weight", x, d_a, 0, depth, 0, *mask, d_weight, None)
        program.run()
        found.append((out, d_x, d_weight * reference.staircase(depths, depth).astype(np.float32)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_columns_in_another_order(kernels):
    x, out = np.arange(6, dtype=np.float32).reshape(2, 3), np.empty((2, 3), np.float32)
    kernels.take_columns(x, np.array([2, 0, 1]), out)
    np.testing.assert_array_equal(out, [[2, 0, 1], [5, 3, 4]])
