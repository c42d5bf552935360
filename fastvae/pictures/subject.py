"""What a picture asks of a model: what it can do, its columns, images and conditions, and rows as it reads them."""

import inspect
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastvae.data.columns import Column
from fastvae.data.condition import Labels
from fastvae.errors import NotAvailableError, closest
from fastvae.evaluation.drawing import check_available
from fastvae.models.estimator import Estimator
from fastvae.models.table_vae import TableVAE
from fastvae.models.vae import VAE

MOST_CONDITIONS = 20  # labels that have a row or a colour
VECTORS = 8  # conditions that are no labels, of which some are shown


def check_model(model: Any, picture: str, *methods: str) -> None:
    """Raise where it is no fitted estimator, or has no such methods: why, and what to use.

    Raises
    ------
    TypeError
        No estimator, or one that cannot have the method.
    NotFittedError
        One that was not fitted.
    ModuleNotFoundError
        There is no matplotlib.
    """
    check_available()
    if not isinstance(model, Estimator):
        raise TypeError(f"{picture} draws a fitted estimator of fastvae, not a {type(model).__name__}: pass a VAE, say")
    model._check_fitted()
    for method in methods:
        try:
            getattr(model, method)
        except NotAvailableError as error:
            raise TypeError(f"{picture}: {error}") from None


def shape_of_images(model: Any, given: Sequence[int] | None = None) -> tuple[int, ...] | None:
    """(height, width), or (height, width, 3), of rows that are images: as given, or as the model knows it."""
    known = given or model.metadata_.get("image_shape")
    if known is None:
        return None
    shape, width = tuple(int(n) for n in known), model.n_features_in_
    if isinstance(model, TableVAE):
        raise ValueError("image_shape: a TableVAE has columns of a table, and no images: leave it out")
    if len(shape) not in (2, 3) or min(shape) < 1 or math.prod(shape) != width or shape[2:] not in ((), (3,)):
        raise ValueError(
            f"image_shape={shape}: expected (height, width), or (height, width, 3) in colour, of {width} columns"
        )
    return shape


def is_ink(model: Any, images: np.ndarray) -> bool:
    """Whether images are mostly empty, and drawn dark on light, like ink: as the model knows, or as they look."""
    known = model.metadata_.get("ink")
    if known is not None:
        return bool(known)
    low, middle, high = np.percentile(np.asarray(images, np.float64), (5, 50, 95))
    return bool(middle < low + 0.35 * (high - low))


def columns_of(model: Any) -> tuple[Column, ...]:
    """What is known of the model's columns."""
    if isinstance(model, TableVAE):
        return model.columns_.columns
    names = getattr(model, "feature_names_in_", None)
    likelihood = getattr(model.network_, "likelihood", None)
    whole = bool(getattr(likelihood, "WHOLE", False))
    kind = getattr(likelihood, "NAME", "gaussian")
    labels = [str(j) for j in range(model.n_features_in_)] if names is None else [str(name) for name in names]
    return tuple(Column(label, kind, "float64", (), whole) for label in labels)


def places_of(model: Any, wanted: Sequence[Any] | None, picture: str) -> list[int] | None:
    """Places of columns that are named, by name or place; None for None."""
    if wanted is None:
        return None
    names = [column.name for column in columns_of(model)]
    places = []
    for one in [wanted] if isinstance(wanted, str) else wanted:
        if isinstance(one, int | np.integer) and -len(names) <= one < len(names):
            places.append(int(one) % len(names))
        elif str(one) in names:
            places.append(names.index(str(one)))
        else:
            raise ValueError(f"{picture}: columns names {one!r}, which the model has not: {closest(str(one), names)}")
    return places


def take(X: Any, rows: np.ndarray) -> Any:
    """Some rows of whatever a model takes: an array, a frame, a dict of columns, a list; None of None."""
    if X is None:
        return None
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    if isinstance(X, dict):
        return {name: np.asarray(values)[rows] for name, values in X.items()}
    return X[rows] if hasattr(X, "shape") else [X[int(i)] for i in rows]


def count_of(X: Any) -> int:
    """How many rows it has."""
    return len(next(iter(X.values()))) if isinstance(X, dict) else len(X)


def spread(count: int, most: int) -> np.ndarray:
    """Places of at most so many of `count` rows, evenly apart."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(np.int64))


def some_of(X: Any, most: int, *beside: Any) -> tuple[Any, ...]:
    """At most so many rows of X, evenly apart, and the same of what is `beside` it; one value for all rows stays."""
    count = count_of(X)
    rows = spread(count, most)
    return (take(X, rows), *[take(b, rows) if _has_rows(b, count) else b for b in beside])


def _has_rows(values: Any, count: int) -> bool:
    return values is not None and np.ndim(values) > 0 and len(values) == count


def rows_of(model: Any, table: Any) -> np.ndarray:
    """A table as it comes from a user or a model, as that reads rows: (N, D) float64, NaN where a value is missing."""
    return np.asarray(model.columns_.encode(table) if isinstance(model, TableVAE) else table, np.float64)


def checked_rows(model: Any, X: Any) -> np.ndarray:
    """Rows of a user, which the model could take, (N, D) float64."""
    return np.asarray(model.check(X), np.float64)


def given_condition(condition: Any) -> dict[str, Any]:
    """What a method is given of a condition: nothing where there is none, as not all methods take one."""
    return {} if condition is None else {"condition": condition}


def drawn(model: Any, count: int, condition: Any = None, noise: bool = True, random_state: Any = 0) -> Any:
    """Samples of a model, complete draws where it makes a difference and `noise` says so."""
    known = inspect.signature(model.sample).parameters
    how: dict[str, Any] = given_condition(condition)
    if "noise" in known:
        how["noise"] = noise
    return model.sample(count, random_state=random_state, **how)


def said_of_samples(model: Any, noise: bool) -> str:
    """What a model's samples are."""
    if model.ABILITIES.samples == "one pass" and hasattr(model, "encode"):
        given = "p(x|z)" if model.network_.condition is None else "p(x|z, c)"
        return f"draws from {given}" if noise else f"means of {given}"
    return "states of a Markov chain" if model.ABILITIES.samples == "chain" else "draws"


def said_of_output(model: Any) -> str:
    """What a VAE's reconstructions are, after a semicolon; nothing of another model."""
    if not isinstance(model, VAE):
        return ""
    given = "p(x|z)" if model.network_.condition is None else "p(x|z, c)"
    best = "best single value of" if isinstance(model, TableVAE) else "mean of"
    return f"; output: {best} {given} at the mean of q(z|x)"


def conditions_of(model: Any, condition: Any, picture: str) -> tuple[Any, list[str]]:
    """Some conditions of a model, (C,) or (C, K), and what they are called; None and nothing of one without.

    `condition`: those that are wanted; None for all labels, of which the first twenty are shown.
    """
    known = getattr(model.network_, "condition", None)
    if known is None:
        if condition is not None:
            raise ValueError(f"{picture}: condition was given, but the model was fitted without one: leave it out")
        return None, []
    labels = isinstance(known, Labels)
    if condition is None and not labels:
        raise ValueError(
            f"{picture}: the model has a condition, {known.described}: pass condition, some vectors such as it"
        )
    values = np.asarray(known.classes if condition is None else condition)
    if labels:
        values = values.reshape(-1)[:MOST_CONDITIONS] if condition is None else values.reshape(-1)
        return values, [str(label) for label in values.tolist()]
    values = values.reshape(1, -1) if values.ndim < 2 and len(np.atleast_1d(values)) == known.columns else values
    values = values.reshape(len(np.atleast_1d(values)), -1)
    return values, [vector_name(row) for row in values]


def vector_name(row: np.ndarray) -> str:
    """What a condition that is a vector is called."""
    return ", ".join(f"{float(value):.3g}" for value in row[:3]) + ", ..." * (len(row) > 3)
