"""The rows that samples and real data are compared by: checked, about an origin near them, in blocks."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastvae.data.validation import as_examples, check_values
from fastvae.errors import counted

ROWS = 1024  # of a block
LARGEST = 1e15
LOOKED_AT = 1000  # rows that the origin is the median of


def checked(X: Any, name: str, like: Any = None, fewest: int = 2, why: str = "") -> np.ndarray:
    """X (N, D) as it is, once it is known to be finite, of at least `fewest` rows, and of as many columns as `like`, a
    pair of a name and an array.

    Raises
    ------
    ValueError, TypeError
        It is not.
    """
    array: np.ndarray = as_examples(X, name)
    if like is not None and array.shape[1] != like[1].shape[1]:
        raise ValueError(
            f"{name} has {counted(array.shape[1], 'column')} (shape {array.shape}), {like[0]} has "
            f"{like[1].shape[1]:,} (shape {like[1].shape}): both must be of the same kind"
        )
    smallest, largest = check_values(array, name)
    if max(abs(float(smallest.min())), abs(float(largest.max()))) > LARGEST:
        raise ValueError(
            f"{name} has values beyond {LARGEST:g}, whose squares no float32 holds: divide all by a number"
        )
    if len(array) < fewest:
        raise ValueError(f"{name} has {counted(len(array), 'row')}; at least {fewest:,} are needed{why}")
    return array


def origin(*arrays: np.ndarray) -> np.ndarray:
    """(D,) float64, a point amid all rows, which stray rows do not move: the median of some, evenly spaced.

    Squared distances are computed as |x|^2 - 2 x.y + |y|^2, whose rounding error is that of the squares: so x and y are
    taken relative to a point near them.
    """
    count = sum(len(a) for a in arrays)
    some = [a[:: -(-count // LOOKED_AT)] for a in arrays]
    return np.median(np.concatenate(some).astype(np.float64), axis=0)


def blocks(count: int, rows: int = ROWS) -> Iterator[slice]:
    """Slices that cover `count` rows, in order."""
    for start in range(0, count, rows):
        yield slice(start, min(start + rows, count))


def about(X: np.ndarray, centre: np.ndarray, dtype: Any = np.float64) -> np.ndarray:
    """X - centre, subtracted in float64, as `dtype`."""
    out = np.empty(X.shape, dtype)
    for block in blocks(len(X)):
        out[block] = X[block] - centre
    return out


def squares(X: np.ndarray) -> np.ndarray:
    """|x|^2 of each row, (N,)."""
    return np.einsum("nd,nd->n", X, X)
