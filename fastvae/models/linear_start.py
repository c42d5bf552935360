"""Where a closed form is known, training starts there: probabilistic PCA, for the linear path of a Gaussian VAE.

With the columns of the decoder along principal axes the true posterior has a diagonal covariance, so that q(z|x) can be
the posterior itself: the ELBO is then log p(x) of probabilistic PCA. Tipping and Bishop 1999.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.data.device_rows import DeviceRows
from fastvae.data.scaling import Units
from fastvae.data.validation import pieces

MOST_COLUMNS = 2048  # of data whose covariance (D, D) is made; wider ones go by the products of some of their rows
MOST_ROWS = 4096  # that are cut into folds; a covariance costs at most as much as so many rows of the widest data
MOST_NUMBERS = 1 << 22  # of data that are held in float64
FOLDS = 5
SHRINKAGES = np.array([0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 0.7, 1.0])
ROUNDED = 1e-12  # of the largest eigenvalue: smaller ones of a product of rows are rounding
SINGULAR = 1e-9  # of the largest eigenvalue of a condition's products: smaller ones count as 0
LEAST_VARIANCE = 1e-30  # of data without any deviation
LEAST = 1e-6  # of the mean eigenvalue: smaller ones are rounding


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues (R,), falling, and eigenvectors (D, R) of a covariance; the other D - R eigenvalues are 0."""

    values: np.ndarray
    vectors: np.ndarray

    def shrunk(self, shrinkage: float) -> tuple[np.ndarray, float]:
        """The eigenvalues of (1 - shrinkage) S + shrinkage mean(eigenvalues) I, and that of all directions beside."""
        rest = shrinkage * self.values.sum() / len(self.vectors)
        return (1 - shrinkage) * self.values + rest, rest

    def model(self, components: int, shrinkage: float, variance: float | None = None) -> tuple[np.ndarray, float]:
        """Eigenvalues of the kept components (Q,), and sigma^2: the mean of those that are left out, or the one given;
        maximum likelihood for both."""
        values, rest = self.shrunk(shrinkage)
        columns, kept = len(self.vectors), min(components, len(self.values), len(self.vectors) - 1)
        if variance is None:
            left_out = values[kept:].sum() + rest * (columns - len(values))
            variance = max(left_out / (columns - kept), LEAST * values.sum() / columns, LEAST_VARIANCE)
        return np.maximum(values[:kept], variance), float(variance)

    def log_likelihood(self, x: np.ndarray, components: int, shrinkage: float) -> np.ndarray:
        """log p of centred rows (B, D), less D/2 log(2 pi): (B,)."""
        kept, variance = self.model(components, shrinkage)
        squares = (x @ self.vectors[:, : len(kept)]) ** 2
        rest = np.maximum((x**2).sum(axis=1) - squares.sum(axis=1), 0.0) / variance
        log_det = np.log(kept).sum() + (x.shape[1] - len(kept)) * np.log(variance)
        return -0.5 * ((squares / kept).sum(axis=1) + rest + log_det)


def spectrum_of_rows(x: np.ndarray, weights: np.ndarray | None = None) -> Spectrum:
    """Of centred rows (N, D), by whichever of N and D is smaller: X'X and XX' have the same eigenvalues, but for 0; of
    rows that count as often as weights (N,) say."""
    if weights is not None:
        x = x * np.sqrt(weights / weights.mean())[:, None]
    if len(x) < x.shape[1]:
        values, sides = np.linalg.eigh(x @ x.T / len(x))
        kept = values > ROUNDED * values[-1]
        values, sides = values[kept][::-1], sides[:, kept][:, ::-1]
        return Spectrum(values, x.T @ sides / np.sqrt(len(x) * values))
    return spectrum_of_covariance(x.T @ x / len(x))


def spectrum_of_covariance(covariance: np.ndarray) -> Spectrum:
    """Of a covariance (D, D)."""
    values, vectors = np.linalg.eigh(covariance)
    return Spectrum(np.maximum(values[::-1], 0.0), vectors[:, ::-1])


def shrinkage_by_folds(x: np.ndarray, components: int, weights: np.ndarray | None = None) -> float:
    """How far to shrink towards equal eigenvalues: the best of `SHRINKAGES` for rows that are left out, where it beats
    none at all by more than two standard errors; 0 where it does not, or there are too few rows to tell. All means are
    by the weights (N,), where rows have some."""
    if len(x) < 4 * FOLDS:
        return float(SHRINKAGES[4])
    found = np.empty((len(SHRINKAGES), len(x)))
    for fold in range(FOLDS):
        rest = np.arange(len(x)) % FOLDS != fold
        of_rest = None if weights is None else weights[rest]
        mean = np.average(x[rest], axis=0, weights=of_rest)
        spectrum = spectrum_of_rows(x[rest] - mean, of_rest)
        for i, shrinkage in enumerate(SHRINKAGES):
            found[i, ~rest] = spectrum.log_likelihood(x[~rest] - mean, components, shrinkage)
    gains = found - found[0]
    if weights is not None:
        gains *= weights / weights.mean()
    best = int(np.argmax(gains.mean(axis=1)))
    error = gains[best].std() / np.sqrt(len(x))
    return float(SHRINKAGES[best]) if gains[best].mean() > 2 * error else 0.0


@dataclass(frozen=True)
class LinearStart:
    """p(x|z, c) = N(W z + B c + m, sigma^2) and its exact posterior N((x - B c - m) A, exp(logvar)), in the units of
    the data.

    Attributes
    ----------
    mean : (D,)
        m.
    decoder : (Z, D)
        W'.
    encoder : (D, Z)
        A.
    logvar : (Z,)
    sigma : (D,)
        The same for all columns, but for the `unit` of each.
    condition : (C, D)
        B', where there is a condition.
    """

    mean: np.ndarray
    decoder: np.ndarray
    encoder: np.ndarray
    logvar: np.ndarray
    sigma: np.ndarray
    condition: np.ndarray


def regression(
    X: Any, units: Units, mean: np.ndarray, condition: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Least squares of u = (X - offset) / scale by the condition (N, C): the intercept (D,), and B' (C, D) of the
    smallest norm, which takes directions in which the condition does not vary for 0. By the weights (N,), where rows
    have some."""
    offset = condition.mean(axis=0, dtype=np.float64)
    if weights is not None:
        offset = np.average(condition.astype(np.float64), axis=0, weights=weights)
    c = condition.astype(np.float64) - offset
    weighted = c if weights is None else c * weights[:, None]
    products = np.zeros((condition.shape[1], X.shape[1]))
    for start, piece in pieces(X):
        products += weighted[start : start + len(piece)].T @ ((piece - units.offset) / units.scale - mean)
    slopes = np.linalg.pinv(c.T @ weighted, rcond=SINGULAR, hermitian=True) @ products
    return mean - offset @ slopes, slopes


def probabilistic_pca(
    X: Any,
    units: Units,
    mean: np.ndarray,
    unit: np.ndarray,
    components: int,
    sigma: float | None,
    seed: np.uint64,
    condition: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> LinearStart:
    """Fit it to X (N, D), which is read in pieces; with a condition, to what least squares by that leave of X.

    Parameters
    ----------
    units
        The model sees u = (X - offset) / scale.
    mean : (D,)
        Of u.
    unit : (D,)
        Each column of u is taken in this unit: the principal axes are those of (u - mean) / unit.
    components
        Z. At most D - 1 of them are used; the others are 0.
    sigma
        The standard deviation, where it is given.
    seed
        Of the rows that are drawn where there are many.
    condition : (N, C), optional
        Of each row, as the network reads it.
    weights : (N,), optional
        How often each row counts, with a mean of 1.
    """
    rows, columns = X.shape
    intercept, slopes = mean, np.zeros((0, columns))
    if condition is None:
        condition = np.zeros((rows, 0), np.float32)
    else:
        intercept, slopes = regression(X, units, mean, condition, weights)
    whole = columns <= min(rows, MOST_COLUMNS) and rows * columns**2 <= MOST_ROWS * MOST_COLUMNS**2

    def centred(some: Any, c: np.ndarray) -> np.ndarray:
        u = (some.astype(np.float64) - units.offset) / units.scale - intercept
        return (u - c.astype(np.float64) @ slopes if len(slopes) else u) / unit

    count = min(rows, MOST_ROWS, max(256, MOST_NUMBERS // columns))
    drawn: Any = slice(0, count) if count == rows or isinstance(X, DeviceRows) else _drawn(rows, count, seed)
    some, counts = centred(X[drawn], condition[drawn]), None if weights is None else weights[drawn]
    if whole:
        covariance = np.zeros((columns, columns))
        for start, piece in pieces(X):
            x = centred(piece, condition[start : start + len(piece)])
            covariance += x.T @ (x if weights is None else x * weights[start : start + len(piece), None])
        spectrum = spectrum_of_covariance(covariance / rows)
    else:
        spectrum = spectrum_of_rows(some - np.average(some, axis=0, weights=counts), counts)
    shrinkage = shrinkage_by_folds(some, components, counts) if sigma is None and columns > 1 else 0.0
    kept, variance = spectrum.model(components, shrinkage, None if sigma is None else sigma**2)
    weights = np.zeros((components, columns))
    weights[: len(kept)] = spectrum.vectors[:, : len(kept)].T * np.sqrt(kept - variance)[:, None]
    diagonal = (weights**2).sum(axis=1) + variance  # of W'W + sigma^2 I
    encoder = (weights / diagonal[:, None]).T / unit[:, None]
    logvar, deviation = np.log(variance / diagonal), np.sqrt(variance) * unit
    return LinearStart(intercept, weights * unit, encoder, logvar, deviation, slopes)


def _drawn(rows: int, count: int, seed: np.uint64) -> np.ndarray:
    return np.sort(np.random.default_rng(int(seed)).choice(rows, count, replace=False))


def _some_rows(X: Any, places: np.ndarray) -> Iterator[np.ndarray]:
    """float64 copies of the rows of X (N, D) at these places, which rise, in pieces."""
    for start, piece in pieces(X):
        first, stop = np.searchsorted(places, (start, start + len(piece)))
        if first < stop:
            yield piece[places[first:stop] - start]


def _evenly(places: np.ndarray, count: int) -> np.ndarray:
    """At most so many of them, evenly spaced."""
    return places[np.linspace(0, len(places) - 1, min(len(places), count)).astype(int)]


def gaussian_log_density(
    X: Any, heldout: Any, of_X: slice = slice(None), of_heldout: slice = slice(None)
) -> tuple[float, float]:
    """The means of `gaussian_log_densities`."""
    full, apart = gaussian_log_densities(X, heldout, of_X, of_heldout)
    return float(full.mean()), float(apart.mean())


def gaussian_log_densities(
    X: Any, heldout: Any, of_X: slice = slice(None), of_heldout: slice = slice(None)
) -> tuple[np.ndarray, np.ndarray]:
    """Log density, in nats, of each of the held-out rows (M, D) under the dumbest models of X (N, D): one Gaussian with
    all covariances, shrunk as far as helps rows that are left out, and independent Gaussian columns. Of many rows of X
    they learn from evenly spaced ones. Columns that are constant in those are independent with a deviation of 1 in
    both.

    Parameters
    ----------
    X, heldout
        Tables, on the host or `DeviceRows`.
    of_X, of_heldout
        Which of their rows: the others are not there.
    """
    known, scored = np.arange(len(X))[of_X], np.arange(len(heldout))[of_heldout]
    x = np.concatenate(list(_some_rows(X, _evenly(known, max(256, MOST_NUMBERS // X.shape[1])))))
    varies = x.max(axis=0) > x.min(axis=0)
    mean, unit = x.mean(axis=0), np.where(varies, x.std(axis=0), 1.0)
    x = ((x - mean) / unit)[:, varies]
    columns = x.shape[1] - 1
    shrinkage, spectrum = 0.0, None
    if columns >= 0:
        few = _evenly(np.arange(len(x)), MOST_ROWS)
        shrinkage = shrinkage_by_folds(x[few], columns) if columns else 0.0
        spectrum = spectrum_of_rows(x)
    full, apart = list[np.ndarray](), list[np.ndarray]()
    for piece in _some_rows(heldout, scored):
        held = (piece - mean) / unit
        beside = -0.5 * (held[:, ~varies] ** 2).sum(axis=1)
        held = held[:, varies]
        apart.append(beside - 0.5 * (held**2).sum(axis=1))
        full.append(beside + (0.0 if spectrum is None else spectrum.log_likelihood(held, columns, shrinkage)))
    constant = X.shape[1] / 2 * np.log(2 * np.pi) + np.log(unit).sum()
    return np.concatenate(full) - constant, np.concatenate(apart) - constant
