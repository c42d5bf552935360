"""What the page computes of a model, in float64 NumPy: so that what rounded weights cost is known.

encode    u = (x - offset) / scale, c beside it; layers; mu, logvar        decode    z, c beside it; layers; a
elbo      the mean of log p(x|mu + exp(logvar / 2) eps) over a few symmetric eps, less the KL, in the user's units
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from fastvae.export.portable import Portable
from fastvae.layers import Half, Layer
from fastvae.likelihoods.kinds import KINDS
from fastvae.page.described import PortableTable
from fastvae.reference import (
    ACTIVATIONS,
    bernoulli_forward_backward,
    kl_terms,
    latent_backward,
    limited,
    mixed_inputs,
    mixed_terms,
    poisson_forward_backward,
    sigmoid,
    squared_error_forward_backward,
)

BLOCK = 128  # rows whose numbers are in memory at a time
LOSSES: dict[str, Callable[..., tuple[np.ndarray, np.ndarray]]] = {
    "bernoulli": lambda u, a, _: bernoulli_forward_backward(u, a),
    "gaussian": squared_error_forward_backward,
    "poisson": lambda u, a, _: poisson_forward_backward(u, a),
}
MEANS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"identity": lambda a: a, "sigmoid": sigmoid, "exp": np.exp}


@dataclass(frozen=True, eq=False)
class Traced:
    """What one layer saw, x (B, inputs), and gave, before its activation, a (B, outputs), and after, y."""

    layer: Layer
    x: np.ndarray
    a: np.ndarray
    y: np.ndarray


def forward(half: Half, rows: np.ndarray) -> tuple[list[Traced], dict[str, np.ndarray]]:
    """Each layer's numbers in order, the heads last; and what each head gives."""
    traced, y = [], rows
    for layer in half.layers:
        traced.append(_through(layer, y, rows))
        y = traced[-1].y
    heads = [_through(layer, y, rows) for layer in half.heads.values()]
    return traced + heads, {name: head.y for name, head in zip(half.heads, heads, strict=True)}


def _through(layer: Layer, x: np.ndarray, rows: np.ndarray) -> Traced:
    a = x @ layer.weight.astype(np.float64) + layer.bias
    if layer.beside is not None:
        a = a + rows @ layer.beside.astype(np.float64)
    return Traced(layer, x, a, ACTIVATIONS[layer.activation][0](a))


def backward(traced: list[Traced], heads: list[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
    """From the gradients of the heads' outputs those of each layer's a, in the order of `traced`, and of the rows."""
    split = len(traced) - len(heads)
    d_as, d_h, d_rows = [], np.zeros(1), np.zeros(1)
    for trace, d_y in zip(traced[split:], heads, strict=True):
        d_a = d_y * ACTIVATIONS[trace.layer.activation][1](trace.a)
        d_as.append(d_a)
        d_h = d_h + d_a @ trace.layer.weight.T
        if trace.layer.beside is not None:
            d_rows = d_rows + d_a @ trace.layer.beside.T
    for trace in traced[:split][::-1]:
        d_as.insert(0, d_h * ACTIVATIONS[trace.layer.activation][1](trace.a))
        d_h = d_as[0] @ trace.layer.weight.T
    return d_as, d_h + d_rows


def model_units(m: Portable, X: np.ndarray) -> np.ndarray:
    """Rows (N, D) as the likelihood sees them."""
    u = (np.asarray(X, np.float64) - m.units.offset) / m.units.scale
    return np.clip(u, 0.0, 1.0) if m.unit_range else u


def with_condition(rows: np.ndarray, c: np.ndarray | None) -> np.ndarray:
    """Rows (N, ...), and their condition as the model reads it (N, C) beside them."""
    return rows if c is None else np.concatenate([rows, c], axis=1)


def encode(m: Portable, u: np.ndarray, c: np.ndarray | None) -> tuple[list[Traced], np.ndarray, np.ndarray]:
    """The layers' numbers, mu and logvar (N, Z), the latter not limited."""
    assert m.encoder is not None
    if isinstance(m, PortableTable):
        u = mixed_inputs(u, m.centre, m.inverse, m.kinds, m.stops, m.ends)
    traced, heads = forward(m.encoder, with_condition(np.log1p(u) if m.seen == "log1p" else u, c))
    return traced, heads["mu"], heads["logvar"]


def decode(m: Portable, z: np.ndarray, c: np.ndarray | None) -> tuple[list[Traced], np.ndarray]:
    """The layers' numbers, and the decoder's outputs a (N, D)."""
    traced, heads = forward(m.decoder, with_condition(z, c))
    return traced, next(iter(heads.values()))


def loss(m: Portable, u: np.ndarray, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """nll (N,) in the model's units, and its gradient by a (N, D)."""
    if isinstance(m, PortableTable):
        terms, d_a, _ = mixed_terms(u, a, m.theta, m.kinds, m.stops)
        return (terms + np.where(np.isnan(u), 0.0, m.log_scale)).sum(axis=1), d_a
    return LOSSES[m.likelihood or ""](u, a, m.sigma)


def elbo(m: Portable, X: np.ndarray, c: np.ndarray | None) -> np.ndarray:
    """(N,) nats in the user's units, as `VAE.score_samples` has it, in float64."""
    starts = range(0, len(X), BLOCK)
    pieces = [_elbo(m, X[i : i + BLOCK], None if c is None else c[i : i + BLOCK]) for i in starts]
    return np.concatenate(pieces)


def _elbo(m: Portable, X: np.ndarray, c: np.ndarray | None) -> np.ndarray:
    assert m.points is not None
    u = model_units(m, X)
    _, mu, logvar = encode(m, u, c)
    deviation = np.exp(0.5 * limited(logvar))
    nlls = [loss(m, u, decode(m, mu + deviation * eps, c)[1])[0] for eps in m.points]
    found: np.ndarray = -np.mean(nlls, axis=0) - kl_terms(mu, limited(logvar)).sum(axis=1) - m.log_jacobian
    return found


def means(m: Portable, z: np.ndarray, c: np.ndarray | None) -> np.ndarray:
    """Of codes (N, Z) the mean of p(x|z) (N, D), in the user's units; of a category its most probable level."""
    a = decode(m, z, c)[1]
    if isinstance(m, PortableTable):
        parts = zip(m.kinds, np.split(a, m.stops[:-1], axis=1), m.theta, strict=True)
        each = [KINDS[kind].mean(part, theta) for kind, part, theta in parts]
        a = np.column_stack([mean.argmax(axis=1) if mean.ndim > 1 else mean for mean in each])
    found: np.ndarray = MEANS[m.mean](a) * m.units.scale + m.units.offset
    return found


def sensitivities(
    m: Portable, X: np.ndarray, c: np.ndarray | None, seed: int = 0
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of each layer, by its name: what it sees, x (N, inputs), and E[d_a^2] (outputs,), d_a the gradient of a row's
    loss nll + kl by what the layer gives, with one draw of z for each of the rows.

    A weight w_ij that is changed by delta changes the expected loss by about E[x_i^2] E[d_a_j^2] delta^2 / 2: the
    diagonal of the Fisher information, x and d_a taken as independent (Martens and Grosse 2015).
    """
    u = model_units(m, X)
    up, mu, logvar = encode(m, u, c)
    noise = np.random.default_rng(seed).standard_normal(mu.shape)
    down, a = decode(m, mu + np.exp(0.5 * limited(logvar)) * noise, c)
    d_down, d_rows = backward(down, [loss(m, u, a)[1]])
    d_mu, d_logvar = latent_backward(mu, logvar, noise, d_rows[:, : mu.shape[1]], np.ones(len(mu)))
    d_up, _ = backward(up, [d_mu, d_logvar])
    return {t.layer.name: (t.x, np.square(d).mean(axis=0)) for t, d in zip(up + down, d_up + d_down, strict=True)}


def with_layers(m: Portable, change: Callable[[Layer], Layer]) -> Portable:
    """The same model, each of its layers changed."""
    assert m.encoder is not None
    halves = [
        Half([change(layer) for layer in half.layers], {name: change(head) for name, head in half.heads.items()})
        for half in (m.encoder, m.decoder)
    ]
    return replace(m, encoder=halves[0], decoder=halves[1])
