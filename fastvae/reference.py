"""The mathematics of fastvae in float64 NumPy: written to be read, from the formulas alone, importing nothing of it.

Shapes: B batch, D data, H outputs of a layer, Z latent. Everything in nats, sums over columns, means over the batch.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

LEAKY_SLOPE = 0.01
LOGVAR_LOWEST, LOGVAR_HIGHEST = -30.0, 20.0
LOG_RATE_HIGHEST = 30.0
LATENT, BINARIZATION, PRIOR, INITIALISATION, SHUFFLE, OBSERVATION = range(6)  # streams of noise

# ---- activations: value and derivative, both from the argument a -------------------------------------------------


def sigmoid(a):
    """1 / (1 + e^-a)."""
    e = np.exp(-np.abs(a))
    return np.where(a < 0, e, 1.0) / (1.0 + e)


def softplus(a):
    """ln(1 + e^a)."""
    return np.maximum(a, 0.0) + np.log1p(np.exp(-np.abs(a)))


def silu(a):
    """a / (1 + e^-a)."""
    return a * sigmoid(a)


def d_silu(a):
    """s + a s (1 - s), with s = sigmoid(a)."""
    return sigmoid(a) + a * sigmoid(a) * sigmoid(-a)


ACTIVATIONS: dict[str, tuple[Callable, Callable]] = {
    "identity": (lambda a: a, np.ones_like),
    "relu": (lambda a: np.maximum(a, 0.0), lambda a: np.where(a > 0, 1.0, 0.0)),
    "leaky_relu": (lambda a: np.where(a > 0, a, LEAKY_SLOPE * a), lambda a: np.where(a > 0, 1.0, LEAKY_SLOPE)),
    "tanh": (np.tanh, lambda a: 4 * sigmoid(2 * a) * sigmoid(-2 * a)),  # 1 - tanh^2 without its cancellation
    "sigmoid": (sigmoid, lambda a: sigmoid(a) * sigmoid(-a)),
    "softplus": (softplus, sigmoid),
    "silu": (silu, d_silu),
}

# ---- dense layer -------------------------------------------------------------------------------------------------


def dense_forward(x, weight, bias, activation):
    """y = activation(x @ weight + bias)."""
    return ACTIVATIONS[activation][0](x @ weight + bias)


def dense_backward(x, weight, bias, activation, d_y):
    """d_x, d_weight, d_bias."""
    d_a = d_y * ACTIVATIONS[activation][1](x @ weight + bias)
    return d_a @ weight.T, x.T @ d_a, d_a.sum(axis=0)


# ---- columns side by side ----------------------------------------------------------------------------------------


def concatenate(a, b):
    """a (B, D) and b (N, C) side by side, each row of b beside the B / N rows of a that go with it."""
    return np.concatenate([a, np.repeat(b, len(a) // len(b), axis=0)], axis=1)


def concatenate_backward(d_out, columns):
    """The gradient of a, which has so many columns."""
    return d_out[:, :columns]


# ---- latent layer ------------------------------------------------------------------------------------------------


def limited(logvar):
    """logvar in [-30, 20]."""
    return np.clip(logvar, LOGVAR_LOWEST, LOGVAR_HIGHEST)


def kl_terms(mu, logvar):
    """KL[N(mu, exp(logvar)) || N(0, 1)] = 1/2 (exp(logvar) + mu^2 - 1 - logvar), of each entry."""
    near = np.where(np.abs(logvar) < 1e-2, logvar, 0.0)
    series = near**2 / 2 * (1 + near / 3 * (1 + near / 4 * (1 + near / 5 * (1 + near / 6 * (1 + near / 7)))))
    excess = np.where(np.abs(logvar) < 1e-2, series, np.expm1(logvar) - logvar)  # exp(l) - 1 - l cancels near 0
    return 0.5 * (mu**2 + excess)


def latent_forward(mu, logvar, noise):
    """z = mu + exp(logvar / 2) noise, and kl (B,)."""
    logvar = limited(logvar)
    return mu + np.exp(logvar / 2) * noise, kl_terms(mu, logvar).sum(axis=1)


def latent_backward(mu, logvar, noise, d_z, d_kl):
    """d_mu, d_logvar from the gradients of z (B, Z) and of kl (B,) or a number."""
    inside = (logvar >= LOGVAR_LOWEST) & (logvar <= LOGVAR_HIGHEST)
    logvar, d_kl = limited(logvar), np.reshape(d_kl, (-1, 1))
    d_mu = d_z + d_kl * mu
    d_logvar = d_z * noise * np.exp(logvar / 2) / 2 + d_kl * np.expm1(logvar) / 2
    return d_mu, np.where(inside, d_logvar, 0.0)


def log_normal(z, mu, logvar):
    """log N(z; mu, diag(exp(logvar))), (B,)."""
    return -0.5 * ((z - mu) ** 2 / np.exp(logvar) + logvar + np.log(2 * np.pi)).sum(axis=1)


def repeated(array, rows):
    """(N, ...) as (rows, ...): each row as often as `rows` is a multiple of N."""
    return np.repeat(array, rows // len(array), axis=0)


def latent_samples_forward(mu, logvar, noise):
    """z (B, Z) and log p(z) - log q(z|x) (B,): of mu and logvar (N, Z) and noise (B, Z), K rows for each of them."""
    mu, logvar = repeated(mu, len(noise)), repeated(limited(logvar), len(noise))
    z = mu + np.exp(logvar / 2) * noise
    return z, log_normal(z, np.zeros_like(mu), np.zeros_like(mu)) - log_normal(z, mu, logvar)


def importance_weights(log_ratio, nll, rows):
    """-log 1/K sum_k w_k (N,), and w_k / sum_j w_j (B,), with log w = log_ratio - nll (B,), of `rows` = N examples."""
    log_w = (log_ratio - nll).reshape(rows, -1)
    highest = log_w.max(axis=1, keepdims=True)
    w = np.exp(log_w - highest)
    return -(highest[:, 0] + np.log(w.mean(axis=1))), (w / w.sum(axis=1, keepdims=True)).ravel()


def latent_samples_backward(mu, logvar, noise, d_z, weights=None, doubly=False, d_kl=0.0, counted=1.0):
    """d_mu, d_logvar (N, Z) from the gradients of z (B, Z), with K rows for each of mu.

    With weights (B,) also those of the sum of weights times -(log p(z) - log q(z|x)), whose differentials are by hand:
    of -log p(z), z dz; of log q(z|x), -dlogvar / 2, as z - mu moves with its deviation. `doubly`: the same where mu and
    logvar of q are held, of log q -eps dz / sigma; each sample once more times its share of its example's weights.
    d_kl is the gradient of the KL (N,), which has effect in the dimensions `counted` (Z,).
    """
    count, inside = len(mu), (logvar >= LOGVAR_LOWEST) & (logvar <= LOGVAR_HIGHEST)
    a = np.zeros((len(d_z), 1)) if weights is None else weights[:, None]
    sigma = repeated(np.exp(limited(logvar) / 2), len(d_z))
    z = repeated(mu, len(d_z)) + sigma * noise
    if doubly:
        share = a / repeated(a.reshape(count, -1).sum(axis=1), len(a))[:, None]
        by_z, directly = share * (d_z + a * (z - noise / sigma)), np.zeros_like(a)
    else:
        by_z, directly = d_z + a * z, -a / 2
    summed = [
        each.reshape(count, -1, each.shape[1]).sum(axis=1) for each in (by_z, by_z * noise * sigma / 2 + directly)
    ]
    d_mu = summed[0] + d_kl * counted * mu
    return d_mu, np.where(inside, summed[1] + d_kl * counted * np.expm1(limited(logvar)) / 2, 0.0)


def free_bits(mu, logvar, least):
    """Of each latent dimension: whether the mean of its KL over the batch is above `least`, and what the sum of its KLs
    lacks to that many times `least`, from 0. Kingma et al. 2016, section on free bits."""
    mean = kl_terms(mu, limited(logvar)).mean(axis=0)
    return mean > least, len(mu) * np.maximum(least - mean, 0.0)


# ---- likelihoods -------------------------------------------------------------------------------------------------


def squared_error_forward_backward(x, xhat, sigma):
    """nll (B,) of N(x; xhat, diag(sigma^2)) and its gradient by xhat; sigma a number, or (D,)."""
    nll = ((x - xhat) ** 2 / (2 * sigma**2) + np.log(sigma) + 0.5 * np.log(2 * np.pi)).sum(axis=1)
    return nll, (xhat - x) / sigma**2


def soft_sigma(parameter, lowest):
    """sigma and d log sigma / d parameter: log sigma = lowest + softplus(10 parameter - lowest)."""
    a = 10 * parameter - lowest
    return np.exp(lowest + softplus(a)), 10 * sigmoid(a)


def d_log_sigma(x, xhat, sigma, weights=1.0):
    """The sum over the batch of nll, of rows with weights (B,), differentiated by the logarithm of each column's sigma:
    (D,)."""
    return (np.reshape(weights, (-1, 1)) * (1 - ((x - xhat) / sigma) ** 2)).sum(axis=0)


def optimal_sigma(x, xhat, lowest):
    """sigma^2 = mean of (x - xhat)^2, over all columns or of each, as `lowest` (1,) or (D,) has it; log sigma is at
    least that. Rybkin et al. 2021."""
    squares = (x - xhat) ** 2
    return np.sqrt(np.maximum(squares.mean(axis=0) if len(lowest) > 1 else squares.mean(), np.exp(2 * lowest)))


def remembered_sigma(old, seen, step, share):
    """A running mean of sigma^2: of all batches at first, later of about ten; this one is `share` of a whole one."""
    new = 1.0 if step == 1 else share * max(0.1, 1 / step)
    return np.sqrt((1 - new) * old**2 + new * seen**2)


def bernoulli_forward_backward(x, logits):
    """nll (B,) and its gradient by the logits, from -x log p - (1 - x) log(1 - p) with log p = -softplus(-a)."""
    nll = (x * softplus(-logits) + (1 - x) * softplus(logits)).sum(axis=1)
    return nll, (1 - x) * sigmoid(logits) - x * sigmoid(-logits)


log_gamma = np.vectorize(math.lgamma, otypes=[float])


def poisson_forward_backward(x, log_rate):
    """nll (B,) of counts and its gradient by the log rate a, from -log p = e^a - x a + log x!; above a = 30 the tangent
    of e^a takes its place."""
    limited = np.minimum(log_rate, LOG_RATE_HIGHEST)
    rate = np.exp(limited)
    nll = (rate * (1 + log_rate - limited) - x * log_rate + log_gamma(x + 1)).sum(axis=1)
    return nll, rate - x


def adam(
    params, grads, m, v, step, learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.0, grad_scale=1.0
):
    """The parameters and both moments after one step; steps count from 1."""
    g = grad_scale * grads
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    mhat, vhat = m / (1 - beta1**step), v / (1 - beta2**step)
    return params - learning_rate * (mhat / (np.sqrt(vhat) + epsilon) + weight_decay * params), m, v


def sgd(params, grads, velocity, learning_rate, momentum=0.9, nesterov=False, weight_decay=0.0, grad_scale=1.0):
    """The parameters and the velocity after one step. Sutskever et al. 2013, with the rate outside the velocity."""
    g = grad_scale * grads
    velocity = momentum * velocity + g
    direction = g + momentum * velocity if nesterov else velocity
    return params - learning_rate * (direction + weight_decay * params), velocity


def averaged(average, params, share):
    """The average of parameters after those of one more step, which count as `share` of it."""
    return (1 - share) * average + share * params


def clip_scale(grads, largest):
    """By what a gradient is multiplied so that its Euclidean norm is at most `largest`. Pascanu et al. 2013."""
    norm = np.sqrt((grads**2).sum())
    return largest / norm if norm > largest else 1.0


# ---- noise: Philox4x32-10, 32-bit words kept in uint64 -----------------------------------------------------------

MASK = np.uint64(0xFFFFFFFF)


def philox4x32(counter, key):
    """Four words from a counter of four and a key of two, each an array or a number. Salmon et al. 2011."""
    c0, c1, c2, c3 = (np.asarray(c, np.uint64) & MASK for c in counter)
    k0, k1 = (int(k) for k in key)
    for _ in range(10):
        p0, p1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (
            (p1 >> np.uint64(32)) ^ c1 ^ np.uint64(k0), p1 & MASK, (p0 >> np.uint64(32)) ^ c3 ^ np.uint64(k1), p0 & MASK
        )  # fmt: skip
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


def words(seed, stream, step, first_row, shape):
    """(B, D) words: entry (i, j) is word j % 4 at counter (j // 4, first_row + i, step, stream) under key `seed`."""
    rows, columns = shape
    blocks = np.arange((columns + 3) // 4, dtype=np.uint64)[None, :]
    positions = np.uint64(first_row) + np.arange(rows, dtype=np.uint64)[:, None]
    four = philox4x32((blocks, positions, step % 2**32, stream), (int(seed) % 2**32, int(seed) >> 32))
    return np.stack(np.broadcast_arrays(*four), axis=-1).reshape(rows, -1)[:, :columns]


def uniform(word):
    """In [2^-33, 1], as float32 holds it: which float32 it is decides how far the tail of a normal reaches."""
    u = np.asarray(word).astype(np.float32).astype(np.float64) * 2.0**-32 + 2.0**-33
    return u.astype(np.float32).astype(np.float64)


def uniforms(seed, stream, step, first_row, shape):
    """(B, D) numbers in [2^-33, 1]."""
    return uniform(words(seed, stream, step, first_row, shape))


def corrupted(x, kind, amount, words, normals):
    """x (B, D) as an encoder is shown it: with N(0, amount^2) added, or, each number with probability `amount`, 0 in
    its place ("masking"), or 0 or 1 with equal odds ("salt_and_pepper"). Vincent et al. 2010."""
    if kind == "gaussian":
        return x + amount * normals
    hit = words // 256 / 2.0**24 < amount
    return np.where(hit, words % 2 if kind == "salt_and_pepper" else 0.0, x)


def box_muller(word_radius, word_angle):
    """r cos t, r sin t with r = sqrt(-2 ln u). Box and Muller 1958."""
    r = np.sqrt(-2 * np.log(uniform(word_radius)))
    t = 2 * np.pi * (np.asarray(word_angle).astype(np.float64) / 2.0**32)
    return r * np.cos(t), r * np.sin(t)


def normals(seed, stream, step, first_row, shape):
    """Words 0, 1 of a block give columns 0, 1; words 2, 3 give columns 2, 3."""
    rows, columns = shape
    w = words(seed, stream, step, first_row, (rows, 4 * ((columns + 3) // 4)))
    return np.stack(box_muller(w[:, 0::2], w[:, 1::2]), axis=-1).reshape(rows, -1)[:, :columns]


def sample_normals(seed, stream, first_sample, first_row, samples, shape):
    """(N K, Z) for shape (N, Z): row i K + k is sample k of example i, at step first_sample + k, row first_row + i."""
    each = [normals(seed, stream, first_sample + k, first_row, shape) for k in range(samples)]
    return np.stack(each, axis=1).reshape(shape[0] * samples, shape[1])


# ---- the whole VAE -----------------------------------------------------------------------------------------------


def _mlp_forward(params, prefix, x, activation, last_activation):
    """Output, and for each layer (name, input, activation)."""
    layers, count = [], 0
    while f"{prefix}.{count}.weight" in params:
        count += 1
    for i in range(count):
        name, f = f"{prefix}.{i}", last_activation if i == count - 1 else activation
        layers.append((name, x, f))
        x = dense_forward(x, params[name + ".weight"], params[name + ".bias"], f)
    return x, layers


def _dense_backward_into(gradients, params, name, x, activation, d_y):
    weight, bias = params[name + ".weight"], params[name + ".bias"]
    d_x, gradients[name + ".weight"], gradients[name + ".bias"] = dense_backward(x, weight, bias, activation, d_y)
    return d_x


def vae_loss_and_gradients(
    params, x, noise, activation, likelihood, sigma=1.0, beta=1.0, lowest=None, objective="elbo", free_bits=0.0
):
    """Loss = mean over the batch of nll + beta kl; {"nll", "kl"}, also means; gradients by name.

    Of noise (B K, Z) row i K + k is that of sample k of example i. `objective`: "elbo", with kl the sum over latent
    dimensions of max(free_bits, mean of its KL); "iwae", the mean of -log 1/K sum_k w_k; or "dreg", the same with
    another gradient of mu and logvar. See `importance_weights` and `latent_samples_backward`.

    `params`: encoder.i.weight, encoder.i.bias, mu.*, logvar.*, decoder.i.*; the decoder's last layer is linear. Where
    they are there, mu.linear.weight and decoder.linear.weight are linear paths from x to mu and from z to the decoder's
    output, and sigma.parameter (1,) or (D,), with its `lowest`, is in place of sigma: see `soft_sigma`. sigma "optimal"
    is the best one of the batch: see `optimal_sigma`.
    """
    h, encoder = _mlp_forward(params, "encoder", x, activation, activation)
    mu = dense_forward(h, params["mu.weight"], params["mu.bias"], "identity")
    logvar = dense_forward(h, params["logvar.weight"], params["logvar.bias"], "identity")
    if "mu.linear.weight" in params:
        mu = mu + x @ params["mu.linear.weight"]
    (z, log_ratio), kl = latent_samples_forward(mu, logvar, noise), kl_terms(mu, limited(logvar))
    out, decoder = _mlp_forward(params, "decoder", z, activation, "identity")
    if "decoder.linear.weight" in params:
        out = out + z @ params["decoder.linear.weight"]
    found: dict[str, np.ndarray] = {}
    rows, each = len(x), repeated(x, len(noise))
    if likelihood == "bernoulli":
        nll, d_out = bernoulli_forward_backward(each, out)
    else:
        if isinstance(sigma, str):
            sigma = optimal_sigma(each, out, lowest)
            found["sigma.parameter"] = np.zeros(len(lowest))  # the loss does not change with the best one
        elif "sigma.parameter" in params:
            sigma, slope = soft_sigma(params["sigma.parameter"], lowest)
        nll, d_out = squared_error_forward_backward(each, out, sigma)

    parts, counted = {"nll": nll.mean(), "kl": kl.sum(axis=1).mean()}, kl.mean(axis=0) > free_bits
    if objective == "elbo":
        loss = parts["nll"] + beta * np.maximum(kl.mean(axis=0), free_bits).sum()
        weights = np.full(len(nll), 1 / len(nll))
        how: tuple[Any, ...] = None, False, beta / rows, counted
    else:
        bound, weights = importance_weights(log_ratio, nll, rows)
        loss, weights = bound.mean(), weights / rows
        how = weights, objective == "dreg"
    if "sigma.parameter" in params and "sigma.parameter" not in found:
        d_each = d_log_sigma(each, out, sigma, weights)
        found["sigma.parameter"] = slope * (d_each if len(slope) > 1 else d_each.sum())
    d_out = d = weights[:, None] * d_out
    for name, layer_x, f in reversed(decoder):
        d = _dense_backward_into(found, params, name, layer_x, f, d)
    if "decoder.linear.weight" in params:
        found["decoder.linear.weight"] = z.T @ d_out
        d = d + d_out @ params["decoder.linear.weight"].T
    d_mu, d_logvar = latent_samples_backward(mu, logvar, noise, d, *how)
    if "mu.linear.weight" in params:
        found["mu.linear.weight"] = x.T @ d_mu
    d = _dense_backward_into(found, params, "mu", h, "identity", d_mu)
    d = d + _dense_backward_into(found, params, "logvar", h, "identity", d_logvar)
    for name, layer_x, f in reversed(encoder):
        d = _dense_backward_into(found, params, name, layer_x, f, d)
    return loss, parts, {name: found[name] for name in params if name in found}


# ---- the linear VAE: probabilistic PCA, x = W z + m + sigma e. Tipping and Bishop 1999 ---------------------------


def log_prob_pca(x, W, m, sigma):
    """log N(x; m, W W' + sigma^2 I), (B,); W is (D, Z)."""
    covariance = W @ W.T + sigma**2 * np.eye(len(W))
    r = x - m
    log_det = np.linalg.slogdet(covariance)[1]
    return -0.5 * ((r * np.linalg.solve(covariance, r.T).T).sum(axis=1) + log_det + len(W) * np.log(2 * np.pi))


def posterior_pca(x, W, m, sigma):
    """Mean (B, Z) and covariance (Z, Z) of p(z|x): M^-1 W'(x - m) and sigma^2 M^-1, with M = W'W + sigma^2 I."""
    M = W.T @ W + sigma**2 * np.eye(W.shape[1])
    return np.linalg.solve(M, W.T @ (x - m).T).T, sigma**2 * np.linalg.inv(M)


def elbo_gap_pca(W, sigma):
    """log p(x) - ELBO under the best diagonal q, for every x: 1/2 (sum log M_kk - log det M)."""
    M = W.T @ W + sigma**2 * np.eye(W.shape[1])
    return 0.5 * (np.log(np.diag(M)).sum() - np.linalg.slogdet(M)[1])
