"""The reference against what was not written beside it: central differences, quadrature, closed forms, published words.

Everything else is tested against `fastvae.reference`, so nothing here may use the rest of fastvae.
"""

import numpy as np
import pytest

from fastvae import reference
from fastvae.reference import ACTIVATIONS
from tests.support.tolerances import check

RNG = np.random.default_rng(20260101)


def difference(function, x, upstream, step=1e-3):
    """Gradient of sum(upstream * function(x)) by x: central differences, Richardson's extrapolation to sixth order."""
    gradient = np.empty(x.shape)
    for i in np.ndindex(x.shape):
        slopes = []
        for h in (4 * step, 2 * step, step):
            ends = []
            for sign in (1, -1):
                moved = x.copy()
                moved[i] += sign * h
                ends.append(function(moved))
            slopes.append((upstream * (ends[0] - ends[1])).sum() / (2 * h))
        first, second = (4 * slopes[1] - slopes[0]) / 3, (4 * slopes[2] - slopes[1]) / 3
        gradient[i] = (16 * second - first) / 15
    return gradient


def check_gradient(gradient, function, x, upstream=1.0):
    expected = difference(function, x, upstream)
    check(gradient, expected, "difference", np.maximum(np.abs(expected), np.abs(expected).max() * 1e-2))


def off_kink(a):
    """Arguments moved away from 0, where relu has no derivative."""
    return a + np.where(a < 0, -0.1, 0.1)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation):
    value, derivative = ACTIVATIONS[activation]
    a = off_kink(RNG.normal(scale=3, size=50))
    upstream = RNG.normal(size=50)
    check_gradient(upstream * derivative(a), value, a, upstream)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_far_out(activation):
    """Finite, and the derivative neither overflows nor becomes NaN."""
    value, derivative = ACTIVATIONS[activation]
    a = np.array([-1e4, -800.0, -50.0, 50.0, 800.0, 1e4])
    limit = {"identity": a, "relu": np.maximum(a, 0), "leaky_relu": np.where(a > 0, a, a / 100), "tanh": np.sign(a),
             "sigmoid": a > 0, "softplus": np.maximum(a, 0), "silu": np.maximum(a, 0)}[activation]  # fmt: skip
    slope = {"identity": 1.0, "leaky_relu": np.where(a > 0, 1, 0.01), "tanh": 0.0, "sigmoid": 0.0}
    np.testing.assert_allclose(value(a), limit, rtol=1e-15, atol=1e-19)
    np.testing.assert_allclose(derivative(a), slope.get(activation, a > 0) * np.ones(6), atol=1e-19)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_dense(activation):
    x, weight, bias, upstream = (RNG.normal(size=s) for s in ((4, 3), (3, 5), (5,), (4, 5)))
    a = x @ weight + bias
    while np.abs(a).min() < 0.05:
        x = RNG.normal(size=(4, 3))
        a = x @ weight + bias
    d_x, d_weight, d_bias = reference.dense_backward(x, weight, bias, activation, upstream)
    check_gradient(d_x, lambda v: reference.dense_forward(v, weight, bias, activation), x, upstream)
    check_gradient(d_weight, lambda v: reference.dense_forward(x, v, bias, activation), weight, upstream)
    check_gradient(d_bias, lambda v: reference.dense_forward(x, weight, v, activation), bias, upstream)


def test_kl_by_quadrature():
    """KL = integral of q log(q / p): trapezoids, which converge faster than any power here."""
    u = np.linspace(-12, 12, 4001)
    for mu, logvar in [(0.0, 0.0), (0.3, -1.0), (-2.0, 1.5), (1.0, 1e-3), (0.0, -4.0)]:
        deviation = np.exp(logvar / 2)
        z = mu + deviation * u
        q = np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)
        log_ratio = -(u**2) / 2 - np.log(deviation) + z**2 / 2
        expected = (q * log_ratio).sum() * (u[1] - u[0])
        np.testing.assert_allclose(reference.kl_terms(np.array(mu), np.array(logvar)), expected, rtol=1e-9, atol=1e-13)


def test_kl_is_zero_at_the_prior_and_smooth_beside_it():
    assert reference.kl_terms(np.zeros(1), np.zeros(1)) == 0
    logvar = np.array([-1e-9, 1e-9, -0.0099999, 0.0099999, -0.0100001, 0.0100001])
    expected = [logvar**k / np.prod(np.arange(1.0, k + 1)) / 2 for k in range(2, 12)]
    np.testing.assert_allclose(reference.kl_terms(np.zeros(6), logvar), sum(expected), rtol=2e-12)


def test_latent():
    mu, logvar, noise, d_z = (RNG.normal(size=(3, 4)) for _ in range(4))
    d_kl = RNG.normal(size=3)
    d_mu, d_logvar = reference.latent_backward(mu, logvar, noise, d_z, d_kl)

    def both(m, v):
        z, kl = reference.latent_forward(m, v, noise)
        return np.concatenate([z.ravel(), kl])

    upstream = np.concatenate([d_z.ravel(), d_kl])
    check_gradient(d_mu, lambda m: both(m, logvar), mu, upstream)
    check_gradient(d_logvar, lambda v: both(mu, v), logvar, upstream)


def test_logvar_is_limited():
    logvar = np.array([[-31.0, -30.0, 20.0, 21.0, -1e30, 1e30]])
    mu, noise, d_z = (RNG.normal(size=(1, 6)) for _ in range(3))
    z, kl = reference.latent_forward(mu, logvar, noise)
    same_z, same_kl = reference.latent_forward(mu, np.array([[-30.0, -30, 20, 20, -30, 20]]), noise)
    np.testing.assert_array_equal(z, same_z)
    np.testing.assert_array_equal(kl, same_kl)
    d_logvar = reference.latent_backward(mu, logvar, noise, d_z, 1.0)[1]
    np.testing.assert_array_equal(d_logvar == 0, [[True, False, False, True, True, True]])


def test_squared_error():
    x, xhat, upstream = RNG.normal(size=(3, 5)), RNG.normal(size=(3, 5)), RNG.normal(size=3)
    nll, slope = reference.squared_error_forward_backward(x, xhat, 0.7)
    check_gradient(
        upstream[:, None] * slope,
        lambda v: reference.squared_error_forward_backward(x, v, 0.7)[0],
        xhat,
        upstream,
    )
    density = np.exp(-((x - xhat) ** 2) / (2 * 0.49)) / np.sqrt(2 * np.pi * 0.49)
    check(nll, -np.log(density).sum(axis=1), "exact", 20)


def test_a_sigma_for_each_column():
    """The same by columns, one after the other; and by log sigma."""
    x, xhat, log_sigma = RNG.normal(size=(3, 5)), RNG.normal(size=(3, 5)), RNG.normal(size=5)
    nll, slope = reference.squared_error_forward_backward(x, xhat, np.exp(log_sigma))
    each = [reference.squared_error_forward_backward(x[:, [j]], xhat[:, [j]], np.exp(log_sigma[j])) for j in range(5)]
    check(nll, sum(n for n, _ in each), "exact", np.abs(nll) + 5)
    check(slope, np.hstack([s for _, s in each]), "exact")
    gradient = reference.d_log_sigma(x, xhat, np.exp(log_sigma))
    check_gradient(gradient, lambda v: reference.squared_error_forward_backward(x, xhat, np.exp(v))[0].sum(), log_sigma)


def test_soft_sigma():
    """Never below its lowest, e^(10 parameter) far above it, and its slope."""
    lowest, parameter = np.array([-9.0, -4.0, -9.0, 2.0]), np.array([-30.0, -0.4, 0.3, 0.9])
    sigma, slope = reference.soft_sigma(parameter, lowest)
    np.testing.assert_allclose(np.log(sigma), [-9, -4 + np.log(2), 3 + np.exp(-12), 9 + np.exp(-7)], rtol=1e-6)
    check_gradient(slope, lambda p: np.log(reference.soft_sigma(p, lowest)[0]), parameter)


def test_optimal_sigma():
    """No other sigma is better, for all columns together or each."""
    x, xhat = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 3))
    for size in (1, 3):
        best = reference.optimal_sigma(x, xhat, np.full(size, -9.0))
        assert best.shape == (size,)
        check_gradient(  # the gradient by its logarithm is 0
            1.0 + np.zeros(size),
            lambda v, best=best: 1.0 * v + reference.squared_error_forward_backward(x, xhat, best * np.exp(v))[0].sum(),
            np.zeros(size),
        )
    np.testing.assert_allclose(reference.optimal_sigma(x, x, np.array([-9.0])), np.exp(-9))
    np.testing.assert_allclose(reference.optimal_sigma(x, x, np.array([-9.0, 1, 0])), np.exp([-9, 1, 0]))


def test_remembered_sigma():
    """The mean of all squares at first, then a tenth of the newest."""
    sigma, seen = 5.0, np.array([1.0, 2.0, 4.0])
    for step, s in enumerate(seen, 1):
        sigma = reference.remembered_sigma(sigma, s, step, 1.0)
        np.testing.assert_allclose(sigma**2, (seen[:step] ** 2).mean())
    np.testing.assert_allclose(reference.remembered_sigma(2.0, 3.0, 11, 1.0) ** 2, 0.9 * 4 + 0.1 * 9)
    np.testing.assert_allclose(reference.remembered_sigma(2.0, 3.0, 11, 0.5) ** 2, 0.95 * 4 + 0.05 * 9)


def test_squared_error_is_a_density():
    """Its exponential integrates to 1: the constants are there."""
    x = np.linspace(-10, 10, 2001)[:, None]
    nll = reference.squared_error_forward_backward(x, np.full_like(x, 0.3), 0.8)[0]
    np.testing.assert_allclose(np.exp(-nll).sum() * 0.01, 1, rtol=1e-12)


def test_bernoulli():
    x, logits, upstream = RNG.uniform(size=(3, 5)), RNG.normal(scale=3, size=(3, 5)), RNG.normal(size=3)
    nll, slope = reference.bernoulli_forward_backward(x, logits)
    check_gradient(upstream[:, None] * slope, lambda v: reference.bernoulli_forward_backward(x, v)[0], logits, upstream)
    p = 1 / (1 + np.exp(-logits))
    check(nll, -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=1), "exact", np.abs(logits).sum(axis=1) + 5)


def test_bernoulli_with_huge_logits():
    a = np.array([[1e4], [-1e4], [1e4], [-1e4], [40.0], [-40.0]])
    x = np.array([[0.0], [1.0], [1.0], [0.0], [1.0], [0.0]])
    nll, slope = reference.bernoulli_forward_backward(x, a)
    np.testing.assert_allclose(nll, [1e4, 1e4, 0, 0, np.exp(-40), np.exp(-40)], rtol=1e-15)
    np.testing.assert_allclose(slope[:, 0], [1, -1, 0, 0, -np.exp(-40), np.exp(-40)], rtol=1e-15)


def test_adam_by_hand():
    """The first step moves by the learning rate against the sign of the gradient, whatever its size."""
    g = np.array([1e-3, -5.0, 200.0])
    p, m, v = reference.adam(np.array([1.0, 1.0, 1.0]), g, np.zeros(3), np.zeros(3), 1, 0.1, epsilon=0.0)
    np.testing.assert_allclose(p, [0.9, 1.1, 0.9], rtol=1e-14)
    np.testing.assert_allclose(m, 0.1 * g, rtol=1e-14)
    np.testing.assert_allclose(v, 0.001 * g**2, rtol=1e-12)
    # second step, gradients 1 then 3: mhat = (0.09 + 0.3) / 0.19, vhat = (0.000999 + 0.009) / 0.001999
    p, m, v = reference.adam(np.zeros(1), np.ones(1), np.zeros(1), np.zeros(1), 1, 0.1, epsilon=0.0)
    p, m, v = reference.adam(p, 3 * np.ones(1), m, v, 2, 0.1, epsilon=0.0)
    np.testing.assert_allclose(p, -0.1 - 0.1 * (0.39 / 0.19) / np.sqrt(0.009999 / 0.001999), rtol=1e-12)
    p = reference.adam(np.full(1, 2.0), np.zeros(1), np.zeros(1), np.zeros(1), 1, 0.1, weight_decay=0.5)[0]
    np.testing.assert_allclose(p, 2 * (1 - 0.05), rtol=1e-15)


def test_gradient_descent_is_a_sum_of_all_gradients():
    """The velocity is sum_k momentum^(t - k) g_k; Nesterov's steps look one step ahead along it."""
    gradients, momentum, rate = RNG.normal(size=(7, 5)), 0.8, 0.1
    start = RNG.normal(size=5)
    for nesterov in (False, True):
        params, velocity = start, np.zeros(5)
        moved = np.zeros(5)
        for t, g in enumerate(gradients):
            params, velocity = reference.sgd(params, g, velocity, rate, momentum, nesterov)
            weights = momentum ** np.arange(t, -1, -1)
            np.testing.assert_allclose(velocity, weights @ gradients[: t + 1], rtol=1e-12)
            moved += momentum * velocity + g if nesterov else velocity
            np.testing.assert_allclose(params, start - rate * moved, rtol=1e-12)
    shrunk, still = reference.sgd(start, np.zeros(5), np.zeros(5), rate, weight_decay=0.5)
    np.testing.assert_allclose(shrunk, start * (1 - 0.05), rtol=1e-14)
    assert not still.any()
    for scaled, plain in zip(
        reference.sgd(start, 4 * gradients[0], gradients[1], rate, grad_scale=0.25),
        reference.sgd(start, gradients[0], gradients[1], rate),
        strict=True,
    ):
        np.testing.assert_array_equal(scaled, plain)


def test_an_average_with_shares_of_one_by_the_count_is_the_mean():
    several, average = RNG.normal(size=(9, 4)), np.zeros(4)
    for k, params in enumerate(several, 1):
        average = reference.averaged(average, params, 1 / k)
    np.testing.assert_allclose(average, several.mean(axis=0), rtol=1e-13, atol=1e-15)


def test_a_gradient_is_scaled_to_the_largest_norm_and_no_further():
    grads = np.array([3.0, -4.0])
    assert [reference.clip_scale(grads, largest) for largest in (2.0, 5.0, 7.0)] == [0.4, 1.0, 1.0]
    assert reference.clip_scale(np.zeros(2), 1.0) == 1.0


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_known_answers(counter, key, expected):
    """Random123, kat_vectors, philox4x32 10."""
    found = reference.philox4x32([int(c, 16) for c in counter.split()], [int(k, 16) for k in key.split()])
    assert [f"{int(w):08x}" for w in found] == expected.split()


def test_normals_by_hand():
    """u = 1/2 at word 2^31 (+ 2^-33, below float32), and quarter turns."""
    r = np.sqrt(2 * np.log(2))
    eighths = [(1, 0), (0.5**0.5, 0.5**0.5), (0, 1), None, (-1, 0), None, (0, -1)]
    for eighth, direction in enumerate(eighths):
        if direction is not None:
            found = reference.box_muller(np.array(2**31), np.array(eighth * 2**29))
            np.testing.assert_allclose(found, r * np.array(direction), atol=1e-15)
    assert reference.uniform(np.array(0)) == 2.0**-33
    assert reference.uniform(np.array(2**32 - 1)) == 1.0


# ---- the whole VAE -----------------------------------------------------------------------------------------------


def vae_parameters(rng, data, hidden, latent, decoder_hidden=None):
    widths = {"encoder": (data, *hidden), "decoder": (latent, *(decoder_hidden or hidden[::-1]), data)}
    shapes = {f"encoder.{i}": s for i, s in enumerate(zip(widths["encoder"], widths["encoder"][1:], strict=False))}
    shapes |= {"mu": (widths["encoder"][-1], latent), "logvar": (widths["encoder"][-1], latent)}
    shapes |= {f"decoder.{i}": s for i, s in enumerate(zip(widths["decoder"], widths["decoder"][1:], strict=False))}
    params = {}
    for name, shape in shapes.items():
        params[name + ".weight"] = rng.normal(size=shape) / np.sqrt(shape[0])
        params[name + ".bias"] = rng.normal(scale=0.3, size=shape[1])
    return params


def smallest_preactivation(params, x, noise, activation):
    """How near the nearest hidden unit is to its kink, checked by moving nothing but the forward pass."""
    seen = []
    value = ACTIVATIONS[activation][0]
    h = x
    for i in range(2):
        a = h @ params[f"encoder.{i}.weight"] + params[f"encoder.{i}.bias"]
        seen.append(a)
        h = value(a)
    mu, logvar = (h @ params[f"{n}.weight"] + params[f"{n}.bias"] for n in ("mu", "logvar"))
    h = mu + np.exp(logvar / 2) * noise
    for i in range(2):
        a = h @ params[f"decoder.{i}.weight"] + params[f"decoder.{i}.bias"]
        seen.append(a)
        h = value(a)
    return min(np.abs(a).min() for a in seen)


def check_vae_gradients(loss, params):
    for name, gradient in loss(params)[2].items():

        def moved(value, name=name):
            return np.array(loss({**params, name: value})[0])

        check_gradient(gradient, moved, params[name])


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_vae(activation, likelihood):
    for seed in range(100):
        rng = np.random.default_rng(seed)
        params = vae_parameters(rng, 3, (4, 3), 2)
        x, noise = rng.uniform(size=(2, 3)), rng.normal(size=(2, 2))
        if smallest_preactivation(params, x, noise, activation) > 0.02:
            break
    else:
        raise AssertionError("no seed keeps off the kinks")

    def loss(p):
        return reference.vae_loss_and_gradients(p, x, noise, activation, likelihood, sigma=0.6, beta=0.7)

    _, parts, gradients = loss(params)
    assert list(gradients) == list(params)
    assert loss(params)[0] == pytest.approx(parts["nll"] + 0.7 * parts["kl"], rel=1e-12)
    check_vae_gradients(loss, params)


def test_vae_without_hidden_layers():
    params = {k: v for k, v in vae_parameters(RNG, 3, (), 2, None).items() if not k.startswith("encoder")}
    x, noise = RNG.uniform(size=(4, 3)), RNG.normal(size=(4, 2))

    def loss(p):
        return reference.vae_loss_and_gradients(p, x, noise, "identity", "gaussian", sigma=0.6)

    check_vae_gradients(loss, params)


@pytest.mark.parametrize("hidden", [(), (4, 3)])
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("sigma", ["learned", "optimal"])
def test_vae_with_linear_paths_and_a_sigma(sigma, size, hidden):
    """One for all columns, or one each."""
    rng = np.random.default_rng(1)
    params = vae_parameters(rng, 3, hidden, 2, (4, 3))
    params |= {"decoder.linear.weight": rng.normal(size=(2, 3)), "sigma.parameter": rng.normal(scale=0.1, size=size)}
    if hidden:
        params["mu.linear.weight"] = rng.normal(size=(3, 2))
    x, noise, lowest = rng.normal(size=(4, 3)), rng.normal(size=(4, 2)), np.full(size, -0.5)
    chosen = {} if sigma == "learned" else {"sigma": "optimal"}

    def loss(p):
        return reference.vae_loss_and_gradients(p, x, noise, "tanh", "gaussian", lowest=lowest, **chosen)

    gradients = loss(params)[2]
    assert list(gradients) == list(params)
    assert gradients["sigma.parameter"].any() == (sigma == "learned")
    if sigma == "optimal":  # no function of it
        params.pop("sigma.parameter")
    check_vae_gradients(lambda p: (*loss(p)[:2], {n: g for n, g in loss(p)[2].items() if n in params}), params)


OBJECTIVES = {
    "mean": {"beta": 0.7},
    "free bits": {"beta": 0.7, "free_bits": 0.5},
    "importance weights": {"objective": "iwae"},
}


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("how", OBJECTIVES)
def test_vae_with_several_samples(how, samples, likelihood):
    """By differences, also of a learned sigma, and with a logvar beyond its limits."""
    rng = np.random.default_rng(2)
    params = vae_parameters(rng, 3, (4,), 2)
    params["logvar.bias"][1] -= 40 if how == "importance weights" else 0
    if likelihood == "gaussian":
        params["sigma.parameter"] = rng.normal(scale=0.1, size=3)
    x, noise, lowest = rng.uniform(size=(4, 3)), rng.normal(size=(4 * samples, 2)), np.full(3, -0.5)

    def loss(p):
        how_far = OBJECTIVES[how] | {"lowest": lowest}
        return reference.vae_loss_and_gradients(p, x, noise, "tanh", likelihood, **how_far)

    found, parts, gradients = loss(params)
    assert set(gradients) == set(params)
    check_vae_gradients(loss, params)
    if how == "free bits":
        mean = found - parts["nll"] - 0.7 * parts["kl"]
        assert 0.05 < mean < 0.7  # one dimension lacks something, and not all
    assert (how != "importance weights") or gradients["logvar.bias"][1] == 0


def test_one_importance_weight_is_the_bound_of_one_sample():
    """-log w = nll - log p(z) + log q(z|x)."""
    rng = np.random.default_rng(3)
    mu, logvar, noise, nll = *rng.normal(size=(3, 5, 2)), rng.normal(size=5)
    z, log_ratio = reference.latent_samples_forward(mu, logvar, noise)
    bound, weights = reference.importance_weights(log_ratio, nll, 5)
    np.testing.assert_allclose(log_ratio, 0.5 * (noise**2 - z**2 + logvar).sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(bound, nll - log_ratio, rtol=1e-12)
    np.testing.assert_array_equal(weights, 1)


# ---- probabilistic PCA -------------------------------------------------------------------------------------------


def pca(data=4, latent=2):
    rng = np.random.default_rng(7)
    return rng.normal(size=(5, data)), rng.normal(size=(data, latent)), rng.normal(size=data), 0.6


def test_log_prob_pca_by_quadrature():
    """log of the integral of N(z; 0, I) N(x; W z + m, sigma^2 I) over a plane of z."""
    x, W, m, sigma = pca()
    u = np.linspace(-9, 9, 361)
    z = np.stack(np.meshgrid(u, u, indexing="ij"), axis=-1).reshape(-1, 2)
    log_prior = -0.5 * (z**2).sum(axis=1) - np.log(2 * np.pi)
    for x_i, found in zip(x, reference.log_prob_pca(x, W, m, sigma), strict=True):
        nll = reference.squared_error_forward_backward(np.broadcast_to(x_i, (len(z), 4)), z @ W.T + m, sigma)[0]
        np.testing.assert_allclose(found, np.log(np.exp(log_prior - nll).sum() * 0.05**2), rtol=1e-10)


def test_posterior_pca_by_bayes():
    """p(z|x) p(x) = p(x|z) p(z), at random z."""
    x, W, m, sigma = pca()
    mean, covariance = reference.posterior_pca(x, W, m, sigma)
    z = np.random.default_rng(1).normal(size=(5, 2))
    r = z - mean
    log_det = np.linalg.slogdet(2 * np.pi * covariance)[1]
    log_posterior = -0.5 * ((r @ np.linalg.inv(covariance) * r).sum(axis=1) + log_det)
    nll = reference.squared_error_forward_backward(x, z @ W.T + m, sigma)[0]
    log_prior = -0.5 * (z**2 + np.log(2 * np.pi)).sum(axis=1)
    expected = reference.log_prob_pca(x, W, m, sigma)
    np.testing.assert_allclose(log_prior - nll - log_posterior, expected, rtol=1e-12)


def test_elbo_gap_pca():
    """log p(x) - ELBO at the best diagonal q, whose ELBO is E_q[log p(x|z)] - KL in closed form; no other is better."""
    x, W, m, sigma = pca()
    mean, _ = reference.posterior_pca(x, W, m, sigma)
    best = sigma**2 / np.diag(W.T @ W + sigma**2 * np.eye(2))

    def elbo(variance):
        nll = reference.squared_error_forward_backward(x, mean @ W.T + m, sigma)[0]
        nll = nll + (W**2 @ variance).sum() / (2 * sigma**2)  # E||W (z - mean)||^2
        return -nll - reference.kl_terms(mean, np.log(variance)).sum(axis=1)

    gap = reference.log_prob_pca(x, W, m, sigma) - elbo(best)
    np.testing.assert_allclose(gap, reference.elbo_gap_pca(W, sigma), rtol=1e-11)
    assert gap.min() > 0.01
    for change in ([1.01, 1], [0.99, 1], [1, 1.01], [1, 0.99]):
        assert (elbo(best * change) < elbo(best)).all()
