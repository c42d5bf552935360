"""Correlations of the columns of a table, of data and of samples."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastvae.data.columns import Column
from fastvae.errors import counted
from fastvae.evaluation.drawing import figure, finished, name_ticks
from fastvae.pictures.subject import check_model, columns_of, places_of
from fastvae.pictures.tables import beside_samples, levels_of

SIDE = 3.4  # inches of a matrix, at least
LARGEST = 5.2  # and at most
NAME_INCHES = 0.22  # of a row that has a name
MOST_NAMED = 40  # rows that have one
WRITTEN = 8  # columns, at most, whose correlations are written
LEVELS = 5  # of a category that have a row each
LEAST = 0.2  # end of the scale of differences, at least


def correlations(
    model: Any,
    X: Any,
    *,
    columns: Sequence[Any] | None = None,
    condition: Any = None,
    n_samples: int | None = None,
    random_state: Any = 0,
    path: Any = None,
) -> Any:
    """Pearson correlations between columns: of data, of samples, and the difference.

    A category has a row for each of its most frequent levels, 1 where it is that level and 0 elsewhere; of rows with
    missing values each pair of columns counts those that have both.

    Parameters
    ----------
    model
        A fitted estimator that samples.
    X : (N, D)
        Data, best rows that were held out. Their correlations have an error of about 1 / sqrt(N) themselves.
    columns
        Two or more columns, by name or place; None: all.
    condition
        Of a conditional model: that of X, whose samples have the same.
    n_samples
        How many to draw; None: as many as there are rows of X, 2,000 at least; 500 of a model that samples by a Markov
        chain.
    random_state
        A seed or generator of the samples.
    path
        A PNG to write it to as well.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError
        The model cannot sample, or is none.
    ValueError
        There are fewer than two columns.
    """
    check_model(model, "correlations", "sample")
    known, places = columns_of(model), places_of(model, columns, "correlations")
    if len(known if places is None else places) < 2:
        raise ValueError("correlations: one column correlates with none: use marginals(model, X)")
    data, samples = beside_samples(model, X, condition, n_samples, random_state)
    assert data is not None
    if places is not None:
        known, data, samples = tuple(known[j] for j in places), data[:, places], samples[:, places]
    return finished(correlations_figure(known, data, samples), path)


def numbers_of(
    columns: Sequence[Column], data: np.ndarray, like: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Columns (N, K) that can be correlated, which of the given ones each belongs to (K,), and their names: a category
    has one for each of its most frequent levels, in data (N, D) or in those that it is to be `like`."""
    values, owners, names = [], [], []
    for j, column in enumerate(columns):
        own = data[:, j]
        if len(column.levels) <= 2:
            values.append(own)
            names.append(f"{column.name} = {column.levels[1]}" if len(column.levels) == 2 else column.name)
            owners.append(j)
            continue
        of = own if like is None else like[:, j]
        frequent = levels_of(column, of[~np.isnan(of)])
        counts = np.array([np.count_nonzero(of == level) for level in frequent])
        for level in np.sort(frequent[np.argsort(-counts, kind="stable")[:LEVELS]]):
            values.append(np.where(np.isnan(own), np.nan, own == level))
            names.append(f"{column.name} = {column.levels[level]}")
            owners.append(j)
    return np.column_stack(values), np.array(owners), names


def correlation(values: np.ndarray) -> np.ndarray:
    """Pearson correlations (K, K) of columns (N, K), each of the rows that have both; 0 of a column that is constant
    there, 1 on the diagonal."""
    there = np.isfinite(values)
    centre = np.where(there, values, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    x, known = np.where(there, values - centre, 0.0), there.astype(np.float64)
    count = np.maximum(known.T @ known, 1.0)
    sums, squares = x.T @ known, (x * x).T @ known  # of i, over the rows that have j
    covariance = x.T @ x / count - sums * sums.T / count**2
    variance = np.maximum(squares / count - (sums / count) ** 2, 0.0)
    scale = np.sqrt(variance * variance.T)
    tiny = 1e-12 * np.maximum(np.sqrt(np.outer(np.diag(squares), np.diag(squares))) / count, 1e-300)
    found = np.where(scale > tiny, covariance / np.where(scale > tiny, scale, 1.0), 0.0)
    np.fill_diagonal(found, 1.0)
    return np.clip(found, -1.0, 1.0)


def correlations_figure(columns: Sequence[Column], data: np.ndarray, samples: np.ndarray) -> Any:
    """A figure of the correlations of data (N, D), of samples (M, D), and their difference."""
    own, _, names = numbers_of(columns, data)
    first = correlation(own)
    second = correlation(numbers_of(columns, samples, data)[0])
    apart = second - first
    count = len(names)
    side = float(np.clip(NAME_INCHES * count, SIDE, LARGEST))
    fig = figure(3 * side + 3.2, side + 1.9)
    if any(len(column.levels) > LEVELS for column in columns):
        fig.supxlabel(f"of a category of more, the {LEVELS} most frequent levels", fontsize=8)
    off = ~np.eye(count, dtype=bool)
    typical, end = float(np.sqrt(np.square(apart[off]).mean())), max(LEAST, float(np.abs(apart).max()))
    parts = (
        (first, 1.0, f"data, {counted(len(data), 'row')}"),
        (second, 1.0, f"{len(samples):,} samples"),
        (apart, end, f"samples less data: root mean square {typical:.2f},\nlargest {np.abs(apart).max():.2f}; "
                     f"error of the data's about {1 / np.sqrt(len(data)):.2f}"),
    )  # fmt: skip
    for i, (axes, (matrix, limit, title)) in enumerate(zip(fig.subplots(1, 3), parts, strict=True)):
        image = axes.imshow(matrix, cmap="PuOr", vmin=-limit, vmax=limit)
        axes.set_title(title, fontsize=9)
        for axis in (axes.xaxis, axes.yaxis):
            if count > MOST_NAMED:
                axis.set_major_locator(_whole())
            elif axis is axes.xaxis or i == 0:
                name_ticks(axis, range(count), names, side / count, 8 if count <= 25 else 6.5)
            else:
                axis.set_ticks([])
        if count > MOST_NAMED:
            axes.set_xlabel("column")
        if count <= WRITTEN:
            for (row, column), value in np.ndenumerate(matrix):
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7,
                          color="white" if abs(value) > 0.7 * limit else "0.1")  # fmt: skip
        bar = fig.colorbar(image, ax=axes, fraction=0.046, pad=0.02)
        bar.ax.tick_params(labelsize=7)
        if i == 2:
            bar.set_label("difference of correlations", fontsize=8)
        elif i == 1:
            bar.set_label("Pearson correlation", fontsize=8)
    return fig


def _whole() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(6, integer=True)
