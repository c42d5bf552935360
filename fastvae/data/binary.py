"""Rows of 0 and 1: models that give a probability to them give none to what lies between."""

import warnings
from typing import Any

import numpy as np

from fastvae.data.scaling import Units
from fastvae.data.validation import pieces
from fastvae.errors import EvaluationWarning


def first_between(X: Any, units: Units) -> str | None:
    """The first value of X (N, D) that is neither 0 nor 1 in the model's units, and where it stands; None without."""
    for start, piece in pieces(X):
        scaled = (piece - units.offset) / units.scale
        wrong = (scaled != 0) & (scaled != 1)
        if wrong.any():
            row, column = (int(i) for i in np.argwhere(wrong)[0])
            return f"first: {piece[row, column]:.6g} at row {start + row}, column {column}"
    return None


def binarizing(name: str, units: Units) -> str:
    """What to do about such values."""
    middle = (units.offset + 0.5 * units.scale).tolist()
    threshold = f"{middle[0]:g}" if min(middle) == max(middle) else "threshold"
    return (
        f"binarize them, ({name} > {threshold}) for one, or pass binarize= to initialize, examples or evaluate: "
        "'dynamic', which takes each value for the probability of a 1, or a number, above which is 1"
    )


def check_binary(X: Any, units: Units, model: str, name: str = "X") -> None:
    """Raise `ValueError` unless the values of X (N, D), which become numbers in [0, 1] in the model's units, become 0
    and 1."""
    found = first_between(X, units)
    if found is not None:
        raise ValueError(
            f"{name} has values other than 0 and 1 ({found}), and {model} gives a probability to rows of 0 and 1 "
            f"alone: {binarizing(name, units)}"
        )


def warn_of_grey(X: Any, units: Units, stacklevel: int, name: str = "X") -> None:
    """Warn where values of X (N, D), whose score is called log p(x), lie between 0 and 1 in the model's units."""
    found = first_between(X, units)
    if found is not None:
        warnings.warn(
            f"{name} has values between 0 and 1 ({found}), of which likelihood='bernoulli' has no probability: their "
            f"scores are cross-entropies, with a minus, and not log p(x): {binarizing(name, units)}",
            EvaluationWarning,
            stacklevel=stacklevel + 1,
        )
