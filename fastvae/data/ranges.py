"""The range of data beside that of a model's training data: what lies beyond it, and what seems to have other units."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from fastvae.data.device_rows import DeviceRows
from fastvae.data.mapping import check_size, mapping_of
from fastvae.data.number_types import arithmetic
from fastvae.data.scaling import ROUNDING
from fastvae.data.validation import pieces

LOOKED_AT = 4096  # values, from the first rows on
LEAST = 64  # values that show in what units they are
PIXELS = 10.0  # data from 0 that reach it are not in [0, 1]
Range = tuple[float, float]


def clipping(
    X: Any, smallest: np.ndarray, largest: np.ndarray, offset: np.ndarray, scale: np.ndarray, name: str = "X"
) -> Callable[[Any], np.ndarray] | None:
    """How rows of `X` (N, D), whose columns range from `smallest` to `largest`, are brought into the range from
    `offset` to `offset + scale`, which was learned: a copy in the arithmetic of their scaling, so that a row gets the
    same number alone and among others. None where all lie in it. A warning says how many do not, and how far.
    """
    low, high = offset, offset + scale
    beyond = np.maximum(low - smallest, largest - high) / scale
    if not (beyond > 0).any():
        return None
    if beyond.max() > ROUNDING:
        values = rows = 0
        for _, piece in pieces(X):
            outside = (piece < low - ROUNDING * scale) | (piece > high + ROUNDING * scale)
            values, rows = values + int(outside.sum()), rows + int(outside.any(axis=1).sum())
        far = int(beyond.argmax())
        warnings.warn(
            f"{name} has {values} values, in {rows} of {len(X)} rows, beyond the range of the training data, by "
            f"up to {beyond[far]:.3g} times its width (column {far}: [{smallest[far]:.6g}, {largest[far]:.6g}], "
            f"learned [{low[far]:.6g}, {high[far]:.6g}]); each is taken as the nearest end of it",
            stacklevel=4,
        )
    kind = arithmetic(X.dtype)
    low, high = low.astype(kind), high.astype(kind)
    return lambda rows: np.clip(rows.astype(kind), low, high)


def warn_of_other_units(X: Any, known: Range | None, name: str = "X", what: str = "was trained on data in") -> None:
    """Warn where the first rows of `X` lie in [0, 1] and the known range is that of pixels, or the other way round."""
    if known is None or isinstance(X, DeviceRows) or known[0] < 0 or 1 < known[1] < PIXELS:
        return
    if X.size < LEAST:
        return
    some, smaller = X[: 1 + LOOKED_AT // X.shape[1]], known[1] >= PIXELS
    mapping = mapping_of(X)
    if mapping is not None:
        check_size(mapping, X, name)
        some = np.array(some)
    high = float(some.max())
    if not (0 < high <= 1 if smaller else high >= PIXELS):
        return
    low = float(some.min())
    if low >= 0 and (smaller or float(np.median(some[some > 0])) > 1):  # not a few odd values
        warnings.warn(
            f"{name} has values in [{low:.6g}, {high:.6g}], the model {what} [{known[0]:.6g}, {known[1]:.6g}]: the "
            "units seem to be others; give data in the same ones",
            stacklevel=4,
        )
