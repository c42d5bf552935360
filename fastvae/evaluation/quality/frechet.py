"""The Frechet distance of two Gaussians with the moments of samples and of real data, among principal components.

    d^2 = |mu_x - mu_y|^2 + tr(S_x + S_y - 2 (S_x S_y)^(1/2))

(Dowson and Landau 1982), of the coordinates along the principal components of the real data, in their units. From few
rows it is too large, by about c / n (Chong and Forsyth 2020): so it is extrapolated to infinitely many,

    d^2_inf = 2 d^2(all) - d^2(half of the rows)

which may be below 0 for equal distributions. What no moment tells, no such distance does.
"""

import math
from typing import Any

import numpy as np

from fastvae.evaluation.quality.measure import Measure
from fastvae.evaluation.quality.rows import about, blocks, checked, origin

COMPONENTS = 32
PARTS, HALVES = 20, 10  # of the rows, that halves are made of and that are left out for the error; how many halves


def frechet(
    samples: Any, real: Any, *, components: int = COMPONENTS, seed: int = 0, basis: np.ndarray | None = None
) -> Measure:
    """d^2_inf of samples (N, D) and real data (M, D).

    Parameters
    ----------
    components
        How many at most: no more than columns, nor than a fortieth of the rows of either.
    basis : (D, components), optional
        The components, where they are known, those of the training data for one.

    Returns
    -------
    Measure
        Its error is that of other samples and other real data, by the jackknife: of 20 parts each is left out.
        `details`: "components"; "as it is", d^2 of all rows.

    Raises
    ------
    ValueError, TypeError
        Fewer than 80 rows, other columns, NaN.
    """
    fewest, why = 4 * PARTS, ", to extrapolate"
    x = checked(samples, "samples", fewest=fewest, why=why)
    y = checked(real, "real", ("samples", x), fewest=fewest, why=why)
    centre = origin(x, y)
    if basis is None:
        basis = principal_components(y, min(components, min(len(x), len(y)) // (2 * PARTS)))
    rng = np.random.default_rng([seed, 4])
    of_x, of_y = (_Parts(_coordinates(a, centre, basis)[rng.permutation(len(a))]) for a in (x, y))
    choices = [rng.permutation(PARTS) for _ in range(HALVES)]
    value, as_it_is = _extrapolated(of_x, of_y, np.arange(PARTS), choices)
    without = [np.delete(np.arange(PARTS), i) for i in range(PARTS)]
    # both are left out at once: they are independent, so the variances add up
    again = np.array([_extrapolated(of_x, of_y, kept, choices)[0] for kept in without])
    error = math.sqrt((PARTS - 1) / PARTS * float(np.square(again - again.mean()).sum()))
    return Measure(
        "Frechet distance", value, error, None, {"samples": len(x), "real": len(y)},
        "further from the data, in its units squared; extrapolated: about 0 for equal distributions",
        details={"components": basis.shape[1], "as it is": as_it_is},
    )  # fmt: skip


def principal_components(X: np.ndarray, count: int) -> np.ndarray:
    """(D, count): directions in which X (N, D) varies most; all of them where D is less."""
    mean, centre = np.zeros(X.shape[1]), origin(X)
    product = np.zeros((X.shape[1], X.shape[1]))
    for block in blocks(len(X)):
        rows = about(X[block], centre)
        mean += rows.sum(axis=0)
        product += rows.T @ rows
    mean /= len(X)
    covariance = product / len(X) - np.outer(mean, mean)
    return np.linalg.eigh(covariance)[1][:, ::-1][:, : max(1, count)]


def _coordinates(X: np.ndarray, centre: np.ndarray, basis: np.ndarray) -> np.ndarray:
    return np.concatenate([about(X[b], centre) @ basis for b in blocks(len(X))])


class _Parts:
    """Sums over parts of the rows, from which the moments of any of them follow."""

    def __init__(self, Z: np.ndarray) -> None:
        parts = np.array_split(Z - Z.mean(axis=0), PARTS)
        self.offset = Z.mean(axis=0)
        self.counts = np.array([len(p) for p in parts])
        self.sums = np.stack([p.sum(axis=0) for p in parts])
        self.products = np.stack([p.T @ p for p in parts])

    def moments(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance (divisor n - 1) of the chosen parts."""
        n = self.counts[chosen].sum()
        mean = self.sums[chosen].sum(axis=0) / n
        return self.offset + mean, (self.products[chosen].sum(axis=0) - n * np.outer(mean, mean)) / (n - 1)


def _extrapolated(x: _Parts, y: _Parts, kept: np.ndarray, choices: list[np.ndarray]) -> tuple[float, float]:
    """2 d^2(all that are kept) - the mean of d^2 over halves of them, on a line in 1/n; and d^2(all)."""
    everything = squared_distance(*x.moments(kept), *y.moments(kept))
    halves, share = [], 0.0
    for order in choices:
        order = order[np.isin(order, kept)]
        for half in (order[: len(order) // 2], order[len(order) // 2 :]):
            halves.append(squared_distance(*x.moments(half), *y.moments(half)))
            share += len(kept) / len(half) / (2 * len(choices))  # n(all) / n(half)
    slope = (float(np.mean(halves)) - everything) / (share - 1.0)
    return everything - slope, everything


def squared_distance(mean_x: np.ndarray, S_x: np.ndarray, mean_y: np.ndarray, S_y: np.ndarray) -> float:
    """d^2 of two Gaussians. tr (S_x S_y)^(1/2) is the sum of the singular values of S_x^(1/2) S_y^(1/2)."""
    a, b = (_root(S) for S in (S_x, S_y))
    cross = np.linalg.svd(a @ b, compute_uv=False).sum()
    return float(np.square(mean_x - mean_y).sum() + np.trace(S_x) + np.trace(S_y) - 2.0 * cross)


def _root(S: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(S)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
