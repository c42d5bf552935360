"""Where a function that rises has given values."""

from collections.abc import Callable

import numpy as np

HALVINGS = 60  # beyond the precision of float64


def solve(
    function: Callable[[np.ndarray], np.ndarray], target: np.ndarray, low: np.ndarray | float, high: np.ndarray | float
) -> np.ndarray:
    """The a between `low` and `high` at which a function of each element, which rises, is `target`, by halves."""
    low, high = np.full(np.shape(target), low), np.full(np.shape(target), high)
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        below = function(middle) < target
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return 0.5 * (low + high)
