"""The maximum mean discrepancy of samples and real data, with a permutation test.

    MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y)

estimated without bias (Gretton et al. 2012, equation 3), of the mean of five Gaussian kernels

    k(x, y) = 1/5 sum_b exp(-|x - y|^2 / (2 b m^2)),   b = 1/4, 1/2, 1, 2, 4

m the median distance between rows of both together, whoever they belong to; of those that differ, where it is 0. So m
is what it is however the labels are permuted, and the p-value is exact: (1 + how many permutations have at least the
observed MMD^2) / (1 + permutations).

All permutations are one pass. With s = +1 for samples and -1 for real data, and K without its diagonal, all that
permutations change is s'Ks and s'K1. K is made in blocks, each used at once as K S, S the signs of all permutations,
and never exists as a whole; it is symmetric, so half of the blocks suffice. A constant that is taken off every k(x, y)
changes no MMD^2: about their mean, it keeps sums of float32 small. The kernels are powers of one: one exponential.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.evaluation.quality.measure import Measure
from fastvae.evaluation.quality.rows import about, blocks, checked, origin, squares
from fastvae.memory import check_memory

FACTORS = (4.0, 2.0, 1.0, 0.5, 0.25)  # b: each half of the one before, so that its kernel is the square of that one's
MEDIAN_OF = 1000  # rows, drawn at random from all, between which the median distance is
TIES = 1e-5  # standard deviations of MMD^2 under permutations, by which float32 may have equal ones differ


def kernel_mmd(
    samples: Any, real: Any, *, permutations: int = 1000, seed: int = 0, bandwidth: float | None = None
) -> Measure:
    """MMD^2 of samples (N, D) and real data (M, D), with its permutation p-value.

    Parameters
    ----------
    permutations
        How many; 0 for the figure alone. The smallest possible p-value is 1 / (1 + permutations).
    seed
        Of the permutations, and of the rows that m is the median of.
    bandwidth
        m, where it is known.

    Returns
    -------
    Measure
        Its error is that of other samples and other real data. `details`: "bandwidth", m; "each", MMD^2 of each b;
        "permutations"; "deviations", the distance of the value from the permutations' mean in their deviations.

    Raises
    ------
    ValueError, TypeError
        Fewer than two rows, other columns, NaN; more permutations than memory holds; all rows are the same.
    """
    x = checked(samples, "samples")
    y = checked(real, "real", ("samples", x))
    n, m = len(x), len(y)
    if permutations < 0:
        raise ValueError(f"permutations={permutations} must not be negative")
    check_memory(
        (n + m) * (permutations + 4 * x.shape[1]) + 4096 * permutations,
        f"a permutation test of {n:,} and {m:,} rows with {permutations:,} permutations",
        "ask for fewer permutations or rows",
    )
    rng = np.random.default_rng(seed)
    centre = origin(x, y)
    Z = _with_squares(np.concatenate([about(a, centre, np.float32) for a in (x, y)]))
    distances = _squared_distances(Z[rng.permutation(n + m)[:MEDIAN_OF], :-1])
    h = _median(distances) if bandwidth is None else float(bandwidth)
    if not (math.isfinite(h) and h > 0):
        raise ValueError(
            f"bandwidth={bandwidth!r} must be a positive number"
            if bandwidth is not None
            else "all rows, samples and real ones, are one and the same: there is nothing to compare"
        )
    sums = _pass(
        Z, _signs(n, m, permutations, rng), h, float(np.mean([np.exp(distances / _scale(h, b)) for b in FACTORS]))
    )
    mmd = sums.mmd(n, m)
    spread = float(mmd[1:].std()) if permutations > 1 else 0.0
    details: dict[str, Any] = {"bandwidth": h, "permutations": permutations}
    details["each"] = {f"{b:g}": float(v) for b, v in zip(FACTORS, sums.mmd_of_each(n, m), strict=True)}
    if spread:
        details["deviations"] = float((mmd[0] - mmd[1:].mean()) / spread)
    return Measure(
        name="kernel MMD^2",
        value=float(mmd[0]),
        error=sums.error(n, m, spread),
        p_value=(1 + int((mmd[1:] >= mmd[0] - TIES * spread).sum())) / (1 + permutations) if permutations else None,
        sizes={"samples": n, "real": m},
        larger="further from the data; unbiased: for equal distributions below 0 as often as above",
        details=details,
    )


def _median(squared: np.ndarray) -> float:
    """The median distance, of distances that are not 0 where it would be 0; 0 if all are."""
    found = float(np.median(squared))
    if found == 0 and squared.any():
        found = float(np.median(squared[squared > 0]))
    return math.sqrt(found)


def _scale(h: float, b: float) -> float:
    return -2.0 * b * h * h


def _with_squares(X: np.ndarray) -> np.ndarray:
    """(N, D + 1): each row with its |x|^2."""
    return np.concatenate([X, squares(X)[:, None]], axis=1)


def _squared_distances(X: np.ndarray) -> np.ndarray:
    """Of all pairs of different rows, in float64."""
    X = X.astype(np.float64)
    of_rows = squares(X)
    return np.maximum(of_rows[:, None] + of_rows - 2.0 * (X @ X.T), 0.0)[np.triu_indices(len(X), 1)]


def _signs(n: int, m: int, permutations: int, rng: np.random.Generator) -> np.ndarray:
    """(N + M, 1 + permutations) int8: 1 for samples, -1 for real data; first as they are, then permuted."""
    signs = np.empty((1 + permutations, n + m), np.int8)
    signs[:, :n], signs[:, n:] = 1, -1
    for row in signs[1:]:
        rng.shuffle(row)
    return np.ascontiguousarray(signs.T)


@dataclass(frozen=True)
class _Sums:
    """Of K, the mean kernel less a constant, without its diagonal: what MMD^2 is made of.

    Q : (P,), s'Ks of each column of signs.     linear : (P,), s'K1.     total: 1'K1
    rows : (N + M, 2), K [1 s] of the labels as they are.
    each : (kernels, 3), their 1'K1, s'K1 and s'Ks of the labels as they are.
    """

    Q: np.ndarray
    linear: np.ndarray
    total: float
    rows: np.ndarray
    each: np.ndarray

    def mmd(self, n: int, m: int) -> np.ndarray:
        """(P,) MMD^2 under each permutation, the first as the labels are."""
        return _mmd(self.total, self.linear, self.Q, n, m)

    def mmd_of_each(self, n: int, m: int) -> np.ndarray:
        """(kernels,) MMD^2 of each, of the labels as they are."""
        total, linear, Q = self.each.T
        return _mmd(total, linear, Q, n, m)

    def error(self, n: int, m: int, spread: float) -> float:
        """The standard error of MMD^2 for other rows of both kinds.

        4 var(w(x)) / n + 4 var(w(y)) / m, w the witness function, the difference of the mean kernel to samples and to
        real data. Where the distributions are equal this is twice the variance under permutations: what is taken off.
        """
        to_samples, to_real = (self.rows[:, 0] + self.rows[:, 1]) / 2, (self.rows[:, 0] - self.rows[:, 1]) / 2
        of_samples = to_samples[:n] / (n - 1) - to_real[:n] / m
        of_real = to_samples[n:] / n - to_real[n:] / (m - 1)
        variance = 4.0 * (of_samples.var(ddof=1) / n + of_real.var(ddof=1) / m)
        return math.sqrt(max(variance - spread**2, spread**2))


def _mmd(total: Any, linear: Any, Q: Any, n: int, m: int) -> Any:
    """From 1'K1, s'K1, s'Ks: sums over pairs of samples, of real data, and across are (total +- 2 linear + Q) / 4 and
    (total - Q) / 4."""
    within = total + Q
    return (
        (within + 2.0 * linear) / (4.0 * n * (n - 1))
        + (within - 2.0 * linear) / (4.0 * m * (m - 1))
        - (total - Q) / (2.0 * n * m)
    )


def _pass(Z: np.ndarray, signs: np.ndarray, h: float, constant: float) -> _Sums:
    """One pass over the blocks of K on and above the diagonal.

    Z : (N, D + 1) float32, rows with their squares.     signs : (N, P) int8
    """
    count, P = signs.shape
    rows = np.zeros((count, 2))
    Q, each = np.zeros(P), np.zeros((len(FACTORS), 3))
    unit = np.ones((count, 2), np.float32)
    unit[:, 1] = signs[:, 0]
    for I in blocks(count):
        # |x|^2 - 2 x.y + |y|^2 over the scale, all of it by one product: [x |x|^2 1] times [-2y 1 |y|^2] / scale
        left = np.concatenate([Z[I], np.ones((len(Z[I]), 1), np.float32)], axis=1)
        of_block = np.zeros((len(left), P), np.float32)  # K S, the blocks beyond the diagonal twice
        for J in blocks(count):
            if J.start < I.start:
                continue
            right = np.empty((J.stop - J.start, left.shape[1]), np.float32)
            right[:, :-2], right[:, -2], right[:, -1] = -2.0 * Z[J, :-1], 1.0, Z[J, -1]
            right *= 1.0 / _scale(h, FACTORS[0])
            twice = 1.0 if J.start == I.start else 2.0
            k = left @ right.T  # (I, J): -d^2 / (2 b h^2) of the largest b
            np.minimum(k, 0.0, out=k)
            np.exp(k, out=k)
            K = np.zeros_like(k)
            for b in range(len(FACTORS)):
                if b:
                    np.multiply(k, k, out=k)
                if I == J:
                    np.fill_diagonal(k, 0.0)
                K += k
                each[b] += twice * _quadratic(unit[I], k @ unit[J])
            K *= 1.0 / len(FACTORS)
            K -= np.float32(constant)
            if I == J:
                np.fill_diagonal(K, 0.0)
            else:
                rows[J] += K.T @ unit[I]
            rows[I] += K @ unit[J]
            product = K @ signs[J].astype(np.float32)
            product *= twice
            of_block += product
        Q += np.multiply(of_block, signs[I], out=of_block).sum(axis=0, dtype=np.float64)
    linear = np.array([float(rows[:, 0] @ signs[:, p]) for p in range(P)])
    return _Sums(Q, linear, float(rows[:, 0].sum()), rows, each)


def _quadratic(unit: np.ndarray, product: np.ndarray) -> np.ndarray:
    """1'K1, s'K1, s'Ks from [1 s] (I, 2) and K [1 s] (I, 2); the second as K and its transpose have it in the mean."""
    found = unit.T.astype(np.float64) @ product.astype(np.float64)
    return np.array([found[0, 0], (found[0, 1] + found[1, 0]) / 2, found[1, 1]])
