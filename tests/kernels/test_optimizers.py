"""The optimizers' kernels: values by hand, limits, and many steps beside the reference. On shapes: test_contract.py."""

import numpy as np
import pytest

from fastvae import reference
from fastvae.contract_cases import adam_numbers
from tests.support.tolerances import check

DEFAULTS = {"learning_rate": 1e-2, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0}


def numbers(step, grad_scale=1.0, **settings):
    """The operands of `adam_inplace` after its arrays."""
    return *adam_numbers(step, **{**DEFAULTS, **settings}), grad_scale


def adam(kernels, params, grads, m, v, step, **settings):
    arrays = [np.array(a, np.float32) for a in (params, grads, m, v)]
    kernels.adam_inplace(*arrays, *numbers(step, **settings))
    return arrays[0], arrays[2], arrays[3]


# ---- Adam ---------------------------------------------------------------------------------------------------------


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
        kernels.adam_inplace(params, grads, m, v, *numbers(step, learning_rate=0.05))
        p64, m64, v64 = reference.adam(p64, p64 - target, m64, v64, step, 0.05)
    np.testing.assert_allclose(params, p64, atol=2e-5)
    assert np.abs(p64 - target).max() < 0.3 < np.abs(target).max()


def test_moments_do_not_stay_denormal(kernels):
    """Without gradients they decay to exactly 0: among denormal numbers they would stay, and slow every step."""
    params, m, v = np.full(33, 0.5, np.float32), np.full(33, 1e-20, np.float32), np.full(33, 1e-36, np.float32)
    smallest = np.finfo(np.float32).tiny
    for step in range(1, 1001):
        kernels.adam_inplace(params, np.zeros(33, np.float32), m, v, *numbers(step))
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
    kernels.adam_inplace(*inside, *numbers(7))
    for found, wanted in zip((inside[0], *inside[2:]), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    for array, guard in zip(arrays, guards, strict=True):
        np.testing.assert_array_equal(array[n:], guard)


# ---- gradient descent ---------------------------------------------------------------------------------------------


def sgd(kernels, params, grads, velocity, *settings):
    arrays = [np.array(a, np.float32) for a in (params, grads, velocity)]
    kernels.sgd_inplace(*arrays, *settings)
    return arrays[0], arrays[2]


def test_gradient_descent_by_hand(kernels):
    """rate 0.5, momentum 0.75: the velocity becomes 0.75 * 4 - 2 = 1; Nesterov's goes on along 0.75 * 1 - 2."""
    params, velocity = sgd(kernels, [1], [-2], [4], 0.5, 0.75, 0.0, 0.0, 1.0)
    np.testing.assert_array_equal([params, velocity], [[0.5], [1]])
    params, velocity = sgd(kernels, [1], [-2], [4], 0.5, 0.75, 0.75, 0.0, 1.0)
    np.testing.assert_array_equal([params, velocity], [[1.625], [1]])
    params, velocity = sgd(kernels, [1], [-2], [4], 0.5, 0.0, 0.0, 0.0, 1.0)
    np.testing.assert_array_equal([params, velocity], [[2], [-2]])


def test_decay_of_gradient_descent_is_decoupled(kernels):
    """It shrinks by rate * decay, and the velocity does not hear of it; the gradient is scaled before all else."""
    params, velocity = sgd(kernels, [2], [0], [0], 0.5, 0.75, 0.0, 0.25, 1.0)
    np.testing.assert_array_equal([params, velocity], [[2 * (1 - 0.125)], [0]])
    scaled, plain = (sgd(kernels, [1], [g], [4], 0.5, 0.75, 0.75, 0.25, s) for g, s in ((8, 0.25), (2, 1.0)))
    np.testing.assert_array_equal(scaled, plain)


def test_gradient_descent_arrives(kernels):
    """On a quadratic, beside the reference: rounding does not gather."""
    rng = np.random.default_rng(0)
    target = rng.normal(size=65)
    params, velocity = np.zeros((2, 65), np.float32)
    p64, v64 = np.zeros((2, 65))
    for _ in range(100):
        kernels.sgd_inplace(params, (params - target).astype(np.float32), velocity, 0.1, 0.9, 0.9, 0.0, 1.0)
        p64, v64 = reference.sgd(p64, p64 - target, v64, 0.1, 0.9, True)
    np.testing.assert_allclose(params, p64, atol=2e-6)
    np.testing.assert_allclose(params, target, atol=0.05)


@pytest.mark.parametrize("ahead", [0.0, 0.9])
def test_nan_is_seen_by_gradient_descent(kernels, ahead):
    for i in range(3):
        inputs = np.ones((3, 9), np.float32)
        inputs[i, 3] = np.nan
        params = sgd(kernels, *inputs, 0.1, 0.9, ahead, 0.1, 1.0)[0]
        np.testing.assert_array_equal(np.flatnonzero(np.isnan(params)), [3])


# ---- an average of the parameters, and clipping -------------------------------------------------------------------


def test_an_average_of_several_is_their_mean(kernels):
    """With shares 1, 1/2, 1/3, ...; the first takes the place of whatever stood there."""
    several = np.random.default_rng(0).standard_normal((6, 37), np.float32)
    average = np.full(37, np.nan, np.float32)
    for k, params in enumerate(several, 1):
        kernels.average_inplace(params, 1 / k, average)
        np.testing.assert_allclose(average, several[:k].astype(float).mean(axis=0), atol=1e-6)
    kept = average.copy()
    kernels.average_inplace(several[0], 0.0, average)
    np.testing.assert_array_equal(average, kept)


def test_the_scale_of_a_gradient_by_hand(kernels):
    """(3, 4) has norm 5: scaled down to 2, left alone at 5 and above; one that is 0, or too large to be squared."""
    grads = np.array([3, -4], np.float32)
    assert [kernels.clip_scale(grads, largest) for largest in (2.0, 5.0, 7.0)] == [0.4, 1, 1]
    assert kernels.clip_scale(np.zeros(3, np.float32), 1.0) == 1
    assert kernels.clip_scale(np.full(4, 1e30, np.float32), 1.0) == pytest.approx(5e-31, rel=1e-6)
    assert kernels.clip_scale(np.array([np.inf, 1], np.float32), 1.0) == 0


def test_a_gradient_that_is_nan_stays_so_when_it_is_clipped(kernels):
    grads = np.array([1, np.nan, 3], np.float32)
    scale = kernels.clip_scale(grads, 1.0)
    params, _ = sgd(kernels, [0, 0, 0], grads, [0, 0, 0], 0.1, 0.0, 0.0, 0.0, scale)
    assert np.isnan(params[1])
