"""Pictures of a table, a panel for each column: what a model draws beside data, and what it makes of rows."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastvae.data.columns import Column
from fastvae.errors import counted
from fastvae.evaluation.drawing import BLUE, COLOURS, figure, finished, name_ticks, quiet, shortened
from fastvae.models.table_vae import TableVAE
from fastvae.pictures.subject import (
    check_model,
    checked_rows,
    columns_of,
    count_of,
    drawn,
    given_condition,
    places_of,
    rows_of,
    said_of_samples,
    some_of,
)

MOST_COLUMNS = 24  # with a panel each
ACROSS = 4  # panels side by side
PANEL = 3.1, 2.3  # inches of one
MOST_LEVELS = 10  # of a category that are shown, the most frequent ones; then all others as one
NAMED = 5  # levels, at most, whose shares are written into a panel
LEVEL, TITLE = 1.1, 2.6  # inches of a level's name, and of a column's
FEWEST_BINS, BINS = 8, 30  # of few rows, and of many
SHIFT = 0.2  # by how much points of whole numbers are moved at most
TAIL = 0.005  # share of the samples at either end that widens no panel
MOST, LONG = 0.025, 2.5  # share at either end that lies further out, where that makes an axis so many times as long
MOST_ROWS = 5000  # of data that are shown
FEWEST_DRAWN, FEWEST_OF_CHAINS = 2000, 500  # samples whose distributions are shown; where each is a chain of its own
DATA, DRAWN = "0.72", BLUE
STYLES = "-", "--", ":"

Group = tuple[str, np.ndarray, Any]  # what it is, rows (N, D), colour


def marginals(
    model: Any,
    X: Any = None,
    *,
    columns: Sequence[Any] | None = None,
    condition: Any = None,
    n_samples: int | None = None,
    random_state: Any = 0,
    path: Any = None,
) -> Any:
    """The distribution of each column of samples, beside that of data.

    Shares of the values that are there: histograms of what is counted or measured, bars of what is chosen.

    Parameters
    ----------
    model
        A fitted estimator that samples.
    X : (N, D), optional
        Data beside the samples, best rows that were held out; 5,000 of them at most are shown.
    columns
        Names or places of the columns that are shown; None: the first 24.
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
    """
    check_model(model, "marginals", "sample")
    data, samples = beside_samples(model, X, condition, n_samples, random_state)
    known, places = columns_of(model), places_of(model, columns, "marginals")
    if places is not None:
        known, samples = tuple(known[j] for j in places), samples[:, places]
        data = None if data is None else data[:, places]
    return finished(marginals_figure(known, data, samples, said_of_samples(model, True)), path)


def is_table(model: Any) -> bool:
    """Whether rows are those of a table of few enough columns for a panel each, or a mixed one, and no images."""
    if isinstance(model, TableVAE):
        return True
    return not model.metadata_.get("image_shape") and bool(model.n_features_in_ <= MOST_COLUMNS)


def beside_samples(
    model: Any, X: Any, condition: Any, n_samples: int | None, random_state: Any
) -> tuple[np.ndarray | None, np.ndarray]:
    """Rows of X, some of them where there are many, and complete draws from a model, under the same conditions: both as
    the model reads rows, (N, D) and (M, D)."""
    if X is None:
        count = n_samples or (FEWEST_DRAWN if np.ndim(condition) == 0 else count_of(condition))
        return None, rows_of(model, drawn(model, count, condition, random_state=random_state))
    X, condition = some_of(X, MOST_ROWS, condition)
    data = checked_rows(model, X)
    chained = model.ABILITIES.samples == "chain"
    count, beside = n_samples or (FEWEST_OF_CHAINS if chained else max(len(data), FEWEST_DRAWN)), condition
    if np.ndim(condition) > 0 and count_of(condition) == len(data):
        beside = np.asarray(condition)[np.arange(count) % len(data)]  # each as often, about
    return data, rows_of(model, drawn(model, count, beside, random_state=random_state))


def marginals_figure(
    columns: Sequence[Column], data: np.ndarray | None, samples: np.ndarray | Sequence[Group], what: str = "samples"
) -> Any:
    """The distribution of each column of data (N, D) beside that of samples (M, D), or of several groups of them, of
    all of which `what` is said."""
    several = not isinstance(samples, np.ndarray)
    groups = [(f"{len(samples):,} {what}", samples, DRAWN)] if isinstance(samples, np.ndarray) else list(samples)

    def panel(axes: Any, j: int, column: Column) -> None:
        known = np.empty(0) if data is None else _there(data[:, j])
        own = [(_there(rows[:, j]), colour) for _, rows, colour in groups]
        (_bars if column.levels else _histograms)(axes, column, known, own)

    gaps = None if data is None else np.isnan(data).mean(axis=0)
    fig = panels(columns, panel, gaps)
    marks = [] if data is None else [(DATA, counted(len(data), "row") + " of the data")]
    title = what if several and what != "samples" else ""
    _legend(fig, [*marks, *[(colour, name) for name, _, colour in groups]], len(columns), title)
    fig.supylabel("share of the rows", fontsize=9)
    return fig


def reconstructed_columns(columns: Sequence[Column], X: np.ndarray, output: np.ndarray, title: str = "") -> Any:
    """Each column of rows X (N, D) against what a model makes of them: points of what is counted or measured, a table
    of shares, those of a row 1 in all, of what is chosen."""

    def panel(axes: Any, j: int, column: Column) -> None:
        there = ~np.isnan(X[:, j])
        (_confusion if column.levels else _points)(axes, column, X[there, j], output[there, j])

    fig = panels(columns, panel)
    _legend(fig, [("none", title)] if title else [], len(columns))
    return fig


def reconstruct_rows(model: Any, X: Any, condition: Any) -> tuple[np.ndarray, np.ndarray]:
    """Rows of X as the model reads them, and what it makes of them, (N, D) both."""
    return checked_rows(model, X), rows_of(model, model.reconstruct(X, **given_condition(condition)))


# ---- panels ------------------------------------------------------------------------------------------------------


def panels(columns: Sequence[Column], panel: Callable[[Any, int, Column], None], gaps: np.ndarray | None = None) -> Any:
    """A figure with a panel for each column, the first ones, `gaps` the shares of them that are missing."""
    shown = columns[:MOST_COLUMNS]
    across = min(ACROSS, len(shown))
    down = -(-len(shown) // across)
    fig = figure(PANEL[0] * across + 0.5, PANEL[1] * down + 0.5)
    grid = fig.subplots(down, across, squeeze=False).ravel()
    for j, (axes, column) in enumerate(zip(grid, shown, strict=False)):
        axes.tick_params(labelsize=8)
        panel(axes, j, column)
        missing = f" ({gaps[j]:.0%} missing)" if gaps is not None and gaps[j] >= 0.005 else ""
        axes.set_title(shortened(column.name, TITLE - 0.085 * len(missing), 9) + missing, fontsize=9)
    for axes in grid[len(shown) :]:
        axes.set_axis_off()
    return fig


def _legend(fig: Any, marks: Sequence[tuple[Any, str]], columns: int, title: str = "") -> None:
    from matplotlib.patches import Patch

    if columns > MOST_COLUMNS:
        marks = [*marks, ("none", f"the first {MOST_COLUMNS} of {columns} columns")]
    handles = [Patch(color=colour, label=label) for colour, label in marks]
    if handles:
        across = max(1, min(len(handles), int(fig.get_figwidth() // 2.6)))
        fig.legend(handles=handles, loc="outside upper center", ncols=across, frameon=False, fontsize=9,
                   title=title or None, title_fontsize=9)  # fmt: skip


def _there(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return values[~np.isnan(values)]


def percent(share: float, _: float) -> str:
    """A share as the label of a tick."""
    return f"{100 * share:.3g}%"


def edges_of(column: Column, data: np.ndarray, *samples: np.ndarray) -> list[float]:
    """Ends of the bins of a histogram of data and of samples, whose tails widen it no further."""
    ends = [np.quantile(values, [TAIL, 1 - TAIL]) for values in samples if len(values)]
    ends += [np.array([data.min(), data.max()])] if len(data) else []
    low, high = (min(e[0] for e in ends), max(e[1] for e in ends)) if ends else (0.0, 1.0)
    high = high if high > low else low + 1
    fewest = min((len(values) for values in (data, *samples) if len(values)), default=0)
    bins = int(np.clip(3 * np.sqrt(fewest), FEWEST_BINS, BINS))
    if column.whole:  # as many whole numbers in each bin, so that none is higher for having one more
        width = int((high - low) // (BINS if high - low < BINS else bins)) + 1
        return [float(edge) for edge in np.arange(np.floor(low), np.ceil(high) + 1 + width, width) - 0.5]
    return [float(edge) for edge in np.linspace(low, high, bins + 1)]


def histogram(axes: Any, values: np.ndarray, edges: Sequence[float], **style: Any) -> None:
    """Shares of the values in each bin."""
    if len(values):
        axes.hist(values, edges, weights=np.full(len(values), 1 / len(values)), **style)


def _ends_of_most(column: Column, values: np.ndarray) -> tuple[float, float] | None:
    """Ends of an axis on which most of the values are seen, with room on either side; None where they are one value."""
    low, high = (float(v) for v in np.quantile(values, [MOST, 1 - MOST])) if len(values) else (0.0, 0.0)
    if not high > low:
        return None
    ends = max(float(values.min()), low - (high - low) / 2), min(float(values.max()), high + (high - low) / 2)
    return (float(np.floor(ends[0])), float(np.ceil(ends[1]))) if column.whole else ends


def _histograms(axes: Any, column: Column, data: np.ndarray, samples: Sequence[tuple[np.ndarray, Any]]) -> None:
    from matplotlib.ticker import MaxNLocator

    edges = edges_of(column, data, *[values for values, _ in samples])
    ends = _ends_of_most(column, data if len(data) else np.concatenate([values for values, _ in samples]))
    if ends is not None and edges[-1] - edges[0] > LONG * (ends[1] - ends[0]):
        beyond = [np.mean((values < ends[0]) | (values > ends[1])) for values in (data, *[v for v, _ in samples])
                  if len(values)]  # fmt: skip
        data, samples = np.clip(data, *ends), [(np.clip(values, *ends), colour) for values, colour in samples]
        edges = edges_of(column, data, *[values for values, _ in samples])
        said = " and ".join(dict.fromkeys(f"{100 * share:.2g}%" for share in beyond))
        axes.set_xlabel(f"{said} further out, in the bars at the ends", fontsize=7)
    histogram(axes, data, edges, color=DATA)
    for i, (values, colour) in enumerate(samples):
        style = {"linestyle": STYLES[i // len(COLOURS) % 3], "linewidth": 1.5}
        histogram(axes, values, edges, histtype="step", color=colour, **style)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_formatter(percent)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=column.whole))
    quiet(axes)


def levels_of(column: Column, *some: np.ndarray) -> np.ndarray:
    """The levels that are shown, the most frequent ones of these values, in their order."""
    counts = sum(np.bincount(values.astype(int), minlength=len(column.levels)) for values in some)
    return np.sort(np.argsort(-np.asarray(counts), kind="stable")[:MOST_LEVELS])


def _names_of(column: Column, shown: np.ndarray) -> list[str]:
    """Of the levels that are shown, and of all others as one."""
    names, others = [str(column.levels[i]) for i in shown], len(column.levels) - len(shown)
    return names + ([counted(others, "other")] if others else [])


def _bars(axes: Any, column: Column, data: np.ndarray, samples: Sequence[tuple[np.ndarray, Any]]) -> None:
    from matplotlib.ticker import MaxNLocator

    shown = levels_of(column, *([data] if len(data) else [values for values, _ in samples]))
    names, others = _names_of(column, shown), len(column.levels) > len(shown)
    places = np.arange(len(names))[::-1]  # the first above
    groups = [*([(data, DATA)] if len(data) else []), *samples]
    for i, (values, colour) in enumerate(groups):
        if not len(values):
            continue
        shares = np.bincount(values.astype(int), minlength=len(column.levels)) / len(values)
        lengths = np.append(shares[shown], 1 - shares[shown].sum()) if others else shares[shown]
        height = 0.8 / len(groups)
        axes.barh(places + (0.4 - height / 2) - i * height, lengths, height, color=colour)
    name_ticks(axes.yaxis, places, names, (PANEL[1] - 0.7) / len(names), 8, LEVEL)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_formatter(percent)
    quiet(axes)
    axes.grid(False, axis="y")


def _points(axes: Any, column: Column, x: np.ndarray, output: np.ndarray) -> None:
    from matplotlib.ticker import MaxNLocator

    if len(x):
        low, high = float(min(x.min(), output.min())), float(max(x.max(), output.max()))
        axes.plot([low, high], [low, high], color="0.6", linewidth=1)
        size = float(np.clip(60 / np.sqrt(len(x)), 3, 7))
        axes.plot(
            _spread_out(column, x, 0), _spread_out(column, output, 1), ".", color=DRAWN, markersize=size, alpha=0.5
        )
    axes.set_xlabel("input", fontsize=8)
    axes.set_ylabel("output", fontsize=8)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4, integer=column.whole))
    quiet(axes)


def _spread_out(column: Column, values: np.ndarray, seed: int) -> np.ndarray:
    """Values that are few whole numbers a little apart, so that a point that many rows share is seen to be many."""
    if not column.whole or np.ptp(values) >= BINS or (values != np.rint(values)).any():
        return values
    return values + np.random.default_rng(seed).uniform(-SHIFT, SHIFT, len(values))


def _confusion(axes: Any, column: Column, x: np.ndarray, output: np.ndarray) -> None:
    shown = levels_of(column, x) if len(x) else levels_of(column, output)
    names = _names_of(column, shown)
    place = np.full(len(column.levels), len(names) - 1)  # of those that are not shown
    place[shown] = np.arange(len(shown))
    counts = np.zeros((len(names), len(names)))
    np.add.at(counts, (place[x.astype(int)], place[output.astype(int)]), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    if len(names) <= NAMED:
        for (row, level), share in np.ndenumerate(shares):
            axes.text(level, row, f"{share:.0%}", ha="center", va="center", fontsize=8,
                      color="white" if share > 0.6 else "0.2")  # fmt: skip
    name_ticks(axes.yaxis, range(len(names)), names, (PANEL[1] - 0.9) / len(names), 8, LEVEL)
    if len(names) <= NAMED:
        name_ticks(axes.xaxis, range(len(names)), names, (PANEL[0] - 1.4) / len(names), 8, 0.7)
    else:
        axes.set_xticks([])
        axes.figure.colorbar(image, ax=axes, format=percent, ticks=(0, 0.5, 1)).ax.tick_params(labelsize=7)
    axes.set_xlabel("output" if len(names) <= NAMED else "output, in the same order", fontsize=8)
    axes.set_ylabel("input", fontsize=8)
