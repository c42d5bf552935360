"""Pictures of a model of a table, a panel for each column: what it draws, and what it makes of rows, beside data."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fastvae.data.columns import Column
from fastvae.errors import counted
from fastvae.models.table_vae import TableVAE
from fastvae.models.vae import VAE
from fastvae.picture_files import plain_name, save

MOST_COLUMNS = 24  # with a panel each
ACROSS = 4  # panels side by side
MOST_LEVELS = 10  # of a category that are shown, the most frequent ones; then all others as one
LETTERS, TITLE = 16, 38  # of a level, and above a panel
NAMED = 5  # levels, at most, whose names stand below a panel too, and whose shares are written into it
BINS = 30
TAIL = 0.005  # share of the samples at either end that widens no panel
DATA, DRAWN = "0.72", "C0"


def columns_of(model: VAE) -> tuple[Column, ...] | None:
    """The columns that have a panel each, where its rows are a table of few enough of them."""
    if isinstance(model, TableVAE):
        return model.columns_.columns
    width = model.network_.architecture.inputs
    if model.metadata_.get("image_shape") or width > MOST_COLUMNS or model.network_.condition is not None:
        return None
    names = model.metadata_.get("column_names") or [str(j) for j in range(width)]
    whole = model.network_.likelihood.WHOLE
    return tuple(Column(name, model.likelihood, "float64", (), whole) for name in names)


def draws(model: VAE, count: int, condition: Any = None) -> np.ndarray:
    """Complete draws (count, D), as the model reads rows."""
    found = model.sample(count, random_state=0, noise=True, condition=condition)
    return rows_of(model, found)


def rows_of(model: VAE, table: Any) -> np.ndarray:
    """A table as it comes from a model, as that reads rows: (N, D)."""
    return np.asarray(model.columns_.encode(table) if isinstance(model, TableVAE) else table, np.float64)


def write_marginals(
    path: pathlib.Path, columns: Sequence[Column], data: np.ndarray | None, drawn: np.ndarray, what: str = "samples"
) -> None:
    """The distribution of each column of data (N, D) beside that of rows (M, D) that a model drew: shares of the values
    that are there, in histograms of what is counted or measured, in bars of what is chosen."""

    def panel(axes: Axes, j: int, column: Column) -> None:
        known = np.empty(0) if data is None else _there(data[:, j])
        (_bars if column.levels else _histograms)(axes, column, known, _there(drawn[:, j]))

    gaps = None if data is None else np.isnan(np.asarray(data, np.float64)).mean(axis=0)
    figure = _panels(columns, panel, gaps)
    marks = [] if data is None else [(DATA, counted(len(data), "row") + " of the data")]
    _legend(figure, [*marks, (DRAWN, f"{len(drawn):,} {what}")], len(columns))
    save(path, figure)


def write_reconstructions(path: pathlib.Path, columns: Sequence[Column], X: np.ndarray, output: np.ndarray) -> None:
    """Each column of rows X (N, D) against what a model makes of them: points of what is counted or measured, a table
    of shares, those of a row 1 in all, of what is chosen."""

    def panel(axes: Axes, j: int, column: Column) -> None:
        there = ~np.isnan(X[:, j])
        (_confusion if column.levels else _points)(axes, column, X[there, j], output[there, j])

    save(path, _panels(columns, panel))


# ---- panels ------------------------------------------------------------------------------------------------------


def _panels(
    columns: Sequence[Column], panel: Callable[[Axes, int, Column], None], gaps: np.ndarray | None = None
) -> Figure:
    """A figure with a panel for each column, the first ones, `gaps` the shares of them that are missing."""
    shown = columns[:MOST_COLUMNS]
    across = min(ACROSS, len(shown))
    down = -(-len(shown) // across)
    figure = Figure(figsize=(3.1 * across + 0.4, 2.3 * down + 0.5), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for j, (axes, column) in enumerate(zip(grid, shown, strict=False)):
        axes.tick_params(labelsize=8)
        panel(axes, j, column)
        missing = f" ({gaps[j]:.0%} missing)" if gaps is not None and gaps[j] >= 0.005 else ""
        axes.set_title(_short(column.name, TITLE - len(missing)) + missing, fontsize=9)
    for axes in grid[len(shown) :]:
        axes.set_axis_off()
    return figure


def _legend(figure: Figure, marks: Sequence[tuple[str, str]], columns: int) -> None:
    from matplotlib.patches import Patch

    more = f"; the first {MOST_COLUMNS} of {columns} columns" if columns > MOST_COLUMNS else ""
    labels = [label for _, label in marks]
    labels[-1] += more
    handles = [Patch(color=colour, label=label) for (colour, _), label in zip(marks, labels, strict=True)]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=9)


def _there(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return values[~np.isnan(values)]


def _short(text: object, letters: int = LETTERS) -> str:
    name, end = str(text), letters // 3  # names often differ at their ends
    return plain_name(name if len(name) <= letters else f"{name[: letters - end - 3]}...{name[-end:]}")


def _percent(share: float, _: float) -> str:
    return f"{100 * share:.3g}%"


def _histograms(axes: Axes, column: Column, data: np.ndarray, drawn: np.ndarray) -> None:
    ends = [np.quantile(drawn, [TAIL, 1 - TAIL])] if len(drawn) else []
    ends += [np.array([data.min(), data.max()])] if len(data) else []
    low, high = (min(e[0] for e in ends), max(e[1] for e in ends)) if ends else (0.0, 1.0)
    high = high if high > low else low + 1
    if column.whole and high - low < BINS:
        edges = (np.arange(np.floor(low), np.ceil(high) + 2) - 0.5).tolist()
    else:
        edges = np.linspace(low, high, BINS + 1).tolist()
    for values, style in ((data, {"color": DATA}), (drawn, {"histtype": "step", "color": DRAWN, "linewidth": 1.5})):
        if len(values):
            axes.hist(values, edges, weights=np.full(len(values), 1 / len(values)), **style)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_formatter(_percent)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=column.whole))


def _levels(column: Column, *some: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The levels that are shown, the most frequent ones, in their order, and their names."""
    counts = sum(np.bincount(values.astype(int), minlength=len(column.levels)) for values in some)
    shown = np.sort(np.argsort(-np.asarray(counts), kind="stable")[:MOST_LEVELS])
    return shown, [_short(column.levels[i]) for i in shown]


def _bars(axes: Axes, column: Column, data: np.ndarray, drawn: np.ndarray) -> None:
    shown, names = _levels(column, *([data] if len(data) else [drawn]))
    others = len(column.levels) > len(shown)
    places = np.arange(len(shown) + others)[::-1]  # the first above
    groups = [(data, DATA), (drawn, DRAWN)] if len(data) else [(drawn, DRAWN)]
    for i, (values, colour) in enumerate(groups):
        if not len(values):
            continue
        shares = np.bincount(values.astype(int), minlength=len(column.levels)) / len(values)
        heights = np.append(shares[shown], 1 - shares[shown].sum()) if others else shares[shown]
        height = 0.8 / len(groups)
        axes.barh(places + (0.4 - height / 2) - i * height, heights, height, color=colour)
    axes.set_yticks(places, [*names, *([f"{len(column.levels) - len(shown)} others"] if others else [])])
    axes.set_ylim(-0.6, len(places) - 0.4)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(_percent)


def _points(axes: Axes, column: Column, x: np.ndarray, output: np.ndarray) -> None:
    if len(x):
        low, high = float(min(x.min(), output.min())), float(max(x.max(), output.max()))
        axes.plot([low, high], [low, high], color="0.8", linewidth=1)
        axes.plot(x, output, ".", color=DRAWN, markersize=3, alpha=0.5)
    axes.set_xlabel("input", fontsize=8)
    axes.set_ylabel("output", fontsize=8)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4, integer=column.whole))


def _confusion(axes: Axes, column: Column, x: np.ndarray, output: np.ndarray) -> None:
    shown, names = _levels(column, x) if len(x) else _levels(column, output)
    place = np.full(len(column.levels), -1)
    place[shown] = np.arange(len(shown))
    counts = np.zeros((len(shown), len(shown)))
    i, j = place[x.astype(int)], place[output.astype(int)]
    both = (i >= 0) & (j >= 0)
    np.add.at(counts, (i[both], j[both]), 1)
    totals = np.bincount(i[i >= 0], minlength=len(shown))[:, None]
    shares = counts / np.maximum(totals, 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    if len(shown) <= NAMED:
        for (row, level), share in np.ndenumerate(shares):
            axes.text(level, row, f"{share:.0%}", ha="center", va="center", fontsize=8,
                      color="white" if share > 0.6 else "0.2")  # fmt: skip
    axes.set_yticks(range(len(shown)), names)
    if len(shown) <= NAMED:
        slanted = len(shown) > 3 or max(map(len, names), default=0) > 6
        axes.set_xticks(range(len(shown)), names, rotation=30 if slanted else 0, ha="right" if slanted else "center")
    else:
        axes.set_xticks([])
    axes.set_xlabel("output" if len(shown) <= NAMED else "output, in the same order", fontsize=8)
    axes.set_ylabel("input", fontsize=8)
