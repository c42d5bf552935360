"""The whole VAE: its loss, and the gradient by every parameter."""

from typing import Any

import numpy as np

from fastvae.reference.dense import dense_backward, dense_forward
from fastvae.reference.latent import (
    importance_weights,
    kl_terms,
    latent_samples_backward,
    latent_samples_forward,
    limited,
    repeated,
)
from fastvae.reference.likelihoods import (
    bernoulli_forward_backward,
    d_log_sigma,
    optimal_sigma,
    soft_sigma,
    squared_error_forward_backward,
)


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
