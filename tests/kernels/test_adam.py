"""Adam's kernel: values by hand, its limits, and many steps beside the reference. On shapes: test_contract.py."""

import numpy as np
import pytest

from fastvae import reference
from tests.support.tolerances import check

BETAS = {"beta1": 0.9, "beta2": 0.999}
DEFAULTS = {"learning_rate": 1e-2, **BETAS, "epsilon": 1e-8, "weight_decay": 0.0, "grad_scale": 1.0}


def adam(kernels, params, grads, m, v, step, **settings):
    arrays = [np.array(a, np.float32) for a in (params, grads, m, v)]
    kernels.adam_inplace(*arrays, step, *{**DEFAULTS, **settings}.values())
    return arrays[0], arrays[2], arrays[3]


def test_first_step_by_hand(kernels):
    """With the bias corrected it is the learning rate against the sign, whatever the size of the gradient."""
    g = [1e-3, -5, 200]
    params, m, v = adam(kernels, [1, 1, 1], g, [0] * 3, [0] * 3, 1, learning_rate=0.125)
    np.testing.assert_allclose(params, [0.875, 1.125, 0.875], rtol=2e-6)  # epsilon beside 1e-3: 1e-5 of the step
    np.testing.assert_allclose(m, np.multiply(g, 0.1), rtol=2e-7)
    np.testing.assert_allclose(v, np.multiply(np.square(g), 0.001), rtol=3e-7)


def test_second_step_by_hand(kernels):
    """Gradients 1, then 3: mhat = 0.39 / 0.19, vhat = 0.009999 / 0.001999."""
    params, m, v = adam(kernels, [0], [3], [0.1], [0.001], 2)
    np.testing.assert_allclose(m, [0.39], rtol=2e-7)
    np.testing.assert_allclose(v, [0.009999], rtol=2e-7)
    np.testing.assert_allclose(params, [-0.01 * (0.39 / 0.19) / (0.009999 / 0.001999) ** 0.5], rtol=5e-7)


def test_epsilon_stands_outside_the_root(kernels):
    params = adam(kernels, [0], [1], [0], [0], 1, epsilon=1.0)[0]
    np.testing.assert_allclose(params, [-0.01 / 2], rtol=3e-7)


def test_no_gradient_no_step(kernels):
    params, m, v = adam(kernels, [1.5], [0], [0], [0], 1)
    np.testing.assert_array_equal([params, m, v], [[1.5], [0], [0]])


def test_weight_decay_is_decoupled(kernels):
    """It shrinks by learning_rate * weight_decay, and neither moment hears of it."""
    params, m, v = adam(kernels, [2.0], [0], [0], [0], 1, weight_decay=0.5)
    np.testing.assert_allclose(params, [2 * (1 - 0.005)], rtol=1e-7)
    np.testing.assert_array_equal([m, v], [[0], [0]])


def test_grad_scale(kernels):
    scaled = adam(kernels, [1, 2], [8, -4], [0.3, 0.1], [0.2, 0.4], 3, grad_scale=0.25)
    for found, expected in zip(scaled, adam(kernels, [1, 2], [2, -1], [0.3, 0.1], [0.2, 0.4], 3), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("step", [1, 2, 10, 1000, 10**6, 2**40])
def test_bias_correction_at_any_step(kernels, step):
    rng = np.random.default_rng(step % 1000)
    params, grads, m = rng.normal(size=(3, 257)).astype(np.float32)
    v = rng.uniform(0.1, 1, 257).astype(np.float32)
    found = adam(kernels, params, grads, m, v, step)
    expected = reference.adam(*(a.astype(float) for a in (params, grads, m, v)), step, 1e-2)
    for f, e, start in zip(found, expected, (params, m, v), strict=True):
        check(f, e, "adam", np.abs(e) + np.abs(start))


def test_a_hundred_steps(kernels):
    """On a quadratic: rounding does not gather, and it arrives."""
    rng = np.random.default_rng(0)
    target = rng.normal(size=65)
    params, m, v = np.zeros((3, 65), np.float32)
    p64, m64, v64 = np.zeros((3, 65))
    for step in range(1, 101):
        grads = (params - target).astype(np.float32)
        kernels.adam_inplace(params, grads, m, v, step, *{**DEFAULTS, "learning_rate": 0.05}.values())
        p64, m64, v64 = reference.adam(p64, p64 - target, m64, v64, step, 0.05)
    np.testing.assert_allclose(params, p64, atol=2e-5)
    assert np.abs(p64 - target).max() < 0.3 < np.abs(target).max()


def test_moments_do_not_stay_denormal(kernels):
    """Without gradients they decay to exactly 0: among denormal numbers they would stay, and slow every step."""
    params, m, v = np.full(33, 0.5, np.float32), np.full(33, 1e-20, np.float32), np.full(33, 1e-36, np.float32)
    smallest = np.finfo(np.float32).tiny
    for step in range(1, 1001):
        kernels.adam_inplace(params, np.zeros(33, np.float32), m, v, step, *DEFAULTS.values())
        assert (m == 0).all() or (m >= smallest).all(), step
        assert (v == 0).all() or (v >= smallest).all(), step
    assert not m.any()
    assert not v.any()
    np.testing.assert_allclose(params, 0.5, rtol=1e-6)


def test_small_moments_count(kernels):
    """Only what cannot move a parameter is dropped."""
    params, m, v = adam(kernels, [0, 0], [1e-15, 0], [0, 1e-20], [0, 1e-30], 5)
    np.testing.assert_allclose(m, [1e-16, 9e-21], rtol=1e-6)
    np.testing.assert_allclose(v, [1e-33, 0.999e-30], rtol=1e-6)
    assert (params < 0).all()


def test_nan_is_seen(kernels):
    arrays = np.ones((4, 9), np.float32)
    for i in range(4):
        inputs = arrays.copy()
        inputs[i, 3] = np.nan
        params = adam(kernels, *inputs, 2)[0]
        np.testing.assert_array_equal(np.flatnonzero(np.isnan(params)), [3])


def test_squared_norm(kernels):
    assert kernels.squared_norm(np.array([3, -4], np.float32)) == 25
    assert kernels.squared_norm(np.zeros(0, np.float32)) == 0
    # in float32 the squares would overflow, and the ones beside 2^12 be lost
    assert kernels.squared_norm(np.full(4, 1e30, np.float32)) == pytest.approx(4e60, rel=1e-6)
    many = np.ones(2**16 + 1, np.float32)
    many[0] = 2.0**13
    assert kernels.squared_norm(many) == 2.0**26 + 2**16
    assert np.isnan(kernels.squared_norm(np.array([1, np.nan], np.float32)))


@pytest.mark.parametrize("n", [1 << 14, (1 << 14) + 1, 20_000, (1 << 16) + 255])
def test_long_arrays_move_like_their_pieces(kernels, n):
    """They are moved in pieces, with what comes next asked for: nothing of that may show, nor beyond the end."""
    g = np.random.default_rng(n)
    arrays = [array.astype(np.float32) for array in (*g.standard_normal((3, n + 16)), g.random(n + 16))]
    inside = [array[:n] for array in arrays]
    expected = [
        np.concatenate(moved)
        for moved in zip(
            *(adam(kernels, *(a[i : i + 1000] for a in inside), 7) for i in range(0, n, 1000)), strict=True
        )
    ]
    guards = [array[n:].copy() for array in arrays]
    kernels.adam_inplace(*inside, 7, *DEFAULTS.values())
    for found, wanted in zip((inside[0], *inside[2:]), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    for array, guard in zip(arrays, guards, strict=True):
        np.testing.assert_array_equal(array[n:], guard)
