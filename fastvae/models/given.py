"""Rows that a user gives to a training, with what stands beside each."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from fastvae.data.condition import Condition, learned_condition
from fastvae.data.conversion import Encoded
from fastvae.data.validation import as_examples, check_values
from fastvae.data.weights import NAME, as_weights, left_by


@dataclass(frozen=True)
class Given:
    """Rows that count, as arrays, not looked at any further.

    Attributes
    ----------
    X : (N, D)
    condition : (N, C) or None
        As a network reads it.
    weights : (N,) or None
        float64, all above 0: how often each row counts.
    """

    X: Any
    condition: np.ndarray | None = None
    weights: np.ndarray | None = None

    @classmethod
    def of(cls, X: Any, rows: np.ndarray | None, weights: Any, name: str = NAME) -> Self:
        """X, an array, and the condition of each of its rows, without those whose weight is 0."""
        if weights is None:
            return cls(X, rows)
        counts = as_weights(weights, len(X), name)
        if not counts.all():
            if not isinstance(X, Encoded):
                check_values(X)  # so that a position in a message is one in the user's array
            X, rows = left_by(X, counts, name), None if rows is None else rows[counts > 0]
        return cls(X, rows, counts[counts > 0])

    def __len__(self) -> int:
        return len(self.X)

    def at(self, places: Any) -> Self:
        """Some of the rows."""
        beside = (None if each is None else each[places] for each in (self.condition, self.weights))
        return type(self)(self.X[places], *beside)


def first_rows(X: Any, condition: Any, weights: Any, in_place: bool = True) -> tuple[Given, Condition | None]:
    """The rows of a first training, and what there is to know of their condition."""
    X = as_examples(X, in_place=in_place)
    if condition is None:
        return Given.of(X, None, weights), None
    counts = None if weights is None else as_weights(weights, len(X))
    known, rows = learned_condition(condition, len(X), weights=counts)
    if counts is None:
        return Given(X, rows), known
    given = Given.of(X, None, weights)
    return Given(given.X, rows, given.weights), known


def held_out_rows(X: Any, known: Condition | None, condition: Any, weights: Any) -> Given:
    """The rows that are held out of a training whose condition is known."""
    if (known is None) != (condition is None):
        given, missing = ("condition", "heldout_condition")[:: 1 if known is not None else -1]
        raise ValueError(f"{given} was given and {missing} was not: give both, or none")
    X = as_examples(X, "heldout", in_place=True)
    rows = None if known is None else known.rows(condition, len(X), "heldout_condition")
    return Given.of(X, rows, weights, "heldout_weight")
