"""What a command decides before it trains: which rows are held out, and which scaling suits the data."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from fastvae.data.dataset import DataSet
from fastvae.data.validation import check_values
from fastvae.kernels import cpu
from fastvae.likelihoods import LIKELIHOODS

COPIED_BYTES = 1 << 28  # a larger memory map is split without copying it
SPLIT_EPOCH = 2**32 - 1  # an epoch that no training reaches


KINDS_OF_CONDITION = ("auto", "labels", "numbers")


def with_condition(data: DataSet, kind: str) -> DataSet:
    """The same with its condition as labels or as numbers: `kind` is one of `KINDS_OF_CONDITION`.

    Raises
    ------
    ValueError
        It is text that is no number; or several columns, which are no labels.
    """
    made = [None if c is None else _as_kind(c, kind) for c in (data.condition, data.condition_heldout)]
    return dataclasses.replace(data, condition=made[0], condition_heldout=made[1])


def _as_kind(condition: np.ndarray, kind: str) -> np.ndarray:
    if kind == "numbers":
        try:
            return condition.astype(np.float64)
        except ValueError as error:
            raise ValueError(f"--condition-as numbers: {error}") from None
    if kind == "labels" and condition.dtype.kind == "f":
        if condition.ndim > 1:
            raise ValueError(f"--condition-as labels: the condition has {condition.shape[1]} columns; labels are one")
        return condition.astype(np.int64) if (condition == np.rint(condition)).all() else condition.astype(str)
    return condition


class Split(NamedTuple):
    """Rows to train on and rows held out, with their labels and conditions; `held_out` is None where there are none."""

    X: np.ndarray
    labels: np.ndarray | None
    held_out: np.ndarray | None
    drawn: bool  # False for the last rows of a large memory map
    condition: np.ndarray | None = None
    condition_held_out: np.ndarray | None = None
    places: Any = slice(None)  # of the rows to train on, in the data
    places_held_out: Any = None  # of those held out; None where the data bring them as a part of their own


def split(data: DataSet, fraction: float | None, seed: np.uint64) -> Split:
    """Hold rows out: a fraction of them, drawn by the seed; without one, the data's own test part, or a tenth.

    Of a memory map of more than 256 MB, which is not copied, they are the last ones.

    Raises
    ------
    ValueError
        Fewer than two rows would be left.
    """
    c = data.condition
    if fraction is None and data.X_heldout is not None:
        if c is not None and data.condition_heldout is None:
            raise ValueError(f"{data.name}: the test part has no condition of its own: hold rows out by --heldout 0.1")
        return Split(data.X, data.labels, data.X_heldout, True, c, data.condition_heldout)
    rows = len(data.X)
    count = round(rows * fraction) if fraction is not None else held_out_rows(rows, 0.1)
    if count and rows - count < 2:
        raise ValueError(f"--heldout {fraction} leaves {rows - count} of {rows} examples to train on: keep fewer back")
    if count == 0:
        return Split(data.X, data.labels, None, True, c)
    drawn = not (isinstance(data.X, np.memmap) and data.X.nbytes > COPIED_BYTES)
    kept, held = _places(rows, count, seed, drawn)
    labels = None if data.labels is None else data.labels[kept]
    conditions = (None, None) if c is None else (c[kept], c[held])
    return Split(data.X[kept], labels, data.X[held], drawn, conditions[0], conditions[1], kept, held)


def held_out_rows(rows: int, fraction: float) -> int:
    """How many of so many rows to hold out: a fraction, but of few at least 10 or a quarter."""
    return max(0, min(max(round(rows * fraction), min(10, rows // 4), 1), rows - 2))


def held_out_places(X: Any, fraction: float, seed: np.uint64) -> tuple[Any, Any]:
    """Which rows of X (N, D) to train on and which to hold out: a fraction, at least 10 or a quarter. The seed draws
    them; of more than 256 MB, which are not copied, they are the last ones."""
    drawn = isinstance(X, np.ndarray) and X.nbytes <= COPIED_BYTES
    return _places(len(X), held_out_rows(len(X), fraction), seed, drawn)


def _places(rows: int, count: int, seed: np.uint64, drawn: bool) -> tuple[Any, Any]:
    """Which of so many rows are kept and which, `count` of them, are held out: drawn by the seed, or the last ones."""
    if not drawn:
        return slice(0, rows - count), slice(rows - count, rows)
    order = np.empty(rows, np.int64)
    cpu.shuffled_indices(seed, SPLIT_EPOCH, rows, 0, order)
    return np.sort(order[count:]), np.sort(order[:count])


def check_whole(data: DataSet) -> tuple[np.ndarray, np.ndarray]:
    """Return the range of each column over all rows, held out or not; raise where a value is not a finite float32.

    Checked before any split, so that a position in a message is one in the user's file.
    """
    smallest, largest = check_values(data.X, data.name)
    if data.X_heldout is not None:
        more = check_values(data.X_heldout, f"the test part of {data.name}")
        smallest, largest = np.minimum(smallest, more[0]), np.maximum(largest, more[1])
    return smallest, largest


def suitable_scale(asked: Any, likelihood: str, data: DataSet, smallest: np.ndarray, largest: np.ndarray) -> Any:
    """The estimator's `scale` for what was asked, "auto" among it.

    Pixels: the range that their source allows, or else the one found, onto [0, 1]. Tables: standardised, or for a
    Bernoulli likelihood each column onto [0, 1] unless it lies there already. A range is taken over all rows: it fixes
    units, and rows that are held out must lie in it too.
    """
    kind, whole = LIKELIHOODS[likelihood], (float(smallest.min()), float(largest.max()))
    if asked == "none":
        return None
    if asked == "auto":
        if data.value_range is not None and not kind.WHOLE:
            return None if data.value_range == (0.0, 1.0) else data.value_range
        least, most = kind.SUPPORT
        if kind.WHOLE or (most < np.inf and whole[0] >= least and whole[1] <= most):
            return None
        if not data.image_shape and kind.SCALING is not None:
            return "auto"
        if data.image_shape and whole[0] < whole[1]:
            return whole
        asked = "minmax"
    if asked == "minmax":
        low, high = smallest.astype(np.float64), largest.astype(np.float64)
        above = low + np.maximum(1, np.spacing(np.abs(low)))  # for a constant column, however large
        return low.tolist(), np.where(high > low, high, above).tolist()
    return asked
