"""On what part of an axis the curves of a training are seen, by its data. Needs no matplotlib."""

from collections.abc import Sequence

import numpy as np

FEWEST = 5  # epochs, below which all are in sight
BEGUN = 0.1  # share of the epochs, the first, that may be left out of sight
FLAT = 2.5  # times the range of the later epochs: first values further away would flatten these
STRAY = 0.02  # share of the later values at either end that may be out of sight too
ROOM = 0.35  # of the range of the later ones, on either side, in which a curve is seen to come from afar


def limits_of_curves(epochs: np.ndarray, curves: Sequence[np.ndarray]) -> tuple[float, float] | None:
    """Ends of an axis on which the later epochs of curves (E,) are seen, where all of their values would flatten those;
    None where these do not."""
    count = len(epochs)
    late = (
        np.concatenate([values[int(np.ceil(BEGUN * count)) :] for values in curves]) if count >= FEWEST else np.empty(0)
    )
    late, whole = late[np.isfinite(late)], np.concatenate(curves)
    whole = whole[np.isfinite(whole)]
    if not len(late):
        return None
    low, high = (float(value) for value in np.quantile(late, (STRAY, 1 - STRAY)))
    last = [values[-1] for values in curves if np.isfinite(values[-1])]
    low, high = min([low, *last]), max([high, *last])
    span = high - low
    if span <= 1e-9 * max(1.0, abs(high)) or float(np.ptp(whole)) <= FLAT * span:
        return None
    room = ROOM * span
    return max(float(whole.min()) - 0.05 * span, low - room), min(float(whole.max()) + 0.05 * span, high + room)
