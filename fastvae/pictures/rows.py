"""What a model makes: samples, and rows that it gives back, as images, as distributions, or as curves over columns."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastvae.data.condition import Labels
from fastvae.errors import counted
from fastvae.evaluation.drawing import (
    BLUE,
    COLOURS,
    ORANGE,
    figure,
    finished,
    limits_of,
    name_ticks,
    quiet,
    shortened,
)
from fastvae.models.table_vae import TableVAE
from fastvae.pictures.images import grid_of_images
from fastvae.pictures.subject import (
    VECTORS,
    check_model,
    checked_rows,
    columns_of,
    conditions_of,
    count_of,
    drawn,
    is_ink,
    rows_of,
    said_of_output,
    said_of_samples,
    shape_of_images,
    some_of,
    spread,
    take,
)
from fastvae.pictures.tables import (
    FEWEST_DRAWN,
    MOST_COLUMNS,
    MOST_ROWS,
    beside_samples,
    is_table,
    marginals_figure,
    reconstruct_rows,
    reconstructed_columns,
)

GRID = 8  # images a side
LINES = 8  # rows of many columns that are drawn as lines
BAND = 5.0, 95.0  # percentiles of the rows, between which a band is drawn
RECONSTRUCTED = 10  # images
OF_LABEL = 2  # images of the data of each label, left of its samples
OF_DATA = 2  # rows of a grid with images of the data, above the samples


def samples(
    model: Any,
    n: int | None = None,
    *,
    X: Any = None,
    condition: Any = None,
    noise: bool | None = None,
    random_state: Any = 0,
    image_shape: Sequence[int] | None = None,
    path: Any = None,
) -> Any:
    """What a model draws, beside data where there are some.

    Images in a grid, those of the data above; of a table the distribution of each column (`marginals`); of rows of
    many columns, such as spectra, some as lines, with the median and the band that holds 90% of each column. Of a
    conditional model a row of images, or a colour, for each condition, with the same z in all.

    Parameters
    ----------
    model
        A fitted estimator that samples.
    n
        How many are drawn; None: 64 images, 8 of each condition; 2,000 rows of a table.
    X : (N, D), optional
        Data of the same kind.
    condition
        Of a conditional model: conditions of which each has samples; None: all labels, twenty at most. With X: that of
        the rows of X; samples of a table have the same, and images of each label stand beside its samples.
    noise
        True: complete draws; False: means of p(x|z). None: means of images, which are easier to look at, else draws.
    random_state
        A seed or generator.
    image_shape
        (height, width), or (height, width, 3), of rows that are images; None: as the model knows, or no images.
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
        Of a model whose condition are numbers: no condition was given.
    """
    check_model(model, "samples", "sample")
    shape = shape_of_images(model, image_shape)
    if X is not None and not shape:
        data, found = beside_samples(model, X, condition, n, random_state)
        return finished(_table(model, found, data, said_of_samples(model, True)), path)
    by_label = X is not None and np.ndim(condition) > 0 and len(condition) == count_of(X)
    conditions, names = conditions_of(model, None if by_label else condition, "samples")
    noise = (not shape) if noise is None else noise
    if shape and by_label:
        fig = _beside_labels(model, X, np.asarray(condition), conditions, names, n or GRID, noise, random_state, shape)
        return finished(fig, path)
    if conditions is None:
        count = n or (GRID * GRID if shape else FEWEST_DRAWN)
        found = rows_of(model, drawn(model, count, None, noise, random_state))
    else:
        each = n or (GRID if shape else FEWEST_DRAWN // 4)
        several = [rows_of(model, drawn(model, each, one, noise, random_state)) for one in conditions]
        found = np.concatenate(several)
    return finished(drawing_of_samples(model, found, said_of_samples(model, noise), names, X, shape), path)


def drawing_of_samples(
    model: Any, found: np.ndarray, what: str, names: Sequence[str] = (), X: Any = None, shape: Any = None
) -> Any:
    """A figure of samples (n, D) that are there, as the model reads rows, with several conditions by their `names`, of
    which each has as many; and of rows of X."""
    if not shape:
        return _table(model, found, None if X is None else checked_rows(model, some_of(X, MOST_ROWS)[0]), what, names)
    each = len(found) // max(1, len(names))
    columns = min(GRID, len(found)) if len(found) <= GRID * GRID else int(np.ceil(len(found) ** 0.5))
    columns, rows = (each, list(names)) if len(names) > 1 else (columns, [])
    images, title = found.reshape(-1, *shape), f"{counted(len(found), 'sample')}: {what}"
    if X is None:
        return grid_of_images(images, columns, is_ink(model, found), None, rows, title=title)
    data = checked_rows(model, some_of(X, (1 if names else OF_DATA) * columns)[0])
    real = data.reshape(-1, *shape)
    empty = np.full((-len(real) % columns, *shape), np.nan)
    above = -(-len(real) // columns)
    rows = ["data"] + [""] * (above - 1) + (rows or ["samples"] + [""] * (-(-len(images) // columns) - 1))
    both = np.concatenate([real, empty, images])
    return grid_of_images(both, columns, is_ink(model, data), limits_of(real), rows, title=title, above=above)


def _beside_labels(
    model: Any, X: Any, labels: np.ndarray, conditions: np.ndarray, names: Sequence[str], each: int, noise: bool,
    seed: Any, shape: tuple[int, ...],
) -> Any:  # fmt: skip
    """A row for each label: images of the data, then samples, of which each column has one z."""
    rows, real = [], []
    for label in conditions:
        own = np.flatnonzero(labels.reshape(-1) == label)
        own = own[spread(len(own), OF_LABEL)] if len(own) else own
        data = checked_rows(model, take(X, own)) if len(own) else np.empty((0, model.n_features_in_))
        real.append(data)
        empty = np.full((OF_LABEL - len(data), model.n_features_in_), np.nan)
        rows += [data, empty, rows_of(model, drawn(model, each, label, noise, seed))]
    known = np.concatenate(real)
    known = known if len(known) else np.concatenate(rows)
    below = ["data", *[""] * (OF_LABEL - 1), "samples", *[""] * (each - 1)]
    title = f"{counted(each, 'sample')} of each label: {said_of_samples(model, noise)}"
    return grid_of_images(
        np.concatenate(rows).reshape(-1, *shape), OF_LABEL + each, is_ink(model, known), limits_of(known), names, below,
        title, left=OF_LABEL,
    )  # fmt: skip


def reconstructions(
    model: Any,
    X: Any,
    *,
    condition: Any = None,
    n: int | None = None,
    image_shape: Sequence[int] | None = None,
    path: Any = None,
) -> Any:
    """Rows, and what a model makes of their codes.

    Images in two rows, with common limits of black and white; of a table each column's inputs against its outputs, or,
    of what is chosen, the shares that each input becomes; of many columns two lines a panel.

    Parameters
    ----------
    model
        A fitted estimator with codes.
    X : (N, D)
        Rows, best ones that were held out.
    condition
        Of a conditional model: as `fit` has it, that of X.
    n
        How many are shown, evenly apart; None: 10 images, 6 rows of many columns, 5,000 rows of a table.
    image_shape
        As `samples` has it.
    path
        A PNG to write it to as well.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError
        The model has no codes, or is none.
    """
    return finished(reconstructions_figure(model, X, condition, n, image_shape), path)


def reconstructions_figure(
    model: Any, X: Any, condition: Any = None, n: int | None = None, image_shape: Any = None, which: str = "row"
) -> Any:
    """As `reconstructions` has it; `which` is what a row of X is called."""
    check_model(model, "reconstructions", "reconstruct")
    shape = shape_of_images(model, image_shape)
    columns = columns_of(model)
    wide = len(columns) > MOST_COLUMNS and not isinstance(model, TableVAE)
    count = n or (RECONSTRUCTED if shape else 6 if wide else MOST_ROWS)
    X, condition = some_of(X, count, condition)
    rows, output = reconstruct_rows(model, X, condition)
    title = f"{counted(len(rows), which)}{said_of_output(model)}"
    if shape:
        both = np.concatenate([rows, output]).reshape(-1, *shape)
        return grid_of_images(both, len(rows), is_ink(model, rows), limits_of(both), ["input", "output"], title=title)
    if not wide:
        return reconstructed_columns(columns, rows, output, title)
    fig = figure(9, 1.5 * len(rows) + 0.6)
    grid = fig.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    for axes, row, made in zip(grid, rows, output, strict=True):
        axes.plot(scaled(model, row), color="0.2", linewidth=1, label="input")
        axes.plot(scaled(model, made), color=ORANGE, linewidth=1, label="output")
        quiet(axes)
    name_columns(grid[-1], columns, 8.0)
    grid[0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=9)
    fig.suptitle(title, fontsize=10)
    fig.supylabel(units_of(model), fontsize=10)
    return fig


def some_conditions(model: Any, condition: Any) -> Any:
    """Of the conditions of rows, those that a picture shows: all labels, or some vectors."""
    if condition is None or isinstance(model.network_.condition, Labels):
        return None
    return some_of(np.asarray(condition).reshape(count_of(condition), -1), VECTORS)[0]


# ---- rows of a table ---------------------------------------------------------------------------------------------


def _table(
    model: Any, found: np.ndarray, data: np.ndarray | None, what: str = "samples", names: Sequence[str] = ()
) -> Any:
    """Distributions of few columns, curves over many."""
    columns, several = columns_of(model), max(1, len(names))
    each = len(found) // several
    groups = [found[i * each : (i + 1) * each] for i in range(several)]
    if is_table(model):
        if several == 1:
            return marginals_figure(columns, data, found, what)
        coloured = [
            (shortened(name, 2.0, 9), rows, COLOURS[i % len(COLOURS)])
            for i, (name, rows) in enumerate(zip(names, groups, strict=True))
        ]
        return marginals_figure(columns, data, coloured, f"{each:,} {what} each")
    rows = [] if data is None else [(f"{len(data):,} rows of the data", data, "0.25")]
    labels = [f"{shortened(name, 2.0, 9)}: {each:,} {what}" for name in names] or [f"{len(found):,} {what}"]
    rows += [(label, group, BLUE) for label, group in zip(labels, groups, strict=True)]
    return _curves(model, columns, rows)


def _curves(model: Any, columns: Sequence[Any], groups: Sequence[tuple[str, np.ndarray, Any]]) -> Any:
    """Rows of many columns: a panel for each group, with some rows, the median, and a band."""
    fig = figure(9, 2.3 * len(groups) + 0.4)
    grid = fig.subplots(len(groups), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, (name, rows, colour) in zip(grid, groups, strict=True):
        own = scaled(model, rows)
        low, middle, high = np.percentile(own, (BAND[0], 50, BAND[1]), axis=0)
        places = np.arange(len(columns))
        axes.fill_between(places, low, high, color=colour, alpha=0.2, linewidth=0, label="90% of the rows")
        axes.plot(places, middle, color=colour, linewidth=1.8, label="median")
        axes.plot(places, some_of(own, LINES)[0].T, color=colour, linewidth=0.6, alpha=0.6)
        axes.set_title(name, fontsize=10)
        quiet(axes)
    grid[0].legend(loc="upper right", ncols=2, frameon=False, fontsize=8)
    name_columns(grid[-1], columns, 8.0)
    fig.supylabel(units_of(model), fontsize=10)
    return fig


def scaled(model: Any, rows: np.ndarray) -> Any:
    """Rows in the user's units in those of the model, so that columns share an axis."""
    return (rows - model.offset_) / model.scale_


def units_of(model: Any) -> str:
    """What the values of rows that share an axis are."""
    scaled = bool((np.asarray(model.scale_) != 1).any() or (np.asarray(model.offset_) != 0).any())
    return "value, scaled as in the model" if scaled else "value"


def name_columns(axes: Any, columns: Sequence[Any], inches: float) -> None:
    """Say what the places of an x-axis, so many inches long, are: columns, by their names where they have some."""
    from matplotlib.ticker import MaxNLocator

    names = [column.name for column in columns]
    if names == [str(j) for j in range(len(names))]:
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_xlabel("column")
        return
    every = max(1, -(-len(names) // 24))
    name_ticks(axes.xaxis, list(range(len(names)))[::every], names[::every], inches * every / len(names))
    axes.set_xlabel("column" if every == 1 else f"column, one in {every} named")
