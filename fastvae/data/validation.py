"""What a user's array must be, checked once where it enters, in pieces that fit into memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.data.conversion import as_array
from fastvae.data.device_rows import DeviceRows, adopt, is_on_device, on_host
from fastvae.data.mapping import check_size, mapping_of

PIECE_BYTES = 1 << 23  # of float64 in one piece
LARGEST = float(np.finfo(np.float32).max)


def pieces(X: Any) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (first row, float64 copy of some rows), in order."""
    for start, piece in _views(X):
        yield start, piece.astype(np.float64)


def _views(X: Any) -> Iterator[tuple[int, Any]]:
    """Yield (first row, some rows), in order; `DataFileError` where they lie in a mapped file that was cut short."""
    rows, mapping = max(1, PIECE_BYTES // (8 * max(1, X.shape[1]))), mapping_of(X)
    for start in range(0, len(X), rows):
        check_size(mapping, X)
        yield start, X[start : start + rows]
    check_size(mapping, X)


@dataclass(frozen=True)
class Statistics:
    """Of each column, float64 (D,): smallest and largest value, mean, and standard deviation (divisor N); the latter
    two by the weights (N,) of the rows, where these have some."""

    smallest: np.ndarray
    largest: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    weights: np.ndarray | None = None


def as_examples(
    X: Any, name: str = "X", columns: int | None = None, in_place: bool = False, of: str = "the model"
) -> Any:
    """Return `X` as an array (N, D) of real numbers, N >= 1, without looking at its values; one that lies on a GPU as
    `DeviceRows` where `in_place`, else as a copy on the host. `of`: who wants `columns` columns.

    What is said of a wrong shape has scikit-learn's words in it, as its checks of estimators ask.

    Raises
    ------
    TypeError
        Not boolean, integer or real: what it is, and what to do.
    ValueError
        Not 2-D, no rows or no columns, or not `columns` columns.
    """
    if isinstance(X, np.ma.MaskedArray) and np.ma.is_masked(X):
        count = int(np.ma.count_masked(X))
        raise ValueError(f"{name} has {count} masked entries: fill or remove them, with {name}.filled(value) for one")
    given = X
    if not isinstance(X, np.ndarray) and not getattr(X, "requires_grad", False) and is_on_device(X):
        X = adopt(X, name)
    if not in_place:
        X = on_host(X)
    array: Any = X if isinstance(X, DeviceRows) else as_array(X, name)
    if array.ndim != 2:
        hint = {
            0: "pass a table, one row an example",
            1: f"one example with {name}.reshape(1, -1), one feature with {name}.reshape(-1, 1)",
        }.get(array.ndim, f"each example flat, {name}.reshape(len({name}), -1)")
        if array.ndim == 1 and hasattr(given, "to_frame"):
            hint = f"pass one feature as a table with {name}.to_frame()"
        raise ValueError(f"{name} has shape {array.shape}, {array.ndim}-D; expected 2-D (examples, features). "
                         f"Reshape your data: {hint}")  # fmt: skip
    if array.size == 0:
        what = "sample" if len(array) == 0 else "feature"
        raise ValueError(f"{name} is empty: 0 {what}(s) (shape={array.shape}) while a minimum of 1 is required.")
    if columns is not None and array.shape[1] != columns:
        found = f"{array.shape[1]} features, but {of} is expecting {columns} features as input"
        raise ValueError(f"{name} has {found} (shape {array.shape})")
    return array


def check_values(X: Any, name: str = "X") -> tuple[np.ndarray, np.ndarray]:
    """Return the smallest and largest value of each column (D,) of `X` (N, D), whose values must be finite float32.

    Raises
    ------
    ValueError
        With the number of entries that are not, and the position of the first.
    """
    if isinstance(X, DeviceRows):  # piece by piece: it may be larger than the host's memory
        found = statistics(X, name)
        return found.smallest, found.largest
    with np.errstate(invalid="ignore"):
        ranges = [(piece.min(axis=0), piece.max(axis=0)) for _, piece in _views(X)]
        smallest, largest = ranges[0] if len(ranges) == 1 else _of_all(ranges)
    if X.dtype.kind == "f" and not (float(smallest.min()) >= -LARGEST and float(largest.max()) <= LARGEST):
        bad = [_unusable(piece, start) for start, piece in pieces(X)]
        _refuse_unusable([b for b in bad if b], name)
    return smallest, largest


def _of_all(ranges: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    smallest, largest = zip(*ranges, strict=True)
    return np.min(smallest, axis=0), np.max(largest, axis=0)


def _unusable(piece: np.ndarray, start: int) -> tuple[int, int, int, float] | None:
    """(count, row, column, value) of the entries of a piece that no float32 holds, or None."""
    wrong = ~(np.abs(piece) <= LARGEST)
    if not wrong.any():
        return None
    row, column = (int(i) for i in np.argwhere(wrong)[0])
    return int(wrong.sum()), start + row, column, float(piece[row, column])


def _refuse_unusable(bad: list[tuple[int, int, int, float]], name: str) -> None:
    if bad:
        count = sum(b[0] for b in bad)
        _, row, column, number = bad[0]
        value = "NaN" if number != number else number
        what = (
            f"entry that is not a finite float32 number (first: {value}"
            if count == 1
            else (f"entries that are not finite float32 numbers (first: {value}")
        )
        instead = "; gaps are for a TableVAE" if value == "NaN" else ""
        raise ValueError(f"{name} has {count} {what} at row {row}, column {column}): remove or replace them{instead}")


def statistics(X: Any, name: str = "X", weights: np.ndarray | None = None) -> Statistics:
    """One pass over `X` (N, D); raises as `check_values` does. `weights` (N,), above 0: how often each row counts.

    Deviations are as exact as the values, however far those lie from 0, because rounding of a sum of large values is
    not small beside a small spread: all is relative to the first row, and of each piece to its mean, in two steps (the
    corrected two-pass algorithm of Chan, Golub and LeVeque 1983); pieces are combined as in their paper of 1979.
    """
    smallest, largest = np.full(X.shape[1], np.inf), np.full(X.shape[1], -np.inf)
    mean, squares, count = np.zeros(X.shape[1]), np.zeros(X.shape[1]), 0.0
    origin: np.ndarray | None = None  # all of what follows is relative to it
    bad: list[tuple[int, int, int, float]] = []
    for start, piece in pieces(X):
        unusable = _unusable(piece, start) if X.dtype.kind == "f" else None
        if unusable or bad:
            bad += [unusable] if unusable else []
            continue
        np.minimum(smallest, piece.min(axis=0), out=smallest)
        np.maximum(largest, piece.max(axis=0), out=largest)
        origin = piece[0].copy() if origin is None else origin
        piece -= origin
        w = None if weights is None else weights[start : start + len(piece)]
        rows, rough = float(len(piece)) if w is None else w.sum(), np.average(piece, axis=0, weights=w)
        piece -= rough
        rest = np.average(piece, axis=0, weights=w)
        delta = rough + rest - mean
        spread = np.einsum("ij,ij->j", piece, piece) if w is None else np.einsum("i,ij,ij->j", w, piece, piece)
        squares += spread - rows * rest**2 + delta**2 * (count * rows / (count + rows))
        mean += delta * (rows / (count + rows))
        count += rows
    _refuse_unusable(bad, name)
    deviation = np.where(largest > smallest, np.sqrt(np.maximum(squares, 0) / count), 0.0)
    return Statistics(smallest, largest, mean if origin is None else origin + mean, deviation, weights)
