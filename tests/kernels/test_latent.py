"""The latent layer's kernels: values by hand, the limits of logvar, and one noise for both directions.

Against the reference, with noise given and drawn: test_contract.py.
"""

import itertools
import math

import numpy as np
import pytest

from fastvae import reference
from fastvae.kernels import philox
from tests.support.tolerances import check

SEED = np.uint64(2**64 - 5)
DRAWN = None  # noise that is not given


def forward(kernels, mu, logvar, noise=DRAWN, seed=SEED, step=1, first_row=0, stream=philox.LATENT):
    mu, logvar = np.array(mu, np.float32), np.array(logvar, np.float32)
    z, kl = np.full(mu.shape, np.nan, np.float32), np.full(len(mu), np.nan, np.float32)
    kernels.latent_forward(mu, logvar, noise, seed, stream, step, first_row, z, kl)
    return z, kl


def backward(
    kernels, mu, logvar, d_z, noise=DRAWN, kl_weight=1.0, seed=SEED, step=1, first_row=0, stream=philox.LATENT
):
    mu, logvar, d_z = (np.array(a, np.float32) for a in (mu, logvar, d_z))
    d_mu, d_logvar = np.full((2, *mu.shape), np.nan, np.float32)
    kernels.latent_backward(mu, logvar, d_z, noise, seed, stream, step, first_row, kl_weight, d_mu, d_logvar)
    return d_mu, d_logvar


def test_by_hand(kernels):
    """sigma^2 = 4: kl = (4 + 9 - 1 - ln 4) / 2."""
    noise = np.array([[0.5, -1.0]], np.float32)
    z, kl = forward(kernels, [[3, 0]], [[math.log(4), 0]], noise)
    np.testing.assert_allclose(z, [[4, -1]], rtol=1e-6)
    np.testing.assert_allclose(kl, [(12 - math.log(4)) / 2], rtol=3e-7)
    d_mu, d_logvar = backward(kernels, [[3, 0]], [[math.log(4), 0]], [[2, 7]], noise, kl_weight=0.1)
    np.testing.assert_allclose(d_mu, [[2.3, 7]], rtol=3e-7)
    np.testing.assert_allclose(d_logvar, [[2 * 0.5 * 2 / 2 + 0.15, -3.5]], rtol=3e-7)


def test_kl_is_0_at_the_prior(kernels):
    np.testing.assert_array_equal(forward(kernels, np.zeros((2, 5)), np.zeros((2, 5)))[1], 0)
    d_mu, d_logvar = backward(kernels, np.zeros((2, 5)), np.zeros((2, 5)), np.zeros((2, 5)))
    np.testing.assert_array_equal(d_mu, 0)
    np.testing.assert_array_equal(d_logvar, 0)


def test_kl_near_the_prior(kernels):
    """Where exp(logvar) - 1 - logvar cancels, the sum keeps its relative precision, and never becomes negative."""
    logvar = np.float32([[1e-6], [-1e-5], [1e-4], [-1e-3], [1e-2], [0.1], [-0.3]])
    kl = forward(kernels, np.zeros((7, 1)), logvar)[1]
    assert (kl > 0).all()
    check(kl, reference.kl_terms(0.0, logvar[:, 0].astype(float)), "kl")


def test_logvar_is_limited(kernels):
    logvar = np.float32([[-30.1, -30, 20, 20.1, -np.inf, np.inf, 1e38, -1e38]])
    mu, d_z = np.ones_like(logvar), np.full_like(logvar, 2)
    noise = np.full_like(logvar, 0.5)
    z, kl = forward(kernels, mu, logvar, noise)
    same_z, same_kl = forward(kernels, mu, np.clip(logvar, -30, 20), noise)
    np.testing.assert_array_equal(z, same_z)
    np.testing.assert_array_equal(kl, same_kl)
    check(z, 1 + 0.5 * np.exp(np.clip(logvar, -30, 20).astype(float) / 2), "latent")
    d_mu, d_logvar = backward(kernels, mu, logvar, d_z, noise)
    np.testing.assert_array_equal(d_mu, 3)
    inside = np.abs(np.clip(logvar, -30, 20) - logvar) == 0
    assert inside.sum() == 2
    np.testing.assert_array_equal(d_logvar[~inside], 0)
    assert (d_logvar[inside] != 0).all()


@pytest.mark.parametrize("columns", [1, 3, 4, 6, 20])
def test_drawn_noise_is_that_of_the_latent_stream(kernels, columns):
    mu, logvar, d_z = np.random.default_rng(0).normal(size=(3, 5, columns)).astype(np.float32)
    noise = np.empty((5, columns), np.float32)
    kernels.normal_noise(SEED, philox.LATENT, 9, 70, noise)
    place = {"step": 9, "first_row": 70}
    for found, expected in zip(forward(kernels, mu, logvar, **place), forward(kernels, mu, logvar, noise), strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-6)
    again, given = (backward(kernels, mu, logvar, d_z, n, **p) for n, p in ((DRAWN, place), (noise, {})))
    for found, expected in zip(again, given, strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-6)


def test_each_stream_has_its_own_noise(kernels):
    """Forward and backward of one stream have the same, two draws of one step share nothing; K draws a row are those of
    K streams, or of K steps."""
    mu, logvar, d_z = np.zeros((3, 40, 8), np.float32)
    drawn = [forward(kernels, mu, logvar, stream=stream)[0] for stream in (philox.LATENT, 71, 72)]
    for a, b in itertools.combinations(drawn, 2):
        assert not (a == b).any()
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 4 / math.sqrt(a.size)
    for stream, z in zip((philox.LATENT, 71, 72), drawn, strict=True):
        expected = np.empty_like(z)
        kernels.normal_noise(SEED, stream, 1, 0, expected)
        np.testing.assert_allclose(z, expected, rtol=2e-6, atol=1e-6)
        d_logvar = backward(kernels, mu, logvar, d_z + 1, stream=stream)[1]
        np.testing.assert_allclose(d_logvar, z / 2, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("cut", [1, 10, 64])
def test_independent_of_the_cut(kernels, cut):
    mu, logvar, d_z = np.random.default_rng(0).normal(size=(3, 129, 7)).astype(np.float32)
    whole = [*forward(kernels, mu, logvar, first_row=50), *backward(kernels, mu, logvar, d_z, first_row=50)]
    pieces = []
    for i in range(0, 129, cut):
        s = slice(i, i + cut)
        pieces.append([
            *forward(kernels, mu[s], logvar[s], first_row=50 + i),
            *backward(kernels, mu[s], logvar[s], d_z[s], first_row=50 + i),
        ])  # fmt: skip
    for all_rows, *parts in zip(whole, *pieces, strict=True):
        np.testing.assert_array_equal(np.concatenate(parts), all_rows)


def test_z_is_distributed_as_q(kernels):
    mu, logvar = np.full((2**16, 2), 3.0), np.full((2**16, 2), math.log(0.25))
    z = forward(kernels, mu, logvar)[0].astype(float)
    assert abs(z.mean() - 3) < 4 * 0.5 / math.sqrt(z.size)
    assert abs(z.var() - 0.25) < 4 * 0.25 * math.sqrt(2 / z.size)


def test_nan_is_seen(kernels):
    for poisoned in (0, 1):
        inputs = np.zeros((2, 3, 6), np.float32)
        inputs[poisoned, 1, 2] = np.nan
        z, kl = forward(kernels, *inputs)
        np.testing.assert_array_equal(np.argwhere(np.isnan(z)), [[1, 2]])
        np.testing.assert_array_equal(np.isnan(kl), [False, True, False])
    mu, logvar, d_z = np.zeros((3, 3, 6), np.float32)
    d_z[1, 2] = np.nan
    for gradient in backward(kernels, mu, logvar, d_z):
        np.testing.assert_array_equal(np.argwhere(np.isnan(gradient)), [[1, 2]])


def test_nan_in_logvar_is_seen_in_its_gradient(kernels):
    mu, logvar, d_z = np.ones((3, 3, 6), np.float32)
    logvar[1, 2] = np.nan
    d_logvar = backward(kernels, mu, logvar, d_z)[1]
    np.testing.assert_array_equal(np.argwhere(np.isnan(d_logvar)), [[1, 2]])


# ---- several samples of z an example ------------------------------------------------------------------------------


def samples(kernels, mu, logvar, count, noise=DRAWN, first_sample=0, first_row=0):
    """z (N K, Z) and log_ratio (N K,) of `count` samples an example."""
    mu, logvar = np.array(mu, np.float32), np.array(logvar, np.float32)
    z, log_ratio = np.full((len(mu) * count, mu.shape[1]), np.nan, np.float32), np.full(len(mu) * count, np.nan)
    log_ratio = log_ratio.astype(np.float32)
    place = SEED, philox.PROPOSAL, first_sample, first_row
    kernels.latent_samples_forward(mu, logvar, noise, *place, z, log_ratio)
    return z, log_ratio


def test_samples_by_hand(kernels):
    """sigma 2 about 3: eps 1/2 and -1 give z 4 and 1, and (1/4 - 16 + ln 4) / 2 and (1 - 1 + ln 4) / 2."""
    z, log_ratio = samples(kernels, [[3]], [[math.log(4)]], 2, np.float32([[0.5], [-1]]))
    np.testing.assert_allclose(z, [[4], [1]], rtol=1e-6)
    np.testing.assert_allclose(log_ratio, [(0.25 - 16) / 2 + math.log(2), math.log(2)], rtol=1e-6)


@pytest.mark.parametrize("columns", [1, 6, 8])
def test_samples_do_not_depend_on_how_they_are_cut(kernels, columns):
    """Neither on the examples of a piece, nor on its samples."""
    mu, logvar = np.random.default_rng(0).normal(size=(2, 9, columns)).astype(np.float32)
    whole = [a.reshape(9, 7, -1) for a in samples(kernels, mu, logvar, 7, first_sample=3, first_row=40)]
    for rows, count in ((4, 7), (9, 1), (2, 3)):
        for i, k in itertools.product(range(0, 9, rows), range(0, 7, count)):
            own, taken = slice(i, i + rows), min(count, 7 - k)
            part = samples(kernels, mu[own], logvar[own], taken, first_sample=3 + k, first_row=40 + i)
            for found, expected in zip(part, whole, strict=True):
                expected = expected[own, k : k + taken]
                np.testing.assert_array_equal(found.reshape(expected.shape), expected)


def test_samples_of_an_example_share_no_noise(kernels):
    z = samples(kernels, np.zeros((500, 4)), np.zeros((500, 4)), 3)[0].reshape(500, 3, 4)
    for a, b in itertools.combinations(range(3), 2):
        assert not (z[:, a] == z[:, b]).any()
        assert abs(np.corrcoef(z[:, a].ravel(), z[:, b].ravel())[0, 1]) < 4 / math.sqrt(2000)


def test_nan_is_seen_in_all_samples_of_its_example(kernels):
    for poisoned in (0, 1):
        inputs = np.zeros((2, 3, 6), np.float32)
        inputs[poisoned, 1, 2] = np.nan
        z, log_ratio = samples(kernels, *inputs, 2)
        np.testing.assert_array_equal(np.argwhere(np.isnan(z)), [[2, 2], [3, 2]])
        np.testing.assert_array_equal(np.isnan(log_ratio), [False, False, True, True, False, False])


def importance(kernels, log_w, weight=1.0):
    """bound (N,) and weights (N, K) of log w (N, K)."""
    log_w = np.array(log_w, np.float32)
    bound, weights = np.full(len(log_w), np.nan, np.float32), np.full(log_w.size, np.nan, np.float32)
    kernels.importance_weights(log_w.ravel(), np.zeros(log_w.size, np.float32), weight, bound, weights)
    return bound, weights.reshape(log_w.shape)


def test_importance_weights_by_hand(kernels):
    """w = 1, 3: their mean is 2. Far from 0, where none of them is a float32, their ratio is the same."""
    for far in (0, -500, 500):
        bound, weights = importance(kernels, [[far, far + math.log(3)]], 0.5)
        np.testing.assert_allclose(bound, [-far - math.log(2)], rtol=1e-6)
        np.testing.assert_allclose(weights, [[0.125, 0.375]], rtol=1e-4 if far else 1e-6)


def test_one_sample_is_its_own_bound(kernels):
    bound, weights = importance(kernels, [[3.0], [-90.0]], 0.25)
    np.testing.assert_array_equal(bound, [-3.0, 90.0])
    np.testing.assert_array_equal(weights, 0.25)


def test_a_sample_that_is_impossible_has_no_weight_and_one_that_is_not_a_number_is_seen(kernels):
    bound, weights = importance(kernels, [[-np.inf, 0, 0, 0], [0, np.nan, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(bound[[0, 2]], [math.log(4 / 3), 0], rtol=1e-6)
    np.testing.assert_allclose(weights[0], [0, 1 / 3, 1 / 3, 1 / 3], rtol=1e-6)
    assert np.isnan(bound[1])
    assert np.isnan(weights[1]).all()
