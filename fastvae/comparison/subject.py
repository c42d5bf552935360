"""The data of a comparison: rows to train on, to choose by, and to test on, in units that suit every model.

Images become numbers in [0, 1] and are binarised: then all figures in nats are log probabilities of binary rows. Tables
of real numbers are standardised by the columns of the rows that are trained on; nats are those of the user's units.
"""

from dataclasses import dataclass

import numpy as np

from fastvae.data.dataset import DataSet
from fastvae.data.preparation import check_whole
from fastvae.errors import DataFileError, counted
from fastvae.runs import is_ink

FIXED, DYNAMIC, NOT = "fixed", "dynamic", "none"
BINARIZATIONS = (FIXED, DYNAMIC)
HELD_OUT, VALIDATED, MOST_VALIDATED = 0.2, 0.1, 1000  # shares of the rows, and rows
FEWEST = 20  # rows in all


@dataclass(frozen=True, eq=False)
class Subject:
    """Rows (N, D) float32, of which no model is trained on more than `train`.

    Attributes
    ----------
    kind
        "bernoulli": all rows but those of `train` are 0 and 1; "gaussian": real numbers, each column with mean 0 and
        deviation 1 in `train`.
    train
        What models are trained on: grey values where they are binarised anew in each step.
    seen
        The same as the test rows are: binarised once.
    validation, test
        Rows to choose by, and rows that nothing is chosen by.
    labels, validation_labels, test_labels
        Where the data have some.
    binarize
        "fixed", "dynamic", or "none".
    log_jacobian
        Nats to take off a log density of these rows for one in the user's units: sum_D log(scale).
    conventions
        What all figures depend on, a line each.
    column_names
        D of them: the header's, or "column 0", ...
    """

    name: str
    kind: str
    train: np.ndarray
    seen: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    labels: np.ndarray | None
    validation_labels: np.ndarray | None
    test_labels: np.ndarray | None
    binarize: str
    image_shape: tuple[int, ...] | None
    log_jacobian: float
    conventions: list[str]
    ink: bool
    column_names: tuple[str, ...]

    @property
    def columns(self) -> int:
        """D."""
        return self.train.shape[1]


def subject_of(data: DataSet, binarize: str, seed: int) -> Subject:
    """The rows of a data set, split by the seed where it has no test part, and binarised as asked.

    Raises
    ------
    DataFileError
        Too few rows, or all of those to train on the same.
    """
    smallest, largest = check_whole(data)
    random = np.random.default_rng([seed, 2])
    rows = len(data.X)
    if rows < FEWEST:
        raise DataFileError(
            f"{data.name}: {counted(rows, 'row')}; {FEWEST} are needed, to train, to choose and to test"
        )
    order, test, test_labels = random.permutation(rows), data.X_heldout, data.labels_heldout
    lines = [
        f"test rows: the {data.name} test part"
        if test is not None
        else f"test rows: {HELD_OUT:.0%}, drawn by seed {seed}"
    ]
    if test is None:
        held, order = np.sort(order[: round(HELD_OUT * rows)]), order[round(HELD_OUT * rows) :]
        test, test_labels = data.X[held], None if data.labels is None else data.labels[held]
    count = max(2, min(MOST_VALIDATED, round(VALIDATED * len(order))))
    parts = np.sort(order[count:]), np.sort(order[:count])
    X, validation = (np.asarray(data.X[part], np.float64) for part in parts)
    test = np.asarray(test, np.float64)
    labels = [None if data.labels is None else data.labels[part] for part in parts]
    lines.append(f"{len(X):,} rows to train on, {count:,} to choose by (not trained on), {len(test):,} to test on")
    names = list(data.column_names or [f"column {k}" for k in range(X.shape[1])])
    constant = X.min(axis=0) == X.max(axis=0)
    if constant.all():
        raise DataFileError(f"{data.name}: the rows to train on are one and the same row: there is nothing to learn")
    binary = (
        bool(((data.X == 0) | (data.X == 1)).all()) if data.X.dtype.kind in "biu" or not data.image_shape else False
    )
    if data.image_shape or binary:
        low, high = data.value_range or (float(smallest.min()), float(largest.max()))
        span = (high - low) or 1.0
        kind, log_jacobian = "bernoulli", 0.0
        X, validation, test = (  # type: ignore[assignment]
            ((part - low) / span).astype(np.float32) for part in (X, validation, test)
        )
        if binary:
            how, seen = NOT, X
            lines.append("the rows are 0 and 1 as they are")
        else:
            how = binarize
            drawn = np.random.default_rng([seed, 3])
            seen, validation, test = (  # type: ignore[assignment]
                (drawn.random(part.shape, np.float32) < part).astype(np.float32) for part in (X, validation, test)
            )
            lines.append(
                f"binarised: each grey value is the probability of a 1, drawn once by seed {seed}"
                + ("" if how == FIXED else " for the rows that are tested on, anew in each step of a training")
            )
            X = seen if how == FIXED else X
        lines.append("nats are log probabilities of binary rows; errors are sums over columns of squares")
    else:
        kind, how = "gaussian", NOT
        if constant.any():
            left = [names[k] for k in np.flatnonzero(constant)]
            names = [names[k] for k in np.flatnonzero(~constant)]
            few = ", ".join(left[:5]) + ", ..." * (len(left) > 5)
            lines.append(f"left out: {counted(len(left), 'column')} with one value in all rows to train on ({few}), of "
                         "which any density is as good as another")  # fmt: skip
            X, validation, test = (part[:, ~constant] for part in (X, validation, test))
        mean, scale = X.mean(axis=0), X.std(axis=0)
        X, validation, test = (((part - mean) / scale).astype(np.float32) for part in (X, validation, test))
        seen, log_jacobian = X, float(np.log(scale).sum())
        lines.append("each column standardised by the rows that are trained on; nats are log densities in the units of "
                     "the data, errors are in deviations of a column")  # fmt: skip
    return Subject(
        data.name, kind, X, seen, validation, test, labels[0], labels[1], test_labels, how, data.image_shape,
        log_jacobian, lines, is_ink(seen), tuple(names),
    )  # fmt: skip
