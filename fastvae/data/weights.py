"""Weights of rows, scikit-learn's `sample_weight`: how often each row counts.

A row of weight 2 counts as one that is there twice, a row of weight 0 as one that is not there: those are left out
before anything else is done. The loss of a row is multiplied by w / mean(w), the mean over the rows that are left, so
that a step is as long as without weights.
"""

from typing import Any

import numpy as np

from fastvae.data.conversion import as_array
from fastvae.data.device_rows import on_host
from fastvae.errors import counted

NAME = "sample_weight"
LEAST = 1e-20  # of the largest weight: smaller ones count as 0, as float32 holds no gradient by them
COPIED_BYTES = 1 << 28  # a larger memory map is not copied to leave rows out


def as_weights(weights: Any, rows: int, name: str = NAME) -> np.ndarray:
    """Weights of so many rows, by the largest one: (rows,) float64 in [0, 1], where the smallest are 0.

    Raises
    ------
    ValueError, TypeError
        Not one number a row; negative or not finite: which, and where; 0 for all rows.
    """
    found = as_array(on_host(weights), name).astype(np.float64)
    if found.ndim == 0:
        raise ValueError(f"{name}={weights!r} is one for all; expected one number for each of the {rows} rows")
    if found.ndim != 1:
        column = ", a column of the frame" if hasattr(weights, "columns") else f": pass {name}.ravel()"
        hint = column if found.ndim == 2 and found.shape[1] == 1 else ""
        raise ValueError(f"{name} has shape {found.shape}; expected one number for each row, ({rows},){hint}")
    if len(found) != rows:
        raise ValueError(f"{name} has {counted(len(found), 'number')} for {counted(rows, 'row')}: give one for each")
    for wrong, what, hint in (
        (~np.isfinite(found), "that is no finite number", "use 0 for rows that are not to count"),
        (found < 0, "below 0", "a weight says how often a row counts; use 0 for rows that are not to count"),
    ):
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            count = "a weight" if wrong.sum() == 1 else f"{int(wrong.sum())} weights"
            what = what if wrong.sum() == 1 else what.replace("that is no finite number", "that are no finite numbers")
            raise ValueError(f"{name} has {count} {what} (first: {found[first]:g} at row {first}): {hint}")
    if not found.any():
        raise ValueError(f"{name} is zero for all {counted(rows, 'row')}: none is left; give some a weight above 0")
    found /= found.max()
    found[found < LEAST] = 0.0
    return found


def normalised(weights: np.ndarray) -> np.ndarray:
    """w / mean(w), of weights (N,)."""
    return weights / weights.mean()


def left_by(X: Any, weights: np.ndarray, name: str = NAME) -> Any:
    """The rows of X (N, D) whose weight is above 0.

    Raises
    ------
    ValueError
        X lies on a GPU or is a large memory map, of which no copy is made.
    """
    kept = weights > 0
    if kept.all():
        return X
    if not isinstance(X, np.ndarray) or (isinstance(X, np.memmap) and X.nbytes > COPIED_BYTES):
        where = "an array on a GPU" if not isinstance(X, np.ndarray) else f"a memory map of {X.nbytes / 1e9:.1f} GB"
        raise ValueError(
            f"{name} is 0 for {counted(int((~kept).sum()), 'row')} of X, {where}, which is not copied to leave them "
            "out: pass the others alone"
        )
    return X[kept]


def weighted_mean(values: np.ndarray, weights: np.ndarray | None) -> float:
    """sum w v / sum w of values (N,) by weights (N,); the plain mean without."""
    if weights is None:
        return float(values.mean())
    kept = weights > 0  # the values of other rows do not matter, were they not finite
    return float(np.average(values[kept], weights=weights[kept]))
