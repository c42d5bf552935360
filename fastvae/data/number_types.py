"""Types of numbers in data: which the kernels read as they are, and in which arithmetic each is scaled."""

from typing import Any

import numpy as np

_COMPILED = frozenset(np.dtype(code) for code in "?bBhHiIlLqQfd")


def direct(dtype: np.dtype) -> bool:
    """Whether kernels read data of that dtype as they are: not foreign byte order, half and extended precision."""
    return dtype.isnative and dtype in _COMPILED


def arithmetic(dtype: np.dtype) -> type[np.floating[Any]]:
    """In what data of that dtype are scaled: float32 holds what bytes and float32 hold; wider data need float64."""
    return np.float32 if dtype.itemsize <= 2 or dtype == np.float32 else np.float64
