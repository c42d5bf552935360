"""The deep Boltzmann machine with two hidden layers: everything, by enumeration where there is no closed form.

    -E(v, h1, h2) = visible' v + v' W1 h1 + b1' h1 + h1' W2 h2 + b2' h2        p(v, h1, h2) = exp(-E) / Z

Units are 0 or 1. `params`: visible (D,), W1 (D, H1), b1 (H1,), W2 (H1, H2), b2 (H2,). Salakhutdinov and Hinton 2009.
"""

from itertools import product

import numpy as np

from fastvae.reference.activations import sigmoid, softplus


def states(units):
    """All states of so many units: (2^units, units)."""
    return np.array(list(product((0.0, 1.0), repeat=units)))


def dbm_energy(params, v, h1, h2):
    """E of rows v (B, D), h1 (B, H1) and h2 (B, H2): (B,)."""
    linear = v @ params["visible"] + h1 @ params["b1"] + h2 @ params["b2"]
    return -linear - np.sum((v @ params["W1"]) * h1, axis=1) - np.sum((h1 @ params["W2"]) * h2, axis=1)


def dbm_log_unnormalised(params):
    """-E of all states (2^D, 2^H1, 2^H2)."""
    v, h1, h2 = (states(len(params[name])) for name in ("visible", "b1", "b2"))
    by_v = v @ params["visible"]
    by_h1 = h1 @ params["b1"]
    by_h2 = h2 @ params["b2"]
    below, above = v @ params["W1"] @ h1.T, h1 @ params["W2"] @ h2.T
    return (by_v[:, None] + by_h1 + below)[:, :, None] + above[None] + by_h2


def dbm_log_z(params):
    """log Z: by all states of h1, between which and those of v and h2 sums of products have closed forms."""
    h1 = states(len(params["b1"]))
    of_v = softplus(params["visible"] + h1 @ params["W1"].T).sum(axis=1)
    of_h2 = softplus(params["b2"] + h1 @ params["W2"]).sum(axis=1)
    terms = h1 @ params["b1"] + of_v + of_h2
    return terms.max() + np.log(np.exp(terms - terms.max()).sum())


def dbm_log_prob(params, v):
    """log p(v) of rows (B, D), exactly: (B,)."""
    h1 = states(len(params["b1"]))
    of_h2 = softplus(params["b2"] + h1 @ params["W2"]).sum(axis=1)
    terms = (v @ params["W1"] + params["b1"]) @ h1.T + of_h2
    largest = terms.max(axis=1)
    summed = largest + np.log(np.exp(terms - largest[:, None]).sum(axis=1))
    return v @ params["visible"] + summed - dbm_log_z(params)


def dbm_mean_field(params, v, sweeps, h2):
    """q(h1) and q(h2), products of Bernoulli distributions, as their means (B, H1) and (B, H2): `sweeps` times h1 given
    h2, then h2 given h1, from the h2 that is given: coordinate ascent of `dbm_bound`."""
    for _ in range(sweeps):
        h1 = sigmoid(v @ params["W1"] + params["b1"] + h2 @ params["W2"].T)
        h2 = sigmoid(h1 @ params["W2"] + params["b2"])
    return h1, h2


def entropy(p):
    """That of Bernoulli variables with means p, each: p in (0, 1)."""
    return -p * np.log(p) - (1 - p) * np.log(1 - p)


def dbm_bound(params, v, h1, h2):
    """E_q[-E] + H(q) - log Z <= log p(v), for the means h1 (B, H1) and h2 (B, H2) of any q: (B,)."""
    entropies = entropy(h1).sum(axis=1) + entropy(h2).sum(axis=1)
    return -dbm_energy(params, v, h1, h2) + entropies - dbm_log_z(params)


def dbm_expectations(params):
    """Under the model, exactly: E[v], E[v h1'], E[h1], E[h1 h2'], E[h2], by the names of the parameters."""
    v, h1, h2 = (states(len(params[name])) for name in ("visible", "b1", "b2"))
    log_p = dbm_log_unnormalised(params)
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    return {
        "visible": p.sum(axis=(1, 2)) @ v,
        "W1": v.T @ p.sum(axis=2) @ h1,
        "b1": p.sum(axis=(0, 2)) @ h1,
        "W2": h1.T @ p.sum(axis=0) @ h2,
        "b2": p.sum(axis=(0, 1)) @ h2,
    }


def dbm_bound_gradients(params, v, h1, h2):
    """Of the mean over rows of the bound, at a q that is held fixed: what it expects less what the model does."""
    of_model, rows = dbm_expectations(params), len(v)
    of_data = {
        "visible": v.mean(axis=0),
        "W1": v.T @ h1 / rows,
        "b1": h1.mean(axis=0),
        "W2": h1.T @ h2 / rows,
        "b2": h2.mean(axis=0),
    }
    return {name: of_data[name] - of_model[name] for name in params}


def dbm_centred_gradients(data, model, offsets):
    """The gradients of a step, from rows (v, h1, h2) of the data and of chains, and offsets mu, lambda1, lambda2:

        dW1 = <(v - mu)(h1 - lambda1)'>_data - <...>_model          dW2 likewise
        dvisible = <v>_data - <v>_model - dW1 lambda1
        db1 = <h1>_data - <h1>_model - dW1' mu - dW2 lambda2          db2 = <h2>_data - <h2>_model - dW2' lambda1

    They are those of the centred parametrisation, taken back to this one: Montavon and Müller 2012; Melchior, Fischer
    and Wiskott 2016.
    """

    def products(v, h1, h2):
        v, h1, h2 = v - offsets[0], h1 - offsets[1], h2 - offsets[2]
        return v.T @ h1 / len(v), h1.T @ h2 / len(v)

    (below, above), (below_model, above_model) = products(*data), products(*model)
    d_below, d_above = below - below_model, above - above_model
    d_v, d_h1, d_h2 = (one.mean(axis=0) - other.mean(axis=0) for one, other in zip(data, model, strict=True))
    return {
        "visible": d_v - d_below @ offsets[1],
        "W1": d_below,
        "b1": d_h1 - d_below.T @ offsets[0] - d_above @ offsets[2],
        "W2": d_above,
        "b2": d_h2 - d_above.T @ offsets[1],
    }


def dbm_conditionals(params, v=None, h1=None, h2=None):
    """Means of the units given the others: of v and h2 where h1 is given, of h1 where v and h2 are."""
    if h1 is not None:
        return sigmoid(params["visible"] + h1 @ params["W1"].T), sigmoid(params["b2"] + h1 @ params["W2"])
    return sigmoid(v @ params["W1"] + params["b1"] + h2 @ params["W2"].T)
