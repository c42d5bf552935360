"""Pairs of columns of a table: data and samples in one plane each."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastvae.data.columns import Column
from fastvae.errors import counted
from fastvae.evaluation.drawing import BLUE, figure, finished, name_ticks, quiet, shortened
from fastvae.pictures.correlations import correlation, numbers_of
from fastvae.pictures.subject import check_model, columns_of, places_of, spread
from fastvae.pictures.tables import LEVEL, beside_samples, edges_of, histogram, levels_of, percent

MOST_COLUMNS = 5  # of a picture
CORNER = 4  # columns from which on the corner above the diagonal has room for a legend
MOST_POINTS = 1000  # of data, and of samples, in a panel
PANEL = 1.9  # inches of one
FEW_VALUES = 12  # whole numbers that are drawn as levels
CELLS, FEWEST = 48, 40  # a side of a density, and points of one
MASSES = 0.9, 0.5  # shares of the points within the contours
REACH = 0.005  # of the points on either side that lie out of sight
DATA, DARK = "0.6", "0.15"


def pairs(
    model: Any,
    X: Any,
    *,
    columns: Sequence[Any] | None = None,
    condition: Any = None,
    n_samples: int | None = None,
    random_state: Any = 0,
    path: Any = None,
) -> Any:
    """Each pair of some columns: data as points, data and samples as contours that hold 50% and 90% of them; on the
    diagonal the distribution of each column. A column of categories, or of few whole numbers, has the points of data
    and of samples side by side instead.

    Parameters
    ----------
    model
        A fitted estimator that samples.
    X : (N, D)
        Data, best rows that were held out.
    columns
        Two or more columns, by name or place; None: the five whose correlations in X are the largest.
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
    check_model(model, "pairs", "sample")
    known, places = columns_of(model), places_of(model, columns, "pairs")
    if len(known if places is None else places) < 2:
        raise ValueError("pairs: one column has no pair: use marginals(model, X)")
    data, samples = beside_samples(model, X, condition, n_samples, random_state)
    assert data is not None
    return finished(pairs_figure(known, data, samples, places), path)


def most_correlated(columns: Sequence[Column], data: np.ndarray, most: int = MOST_COLUMNS) -> list[int]:
    """Places of at most so many columns, in order: those of the pairs whose correlations in data (N, D) are the
    largest."""
    if len(columns) <= most:
        return list(range(len(columns)))
    values, owners, _ = numbers_of(columns, data)
    found = np.abs(correlation(values))
    found[owners[:, None] >= owners[None, :]] = 0.0
    chosen: list[int] = []
    for place in np.argsort(-found, axis=None, kind="stable"):
        for j in (owners[i] for i in np.unravel_index(place, found.shape)):
            if int(j) not in chosen and len(chosen) < most:
                chosen.append(int(j))
        if len(chosen) == most:
            break
    return sorted(chosen)


def pairs_figure(
    columns: Sequence[Column], data: np.ndarray, samples: np.ndarray, places: Sequence[int] | None = None
) -> Any:
    """A figure of data (N, D) and samples (M, D): the columns at these places, or those that correlate the most."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    chosen = most_correlated(columns, data) if places is None else list(places)
    own, count = [_axis(columns[j], data[:, j], samples[:, j]) for j in chosen], len(chosen)
    fig = figure(PANEL * count + 0.7, PANEL * count + 0.9)
    grid = fig.subplots(count, count, squeeze=False)
    for row in range(count):
        for column in range(count):
            axes = grid[row, column]
            axes.tick_params(labelsize=7, labelbottom=row == count - 1, labelleft=column == 0 and row > 0)
            if column > row:
                axes.set_axis_off()
            elif column == row:
                _diagonal(axes, own[row], data[:, chosen[row]], samples[:, chosen[row]])
            else:
                _plane(axes, own[column], own[row], data[:, [chosen[column], chosen[row]]],
                       samples[:, [chosen[column], chosen[row]]])  # fmt: skip
                own[row].set(axes.yaxis, axes, column == 0)
            if column <= row:
                own[column].set(axes.xaxis, axes, row == count - 1)
                quiet(axes)
        grid[row, 0].set_ylabel(own[row].name if row else "share of the rows", fontsize=8)
        grid[count - 1, row].set_xlabel(own[row].name, fontsize=8)
    rows = f"data, {counted(len(data), 'row')}"
    made = f"{len(samples):,} samples"
    stepped = sum(_is_stepped(axis, data[:, j][np.isfinite(data[:, j])]) for axis, j in zip(own, chosen, strict=True))
    handles: list[Any] = [Line2D([], [], linestyle="none", marker="o", markersize=4, color=DATA, label=rows)]
    if count - stepped > 1:  # some pair with contours
        if len(data) >= FEWEST:
            handles.append(Line2D([], [], color=DARK, linestyle="--", label="data: 50% and 90% within"))
        handles.append(Line2D([], [], color=BLUE, label=f"{made}: 50% and 90% within"))
    if stepped:
        handles.append(Line2D([], [], linestyle="none", marker="o", markersize=4, color=BLUE, label=made))
    if len(chosen) < len(columns):
        more = "" if places is not None else " that correlate the most"
        handles.append(Patch(color="none", label=f"{count} of {len(columns)} columns{more}"))
    corner = count >= CORNER
    where = "upper right" if corner else "outside upper left"
    fig.legend(handles=handles, loc=where, frameon=False, fontsize=8, ncols=1)
    return fig


class _Axis:
    """How a column is drawn along an axis."""

    def __init__(self, column: Column, low: float, high: float, levels: Sequence[str], edges: Sequence[float]) -> None:
        self.column, self.low, self.high, self.levels, self.edges = column, low, high, levels, edges
        self.name = shortened(column.name, PANEL - 0.2, 8)

    def set(self, axis: Any, axes: Any, named: bool) -> None:
        """Set its ends and ticks; `named` where they are read."""
        from matplotlib.ticker import MaxNLocator

        below = axis.axis_name == "x"
        (axes.set_xlim if below else axes.set_ylim)(self.low, self.high)
        if self.levels:
            names = self.levels if named else [""] * len(self.levels)
            name_ticks(axis, range(len(names)), names, (PANEL - 0.3) / len(names), 7, LEVEL - 0.2)
        else:
            axis.set_major_locator(MaxNLocator(3, integer=self.column.whole))


def _axis(column: Column, data: np.ndarray, samples: np.ndarray) -> _Axis:
    both = [values[np.isfinite(values)] for values in (data, samples)]
    if column.levels:
        names = [str(level) for level in column.levels]
        shown = levels_of(column, both[0])
        names = [names[i] if i in shown else "" for i in range(len(names))]
        edges = np.arange(len(names) + 1) - 0.5
        return _Axis(column, -0.6, len(names) - 0.4, names, edges.tolist())
    some = np.concatenate(both)
    if not len(some):
        some = np.zeros(1)
    ends = [np.quantile(values, (REACH, 1 - REACH)) for values in both if len(values)] or [np.array([0.0, 1.0])]
    low, high = float(min(e[0] for e in ends)), float(max(e[1] for e in ends))
    room = 0.08 * (high - low) or 0.5
    return _Axis(column, low - room, high + room, (), edges_of(column, both[0], both[1]))


def _is_stepped(axis: _Axis, values: np.ndarray) -> bool:
    if axis.column.levels:
        return True
    return axis.high - axis.low <= FEW_VALUES + 1 and len(values) > 0 and bool((values == np.floor(values)).all())


def _diagonal(axes: Any, axis: _Axis, data: np.ndarray, samples: np.ndarray) -> None:
    from matplotlib.ticker import MaxNLocator

    data, samples = data[np.isfinite(data)], samples[np.isfinite(samples)]
    histogram(axes, data, axis.edges, color=DATA)
    histogram(axes, samples, axis.edges, histtype="step", color=BLUE, linewidth=1.4)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_formatter(percent)
    axes.tick_params(labelleft=True)


def _plane(axes: Any, across: _Axis, up: _Axis, data: np.ndarray, samples: np.ndarray) -> None:
    """Data (N, 2) and samples (M, 2)."""
    data, samples = data[np.isfinite(data).all(axis=1)], samples[np.isfinite(samples).all(axis=1)]
    stepped = _is_stepped(across, data[:, 0]), _is_stepped(up, data[:, 1])
    style: dict[str, Any] = {"s": float(np.clip(800 / max(len(data), 1), 5, 20)), "linewidths": 0, "alpha": 0.5}
    if any(stepped):
        rng = np.random.default_rng(0)
        for values, colour, side in ((data, DATA, -1), (samples, BLUE, 1)):
            few = values[spread(len(values), min(MOST_POINTS, max(len(data), 1)))].copy()
            for i, steps in enumerate(stepped):
                if steps:
                    aside = side * 0.2 if i == (0 if stepped[0] else 1) else 0.0
                    few[:, i] += aside + rng.uniform(-0.15, 0.15, len(few))
            axes.scatter(*few.T, color=colour, **style)
        return
    axes.scatter(*data[spread(len(data), MOST_POINTS)].T, color=DATA, **style)
    for values, colour, line in ((data, DARK, "--"), (samples, BLUE, "-")):
        found = density(values, (across.low, across.high), (up.low, up.high))
        if found is not None:
            x, y, heights, levels = found
            if 0 < levels[0] < levels[1] < heights.max():
                axes.contour(x, y, heights, levels=levels, colors=colour, linestyles=line, linewidths=1.1)


def density(
    points: np.ndarray, x_ends: tuple[float, float], y_ends: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[float]] | None:
    """Middles of cells (C,), (C,), and the smoothed share of points (N, 2) in each, (C, C), y first, by a Gaussian
    kernel of Scott's width; and the heights above which lie 90% and 50% of the points. None of too few points."""
    if len(points) < FEWEST:
        return None
    counts, x, y = np.histogram2d(points[:, 0], points[:, 1], CELLS, (x_ends, y_ends))
    for axis, (low, high) in enumerate((x_ends, y_ends)):
        spread_in_cells = float(np.clip(points[:, axis], low, high).std()) / (high - low) * CELLS
        width = float(np.clip(spread_in_cells * len(points) ** (-1 / 6), 0.7, CELLS / 8))
        reach = np.arange(-int(3 * width) - 1, int(3 * width) + 2)
        kernel = np.exp(-0.5 * (reach / width) ** 2)
        counts = np.apply_along_axis(np.convolve, axis, counts, kernel / kernel.sum(), mode="same")
    places = [
        np.floor((points[:, axis] - low) / (high - low) * CELLS).astype(int)
        for axis, (low, high) in enumerate((x_ends, y_ends))
    ]
    seen = np.all([(place >= 0) & (place < CELLS) for place in places], axis=0)
    at = np.zeros(len(points))
    at[seen] = counts[places[0][seen], places[1][seen]]
    levels = [float(level) for level in np.quantile(at, [1 - mass for mass in MASSES])]
    return (x[1:] + x[:-1]) / 2, (y[1:] + y[:-1]) / 2, counts.T, levels
