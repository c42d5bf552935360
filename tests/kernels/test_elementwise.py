"""Functions of one number over whole matrices in place, on the CPU; for the device see test_cuda_row_losses.py."""

import math

import numpy as np
import pytest

from fastvae import reference
from fastvae.kernels.cpu import elementwise
from tests.support.tolerances import check

SHAPES = [(1, 1), (7, 33), (3, 4), (5, 17), (2, 64), (129, 31)]


TRUTH = {"sigmoid_inplace": reference.sigmoid, "exp_inplace": np.exp, "tanh_inplace": np.tanh}


@pytest.mark.parametrize(("name", "truth"), TRUTH.items())
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_against_float64(name, truth, shape):
    x = np.random.default_rng(list(shape)).normal(0, 5, shape).astype(np.float32)
    expected = truth(x.astype(float))
    elementwise.FUNCTIONS[name](x)
    check(x, expected, "likelihood")


def test_by_hand():
    x = np.array([[0, math.log(3), -1e4, 1e4, np.nan]], np.float32)
    y = x.copy()
    elementwise.FUNCTIONS["sigmoid_inplace"](x)
    np.testing.assert_allclose(x, [[0.5, 0.75, 0, 1, np.nan]], rtol=2e-7)
    elementwise.FUNCTIONS["exp_inplace"](y)
    np.testing.assert_allclose(y, [[1, 3, 0, np.inf, np.nan]], rtol=2e-7)
