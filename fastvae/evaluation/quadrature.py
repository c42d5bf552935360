"""log p(x) without noise where z has one or two dimensions: adaptive Gauss-Hermite quadrature, and the identity

    log p(x) - ELBO(x) = KL[q(z|x) || p(z|x)]

whose three parts are integrated one by one.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.data.minibatches import Examples
from fastvae.evaluation.densities import Given, Joint
from fastvae.models.settings import check_number

NODES, MOST_NODES = {1: 32, 2: 16}, {1: 256, 2: 128}  # by dimensions: nodes an axis, at first and at most
SCAN, SCAN_REACH = {1: 161, 2: 41}, 6.0  # points an axis where the largest p(x, z) is looked for; deviations
ROUNDS, SETTLED = 30, 1e-3  # of moving the nodes to where the posterior is
POINTS, REACH = {1: 2001, 2: 241}, 9.0  # of the grid of the divergence, an axis; deviations
TOLERANCE = 1e-5  # nats
PIECE_NUMBERS = 1 << 21  # of z at a time
LEAST_VARIANCE = 1e-12


@dataclass(frozen=True)
class Quadrature:
    """log p(x) and the parts of the identity, of N examples, in nats of the user's units.

    Attributes
    ----------
    log_p : (N,) float64
        log p(x) = log of the integral of p(x|z) p(z), by Gauss-Hermite nodes about the posterior.
    error : (N,) float64
        By how much `log_p` changed when the nodes an axis were doubled last: about its error, or more.
    elbo : (N,) float64
        E_q[log p(x, z) - log q(z|x)], by Gauss-Hermite nodes of q(z|x).
    elbo_error : (N,) float64
        As `error`.
    kl : (N,) float64
        KL[q(z|x) || p(z|x)], by the trapezoidal rule on grids, with a p(z|x) that is normalised on a grid of its own:
        neither `log_p` nor `elbo` enters.
    nodes : (N,) int64
        Nodes an axis behind `log_p`.
    mean : (N, Z), covariance : (N, Z, Z) float64
        Of p(z|x).
    """

    log_p: np.ndarray
    error: np.ndarray
    elbo: np.ndarray
    elbo_error: np.ndarray
    kl: np.ndarray
    nodes: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray

    @property
    def residual(self) -> np.ndarray:
        """log p(x) - ELBO - KL (N,), which is 0."""
        return self.log_p - self.elbo - self.kl


def quadrature(model: Any, X: Any, *, tolerance: float = TOLERANCE, condition: Any = None) -> Quadrature:
    """Integrate over z of one or two dimensions, for any decoder.

    The nodes z = m + L t of an example, t those of Gauss and Hermite, have m and L L' the mean and covariance of p(z|x)
    as the nodes before have them, from the largest p(x, z) of a coarse grid on (Naylor and Smith 1982; Liu and Pierce
    1994). Their number an axis is then doubled, up to 256 (128 in two dimensions), until log p(x) changes by less than
    `tolerance`. A decoder with a rectifier has edges, at which that takes many.

    Parameters
    ----------
    model : VAE
        Fitted, with its encoder, latent_dim 1 or 2.
    X : (N, D) or Examples
    tolerance
        Nats; float32 outputs of the decoder leave about 1e-6 of the nats of log p(x|z).
    condition
        As `fit` has it, for a model that was fitted with one; examples have theirs.

    Raises
    ------
    ValueError
        latent_dim > 2; a tolerance that is not above 0.
    """
    check_number("tolerance", tolerance, 0, inclusive=False)
    joint = Joint(model, X if isinstance(X, Examples) else model.examples(X, condition=condition))
    return quadrature_of(joint, np.arange(len(joint)), tolerance)


def quadrature_of(joint: Joint, indices: np.ndarray, tolerance: float = TOLERANCE) -> Quadrature:
    """`quadrature` of examples `indices` (n,) int64."""
    check_dimensions(joint.latent_dim)
    parts = [_of_piece(joint, indices[piece], tolerance) for piece in _pieces(len(indices), joint.latent_dim)]
    return Quadrature(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def check_dimensions(latent_dim: int) -> None:
    """Raise `ValueError` unless z has one or two dimensions."""
    if latent_dim not in NODES:
        raise ValueError(
            f"latent_dim={latent_dim}: quadrature needs 1 or 2 dimensions, since nodes grow like their power; "
            "use importance sampling"
        )


def _pieces(count: int, dimensions: int) -> list[np.ndarray]:
    most = max(MOST_NODES[dimensions], POINTS[dimensions]) ** dimensions * dimensions
    size = max(1, PIECE_NUMBERS // most)
    return [np.arange(start, min(count, start + size)) for start in range(0, count, size)]


def _of_piece(joint: Joint, indices: np.ndarray, tolerance: float) -> tuple[np.ndarray, ...]:
    """What `Quadrature` has, of some examples."""
    given = joint.rows(indices)
    mu, logvar = joint.encode(given)
    deviation = np.exp(0.5 * logvar)
    log_p, error, nodes, mean, factor = _log_p(joint, given, mu, deviation, tolerance)
    elbo, elbo_error = _elbo(joint, given, mu, deviation, tolerance)
    kl = _divergence(joint, given, mu, deviation, mean, factor)
    return log_p, error, elbo, elbo_error, kl, nodes, mean, factor @ factor.transpose(0, 2, 1)


# ---- log p(x) ---------------------------------------------------------------------------------------------------


def hermite(nodes: int, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """t (K, Z) and logarithms of weights w (K,): sum w f(t) = E f(t) of t from N(0, I). The product of Z Gauss-Hermite
    rules with so many nodes each."""
    t, weights = np.polynomial.hermite_e.hermegauss(nodes)
    with np.errstate(divide="ignore"):  # a weight that is 0 in float64
        logs = np.log(weights) - 0.5 * math.log(2 * math.pi)
    grids = np.meshgrid(*[t] * dimensions, indexing="ij")
    total = sum(np.meshgrid(*[logs] * dimensions, indexing="ij"))
    kept = np.isfinite(np.ravel(total))
    return np.stack([np.ravel(grid) for grid in grids], axis=1)[kept], np.ravel(total)[kept]


def _log_p(
    joint: Joint, given: Given, mu: np.ndarray, deviation: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """log p(x), its error and its nodes, each (n,); mean (n, Z) and Cholesky factor (n, Z, Z) of p(z|x)."""
    dimensions = mu.shape[1]
    mean, factor = _begin(joint, given, mu, deviation)
    rule = hermite(NODES[dimensions], dimensions)
    for _ in range(ROUNDS):
        _, moved, spread = _integrate(joint, given, mean, factor, *rule)
        before, after = (np.diagonal(f, axis1=1, axis2=2) for f in (factor, spread))
        shift = np.linalg.solve(factor, (moved - mean)[..., None])
        change = max(np.abs(shift).max(), np.abs(after / before - 1).max())
        mean, factor = moved, spread
        if change < SETTLED:
            break
    values, nodes = _integrate(joint, given, mean, factor, *rule)[0], np.full(len(given), NODES[dimensions])
    error = np.full(len(given), np.inf)
    while (left := np.flatnonzero((error > tolerance) & (nodes < MOST_NODES[dimensions]))).size:
        count = 2 * int(nodes[left[0]])
        finer, m, f = _integrate(joint, given[left], mean[left], factor[left], *hermite(count, dimensions))
        error[left], values[left], nodes[left] = np.abs(finer - values[left]), finer, count
        mean[left], factor[left] = m, f
    return values, error, nodes, mean, factor


def _begin(joint: Joint, given: Given, mu: np.ndarray, deviation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where p(x, z) is largest on two coarse grids, of the prior and of q, and a factor of the spread there."""
    dimensions = mu.shape[1]
    axis = np.linspace(-SCAN_REACH, SCAN_REACH, SCAN[dimensions])
    grid = np.stack([np.ravel(g) for g in np.meshgrid(*[axis] * dimensions, indexing="ij")], axis=1)
    steps = np.stack([np.ones_like(mu), deviation], axis=1) * (axis[1] - axis[0])
    z = np.concatenate([np.broadcast_to(grid, (len(mu), *grid.shape)), mu[:, None] + deviation[:, None] * grid], axis=1)
    best = joint(given, z).argmax(axis=1)
    rows = np.arange(len(mu))
    spread = np.where((best >= len(grid))[:, None], steps[:, 1], steps[:, 0])
    return z[rows, best], np.maximum(spread, 0.5 * deviation)[:, :, None] * np.eye(dimensions)


def _integrate(
    joint: Joint, given: Given, mean: np.ndarray, factor: np.ndarray, t: np.ndarray, logs: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The logarithm of the integral of p(x, z) (n,) by nodes mean + factor t, and by the same nodes mean and factor of
    p(z|x)."""
    z = mean[:, None] + np.einsum("nij,kj->nki", factor, t)
    dimensions = z.shape[2]
    determinant = np.log(np.abs(np.linalg.det(factor))) + 0.5 * dimensions * math.log(2 * math.pi)
    values = joint(given, z) + logs + 0.5 * np.square(t).sum(axis=1)
    most = values.max(axis=1, keepdims=True)
    weights = np.exp(values - most)
    total = weights.sum(axis=1, keepdims=True)
    weights /= total
    moved = np.einsum("nk,nkz->nz", weights, z)
    apart = z - moved[:, None]
    covariance = np.einsum("nk,nki,nkj->nij", weights, apart, apart)
    covariance += LEAST_VARIANCE * np.eye(dimensions)
    return (most + np.log(total))[:, 0] + determinant, moved, np.linalg.cholesky(covariance)


# ---- the ELBO and the divergence --------------------------------------------------------------------------------


def _elbo(
    joint: Joint, given: Given, mu: np.ndarray, deviation: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """E_q[log p(x, z)] plus the entropy of q, and its error, each (n,)."""
    dimensions = mu.shape[1]
    entropy = np.log(deviation).sum(axis=1) + 0.5 * dimensions * (1 + math.log(2 * math.pi))
    values, error, count = np.full(len(mu), np.nan), np.full(len(mu), np.inf), NODES[dimensions]
    left = np.arange(len(mu))
    while left.size and count <= MOST_NODES[dimensions]:
        t, logs = hermite(count, dimensions)
        found = joint(given[left], mu[left, None] + deviation[left, None] * t) @ np.exp(logs) + entropy[left]
        error[left] = np.where(np.isnan(values[left]), np.inf, np.abs(found - values[left]))
        values[left] = found
        left, count = np.flatnonzero(error > tolerance), 2 * count
    return values, error


def _divergence(
    joint: Joint, given: Given, mu: np.ndarray, deviation: np.ndarray, mean: np.ndarray, factor: np.ndarray
) -> np.ndarray:
    """The integral of q (log q - log p(z|x)) (n,), on a grid of q; p(x) on a grid of the posterior."""
    dimensions = mu.shape[1]
    axis = np.linspace(-REACH, REACH, POINTS[dimensions])
    grid = np.stack([np.ravel(g) for g in np.meshgrid(*[axis] * dimensions, indexing="ij")], axis=1)
    cell = dimensions * math.log(axis[1] - axis[0])
    logs = joint(given, mean[:, None] + np.einsum("nij,kj->nki", factor, grid))
    most = logs.max(axis=1)
    evidence = most + np.log(np.exp(logs - most[:, None]).sum(axis=1)) + cell + np.log(np.abs(np.linalg.det(factor)))
    log_q = -0.5 * np.square(grid).sum(axis=1) - 0.5 * dimensions * math.log(2 * math.pi)
    q = np.exp(log_q + cell)
    log_q = log_q - np.log(deviation).sum(axis=1)[:, None]
    return (q * (log_q - joint(given, mu[:, None] + deviation[:, None] * grid))).sum(axis=1) + evidence
