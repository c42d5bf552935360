"""Scores of odd rows that need no VAE, and how two rankings agree."""

import importlib
import importlib.util
from typing import Any

import numpy as np

RIDGE = 1e-6  # added to the correlations: columns may be copies of each other
MAHALANOBIS, FOREST = "one Gaussian (Mahalanobis)", "isolation forest"


def mahalanobis(known: np.ndarray, X: np.ndarray) -> np.ndarray:
    """-1/2 (x - m)' S^-1 (x - m) of each row of X (N, D), m and S those of the rows `known` (M, D): the lower, the
    odder. A column that is constant in those counts by its plain distance."""
    known = np.asarray(known, np.float64)
    mean, unit = known.mean(axis=0), known.std(axis=0)
    unit = np.where(unit > 0, unit, 1.0)
    y = (known - mean) / unit
    correlation = y.T @ y / len(y) + RIDGE * np.eye(y.shape[1])
    diagonal = np.diag(correlation)
    correlation[np.diag_indices_from(correlation)] = np.where(diagonal < 0.5, 1.0, diagonal)
    apart = (np.asarray(X, np.float64) - mean) / unit
    return -0.5 * (apart * np.linalg.solve(correlation, apart.T).T).sum(axis=1)


def forest(known: np.ndarray, X: np.ndarray, seed: int) -> np.ndarray | None:
    """What scikit-learn's IsolationForest, fitted to `known`, says of the rows of X: the lower, the odder. None without
    scikit-learn."""
    if importlib.util.find_spec("sklearn") is None:
        return None
    ensemble: Any = importlib.import_module("sklearn.ensemble")
    return ensemble.IsolationForest(random_state=seed % 2**32).fit(known).score_samples(X)


def ranks(values: np.ndarray) -> np.ndarray:
    """The place of each value from 1, the mean place among ties (N,) float64."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse.ravel()]


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's; NaN where one is constant."""
    x, y = ranks(a) - (len(a) + 1) / 2, ranks(b) - (len(b) + 1) / 2
    norm = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / norm) if norm > 0 else float("nan")


def auc(scores: np.ndarray, odd: np.ndarray) -> float:
    """The chance that an odd row, `odd` (N,) bool, has a lower score than another one, ties counted half; NaN where
    all are of one kind."""
    n, m = int(odd.sum()), int((~odd).sum())
    if not n or not m:
        return float("nan")
    return float((n * m + n * (n + 1) / 2 - ranks(scores)[odd].sum()) / (n * m))


def known_anomalies(labels: np.ndarray) -> tuple[np.ndarray, str]:
    """Which rows labels (N,) call odd, and how that was read: numbers that are not 0; of words true and yes; else all
    that are not the most frequent label.

    Raises
    ------
    ValueError
        They call all rows odd, or none.
    """
    if labels.dtype.kind in "biuf":
        odd, how = labels != 0, "all that are not 0"
    else:
        words = np.array([str(label).strip().lower() for label in labels])
        yes = np.isin(words, ["true", "yes"])
        if np.isin(words, ["true", "yes", "false", "no"]).all():
            odd, how = yes, "true or yes"
        else:
            names, counts = np.unique(labels.astype(str), return_counts=True)
            usual = names[counts.argmax()]
            odd, how = labels.astype(str) != usual, f"all that are not {str(usual)!r}"
    if odd.all() or not odd.any():
        what = "every row" if odd.all() else "no row"
        raise ValueError(f"--labels: they call {what} an anomaly ({how}); 0, false or no are normal rows, all else odd")
    return odd, how
