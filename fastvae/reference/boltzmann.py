"""A restricted Boltzmann machine of binary hidden units, by all of its states.

    binary v    -E(v, h) = a' v + v' W h + b' h
    real v      -E(v, h) = -1/2 |v / sigma - a|^2 + (v / sigma)' W h + b' h

`params`: a (D,), W (D, H), b (H,); of real v sigma (D,), or 1. Smolensky 1986; Hinton 2002; Welling, Rosen-Zvi and
Hinton 2005 for real v.
"""

import numpy as np

from fastvae.reference.activations import sigmoid, softplus
from fastvae.reference.dbm import states


def rbm_free_energy(params, v, binary=True):
    """F(v) = -log sum over h of exp(-E(v, h)), (B,)."""
    sigma = 1.0 if binary else params.get("sigma", 1.0)
    v = v / sigma
    alone = v @ params["a"] if binary else -0.5 * ((v - params["a"]) ** 2).sum(axis=1)
    return -alone - softplus(v @ params["W"] + params["b"]).sum(axis=1)


def rbm_log_z(params, binary=True):
    """log of the sum, or the integral, over all v of exp(-F(v)): over all states of h, with v summed out."""
    h = states(len(params["b"]))
    product = h @ params["W"].T
    if binary:
        v_out = softplus(product + params["a"]).sum(axis=1)
    else:  # of exp(-|v - a|^2 / 2 + v' m): (2 pi)^(D/2) exp(a' m + |m|^2 / 2), of v / sigma
        sigma = np.broadcast_to(params.get("sigma", 1.0), params["a"].shape)
        v_out = product @ params["a"] + 0.5 * (product**2).sum(axis=1)
        v_out = v_out + 0.5 * len(sigma) * np.log(2 * np.pi) + np.log(sigma).sum()
    terms = h @ params["b"] + v_out
    return terms.max() + np.log(np.exp(terms - terms.max()).sum())


def rbm_gradients(params, v):
    """Of the mean over rows v (B, D) of log p(v), binary: what -E changes by under the data less under the model."""
    every = states(len(params["a"]))
    p = np.exp(-rbm_free_energy(params, every) - rbm_log_z(params))
    found: dict[str, np.ndarray] = {}
    for rows, weights, sign in ((v, np.full(len(v), 1 / len(v)), 1), (every, p, -1)):
        h = sigmoid(rows @ params["W"] + params["b"])
        own = {"a": weights @ rows, "W": rows.T @ (weights[:, None] * h), "b": weights @ h}
        found = {name: found.get(name, np.zeros_like(value)) + sign * value for name, value in own.items()}
    return found


def bipartite_path(params, path, uniforms):
    """Chains of annealed importance sampling between binary units s and t: (s, log weights) at the end of a path of
    betas that begins at 0. Salakhutdinov and Murray 2008.

    `params`: W (S, T), a, a_first (S,), b, b_first (T,). `uniforms` are drawn from (0, 1) in the order of use: (n, S),
    then (n, T) and (n, S) in turn.
    """
    a, b = ([(1 - beta) * params[f"{name}_first"] + beta * params[name] for beta in path] for name in ("a", "b"))
    noise = iter(uniforms)
    s, total = (next(noise) <= sigmoid(a[0])).astype(float), 0.0
    for k in range(len(path) - 1):
        if k:
            t = next(noise) <= sigmoid(path[k] * s @ params["W"] + b[k])
            s = (next(noise) <= sigmoid(path[k] * t @ params["W"].T + a[k])).astype(float)
        log_p = [s @ a[i] + softplus(path[i] * s @ params["W"] + b[i]).sum(axis=1) for i in (k, k + 1)]
        total = total + log_p[1] - log_p[0]
    return s, total
