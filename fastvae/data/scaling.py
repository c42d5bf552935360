"""Between the user's units and the model's: u = (x - offset) / scale, column by column."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastvae.data.number_types import arithmetic
from fastvae.data.validation import LARGEST, Statistics
from fastvae.errors import check_name

WIDE = 1e4  # |offset| / scale beyond which values in the user's units are float64
ROUNDED_STEPS = 8  # of float64, by which values that should be equal may differ
ROUNDING = 1e-6  # of float32 arithmetic in the scaling
Scale = str | Sequence[Any] | None


class Units:
    """The scaling of one model, ready for use.

    Attributes
    ----------
    offset, scale : (D,) float64
        Copies that cannot be written to.
    dtype
        Of values in the user's units: float64 where a column lies so far from 0 that float32 would not hold its
        differences (a time in seconds since 1970), else float32.
    same : bool
        Whether the model's units are the user's.
    """

    def __init__(self, offset: np.ndarray, scale: np.ndarray):
        self.offset, self.scale = offset, scale = np.array(offset, np.float64), np.array(scale, np.float64)
        offset.setflags(write=False)
        scale.setflags(write=False)
        self.dtype = np.float64 if (np.abs(offset) > WIDE * scale).any() else np.float32
        self.same = bool((scale == 1).all() and (offset == 0).all())
        self._pairs = {kind: (offset.astype(kind), scale.astype(kind)) for kind in (np.float32, np.float64)}

    def pair(self, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
        """Offset and scale as data of that dtype are scaled with: always the same two arrays."""
        return self._pairs[arithmetic(dtype)]

    def to_user(self, values: np.ndarray, out: np.ndarray) -> None:
        """Write values (N, D) of the model into `out`, in the user's units."""
        if self.same:
            out[...] = values
        else:
            offset, scale = self._pairs[self.dtype]
            np.multiply(values, scale, out=out)
            out += offset


def scaling(scale: Scale, statistics: Statistics, keep_constant: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return (offset, scale), each (D,) float64.

    Parameters
    ----------
    scale
        None: the model's units are the user's. "standard": mean 0 and standard deviation 1 in each column.
        "minmax": each column onto [0, 1]; a constant column onto 0. (low, high): this range onto [0, 1]; numbers, for
        all columns as for pixels, or one number a column.
    keep_constant
        Whether "standard" takes columns without a deviation: their scale is 1.

    Raises
    ------
    ValueError
        Constant columns under "standard" (they have no deviation), an unknown name, or not low < high.
    """
    columns = len(statistics.mean)
    offset, factor = np.zeros(columns), np.ones(columns)
    check_scale(scale)
    if scale is None:
        pass
    elif isinstance(scale, str):
        width = statistics.largest - statistics.smallest
        if scale == "standard":
            # a spread that is rounding of the values themselves is none
            rounding = np.spacing(np.maximum(np.abs(statistics.largest), np.abs(statistics.smallest)))
            constant = np.flatnonzero(statistics.deviation <= ROUNDED_STEPS * rounding)
            if len(constant) and not keep_constant:
                first = int(constant[0])
                raise ValueError(
                    f"scale='standard' cannot be used: {len(constant)} of {columns} columns are constant (first: "
                    f"column {first}, always {statistics.mean[first]:.6g}); drop them, or use scale=None or 'minmax'"
                )
            offset, factor = statistics.mean, statistics.deviation.copy()
            factor[constant] = 1.0
        else:
            offset, factor = statistics.smallest, np.where(width > 0, width, 1.0)
    else:
        low, high = _range(scale, columns)
        offset, factor = low.copy(), high - low
    return offset, factor


def check_scale(scale: Any) -> None:
    """Raise `ValueError` unless `scale` is one that `scaling` knows, for however many columns."""
    if isinstance(scale, str):
        check_name("scale", scale, ("standard", "minmax"))
    elif scale is not None:
        _range(scale)


def _range(scale: Any, columns: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of an explicit range, each (D,) float64 where `columns` says D."""
    try:
        low, high = (np.asarray(v, np.float64) for v in scale if np.asarray(v).dtype.kind in "biufO")
        low, high = np.broadcast_arrays(low, high, *([] if columns is None else [np.empty(columns)]))[:2]
        if columns is not None and low.shape != (columns,):
            raise ValueError
    except (TypeError, ValueError):
        raise ValueError(f"scale={scale!r} is not known: valid: None, 'standard', 'minmax', (low, high)") from None
    if not ((np.abs([low, high]) <= LARGEST).all() and (low < high).all()):
        raise ValueError(f"scale={scale!r}: expected finite numbers (low, high) with low < high, of float32")
    return low, high


def check_unit_range(
    smallest: np.ndarray,
    largest: np.ndarray,
    offset: np.ndarray,
    scale: np.ndarray,
    name: str = "X",
    asked: Scale = None,
    settings: tuple[str, str] = ("likelihood='bernoulli'", "likelihood='gaussian'"),
) -> None:
    """Raise `ValueError`, with the range found, unless the columns' ranges lie in [0, 1] once scaled, as `asked`.
    `settings`: which one wants it, and which one does not."""
    low = float(((smallest - offset) / scale).min())
    high = float(((largest - offset) / scale).max())
    if low < -ROUNDING or high > 1 + ROUNDING:
        raw = f"[{smallest.min():.6g}, {largest.max():.6g}]"
        scaled = "" if (scale == 1).all() and (offset == 0).all() else f" (scaled: [{low:.6g}, {high:.6g}])"
        advice = "scale them, for example with scale='minmax' or scale=(low, high)"
        if isinstance(asked, str):
            advice = "scale them to it with scale='minmax' or scale=(low, high)"
        elif asked is not None:
            advice = "the range that scale= gives must hold them all: widen it, or clip the values to it"
        raise ValueError(
            f"{name} has values in {raw}{scaled}; {settings[0]} needs values in [0, 1]: {advice}, or use {settings[1]}"
        )
