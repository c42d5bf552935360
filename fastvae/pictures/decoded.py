"""What a model makes of codes: a grid of them over two dimensions, and codes one dimension of which moves."""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from fastvae.evaluation.drawing import COLOURS, figure, finished, name_ticks, quiet
from fastvae.models.vae import VAE
from fastvae.pictures.images import grid_of_images
from fastvae.pictures.latent import dimensions_of, kl_of
from fastvae.pictures.rows import name_columns, scaled, units_of
from fastvae.pictures.subject import (
    check_model,
    columns_of,
    conditions_of,
    given_condition,
    is_ink,
    rows_of,
    shape_of_images,
    some_of,
)
from fastvae.pictures.tables import LEVEL, PANEL, is_table, levels_of, panels

MOST_DIMENSIONS = 10  # that a traversal shows
MOST_LINES = 6  # dimensions with a line each in the panels of a table: those that say most
VALUES = tuple(np.linspace(-2.5, 2.5, 11))
QUANTILES = tuple(np.linspace(0.02, 0.98, 11))  # of codes that have no prior
MOST_ROWS = 5000  # whose codes are looked at
IMAGES, CELLS = 15, 24  # a side of a grid of images, and of one of numbers
CONDITION = "condition: "
SHADES = 10  # levels of a category in a grid


def latent_grid(
    model: Any,
    dimensions: Sequence[int] | None = None,
    *,
    X: Any = None,
    n: int | None = None,
    code: Any = None,
    condition: Any = None,
    image_shape: Sequence[int] | None = None,
    path: Any = None,
) -> Any:
    """What a model makes of z over two latent dimensions, at the quantiles (i + 1/2) / n of N(0, 1): equal areas are
    equal shares of the prior.

    Images in a grid; of a table a map of the mean of each column, or of the most probable category.

    Parameters
    ----------
    model
        A fitted model whose z is N(0, I): VAE, TableVAE, GAN.
    dimensions
        Two latent dimensions, from 0; None: the two that say most of X, or the first two.
    X : (N, D), optional
        Rows by whose KL the dimensions are chosen, of a model without a condition.
    n
        Values of each dimension; None: 15 of images, 24 of tables.
    code : (Z,), optional
        Where the other dimensions stay; None: 0.
    condition
        Of a conditional model: one label or vector; None: the first label.
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
        The model has no prior over its codes.
    ValueError
        It has one latent dimension.
    """
    check_model(model, "latent_grid", "decode")
    if not has_prior(model):
        raise TypeError(
            f"latent_grid: {type(model).__name__} has no prior over its codes, of which quantiles could be taken: "
            "use traversals(model, X)"
        )
    if latent_dim(model) < 2:
        raise ValueError("latent_grid: the model has one latent dimension: use traversals(model)")
    chosen = dimensions_of(model, _most_saying(model, X)[:2] if dimensions is None else dimensions, "latent_grid", 2)
    shape = shape_of_images(model, image_shape)
    side = n or (IMAGES if shape else CELLS)
    values = np.array([NormalDist().inv_cdf((i + 0.5) / side) for i in range(side)])
    z = np.tile(_start(model, code), (side, side, 1))
    z[:, :, chosen[0]], z[:, :, chosen[1]] = values[None, :], values[::-1, None]  # upwards
    x, title = _decoded(model, z, condition, "latent_grid")
    names = f"$z_{{{chosen[0]}}}$ at quantiles of N(0, 1)", f"$z_{{{chosen[1]}}}$ at quantiles of N(0, 1)"
    said = [f"{value:.1f}" for value in values]
    if shape:
        images = x.reshape(-1, *shape)
        return finished(grid_of_images(images, side, is_ink(model, images), None, said[::-1], said, title, names), path)
    return finished(_maps(model, x, said, names, title), path)


def traversals(
    model: Any,
    X: Any = None,
    *,
    dimensions: Sequence[int] | np.ndarray | None = None,
    values: Sequence[float] | None = None,
    code: Any = None,
    condition: Any = None,
    image_shape: Sequence[int] | None = None,
    path: Any = None,
) -> Any:
    """What a model makes of a code as one of its dimensions moves and the others stay.

    Images in a grid, a row for each dimension; of a table a panel for each column and a line for each dimension; of
    many columns, such as spectra, a panel for each dimension and a line for each value.

    Parameters
    ----------
    model
        A fitted estimator that decodes.
    X : (N, D), optional
        Rows: the dimensions that say most of them come first. Needed of a model whose codes have no prior: the code
        stays at their median, and a dimension moves from their quantile of 2% to that of 98%.
    dimensions
        Latent dimensions, from 0, ten at most; None: the first ones, of a table six.
    values
        Of the dimension that moves; None: -2.5 to 2.5 in 11 steps, or quantiles.
    code : (Z,), optional
        Where the others stay; None: 0, or the median.
    condition
        Of a conditional model: one label or vector; None: the first label.
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
        The model cannot decode, or is none.
    ValueError
        It has no prior over its codes, and neither X nor values and a code were given.
    """
    check_model(model, "traversals", "decode")
    free = has_prior(model)
    codes = None
    if not free and (values is None or code is None):
        if X is None:
            raise ValueError(
                f"traversals: {type(model).__name__} has no prior over its codes: pass X, rows by whose codes it goes"
            )
        codes = np.asarray(model.transform(some_of(X, MOST_ROWS)[0]), np.float64)
        code = np.median(codes, axis=0) if code is None else code
    order = _most_saying(model, X, codes) if dimensions is None else dimensions
    shape, table = shape_of_images(model, image_shape), is_table(model)
    most = MOST_LINES if table and not shape and dimensions is None else MOST_DIMENSIONS
    chosen = dimensions_of(model, [int(j) for j in order], "traversals")[:most]
    if values is None and codes is not None:
        moved = np.quantile(codes[:, chosen], QUANTILES, axis=0).T
        said, what = [f"{share:.0%}" for share in QUANTILES], "quantile of the code that moves, of the rows"
    else:
        moved = np.tile(np.asarray(VALUES if values is None else values, np.float64), (len(chosen), 1))
        said = [f"{v:g}" for v in np.round(moved[0], 2)]
        what = "value of the one dimension that moves" + (", in deviations of the prior" if free else "")
    z = np.tile(_start(model, code), (*moved.shape, 1))
    for row, j in enumerate(chosen):
        z[row, :, j] = moved[row]
    x, title = _decoded(model, z, condition, "traversals")
    if shape:
        images = x.reshape(-1, *shape)
        rows = [f"$z_{{{j}}}$" for j in chosen]
        return finished(
            grid_of_images(images, x.shape[1], is_ink(model, images), None, rows, said, title, (what, "")), path
        )
    across = moved[0] if codes is None or values is not None else np.array(QUANTILES)
    draw = _by_column if table else _by_dimension
    what += f"\n{title[title.index(CONDITION) :]}" if CONDITION in title else ""
    return finished(draw(model, x, chosen, across, what), path)


def has_prior(model: Any) -> bool:
    """Whether its z is N(0, I)."""
    return bool(model.ABILITIES.samples == "one pass")


def latent_dim(model: Any) -> int:
    """Z."""
    return int(model.network_.inputs["z"])


def _start(model: Any, code: Any) -> np.ndarray:
    found = np.zeros(latent_dim(model)) if code is None else np.asarray(code, np.float64).ravel()
    if len(found) != latent_dim(model):
        raise ValueError(f"code has {len(found)} values; the model has {latent_dim(model)} latent dimensions")
    return found


def _most_saying(model: Any, X: Any, codes: np.ndarray | None = None) -> list[int]:
    """The dimensions, those first that say most of rows X, if there are some."""
    if codes is not None:
        return [int(j) for j in np.argsort(-codes.var(axis=0), kind="stable")]
    if X is None or not isinstance(model, VAE) or model.network_.condition is not None:
        return list(range(latent_dim(model)))
    return [int(j) for j in np.argsort(-kl_of(model, some_of(X, MOST_ROWS)[0])[0], kind="stable")]


def _decoded(model: Any, z: np.ndarray, condition: Any, picture: str) -> tuple[np.ndarray, str]:
    """What codes (J, V, Z) become, (J, V, D), as the model reads rows; and what is said of the condition."""
    conditions, names = conditions_of(model, condition, picture)
    one = None if conditions is None else conditions[0]
    rows = rows_of(model, model.decode(z.reshape(-1, z.shape[2]).astype(np.float32), **given_condition(one)))
    given = "p(x|z, c)" if names else "p(x|z)"
    best = "means, or most probable levels," if any(column.levels for column in columns_of(model)) else "means"
    said = [f"{best} of {given}"] if isinstance(model, VAE) else []
    return rows.reshape(*z.shape[:2], -1), "; ".join([*said, *([f"{CONDITION}{names[0]}"] if names else [])])


# ---- tables ------------------------------------------------------------------------------------------------------


def _maps(model: Any, x: np.ndarray, said: Sequence[str], names: tuple[str, str], title: str) -> Any:
    """Maps of each column over two dimensions, of rows (n, n, D)."""
    from matplotlib import colormaps
    from matplotlib.colors import BoundaryNorm

    side = len(x)
    ticks = [round(share * (side - 1)) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]

    def panel(axes: Any, j: int, column: Any) -> None:
        values = x[:, :, j]
        if column.levels:
            shown = levels_of(column, values.ravel())[:SHADES]
            place = np.full(len(column.levels), -1)
            place[shown] = np.arange(len(shown))
            bounds = BoundaryNorm(np.arange(len(shown) + 1) - 0.5, max(2, len(shown)))
            style: dict[str, Any] = {"cmap": colormaps["cividis"].resampled(max(2, len(shown))), "norm": bounds}
            drawn = axes.imshow(np.ma.masked_less(place[values.astype(int)], 0), aspect="auto", **style)
            bar = axes.figure.colorbar(drawn, ax=axes)
            levels = [str(column.levels[i]) for i in shown]
            name_ticks(bar.ax.yaxis, range(len(shown)), levels, (PANEL[1] - 0.9) / len(shown), 7, LEVEL)
        else:
            drawn = axes.imshow(values, aspect="auto", cmap="cividis")
            bar = axes.figure.colorbar(drawn, ax=axes)
            if values.min() == values.max():  # else matplotlib names numbers that are not there
                bar.set_ticks([values.min()])
            bar.ax.tick_params(labelsize=7)
        axes.set_xticks(ticks, [said[i] for i in ticks])
        axes.set_yticks([side - 1 - i for i in ticks], [said[i] for i in ticks])

    fig = panels(columns_of(model), panel)
    fig.suptitle(title, fontsize=10)
    fig.supxlabel(names[0], fontsize=9)
    fig.supylabel(names[1], fontsize=9)
    return fig


def _by_column(model: Any, x: np.ndarray, chosen: Sequence[int], values: np.ndarray, what: str) -> Any:
    """Rows (J, V, D): a panel for each column, a line for each dimension."""
    styles = ("-", "--")

    def panel(axes: Any, j: int, column: Any) -> None:
        lines = x[:, :, j]
        if column.levels:
            shown = levels_of(column, lines.ravel())
            place = np.full(len(column.levels), len(shown))
            place[shown] = np.arange(len(shown))
            names = [str(column.levels[i]) for i in shown]
            apart = np.linspace(-0.25, 0.25, len(chosen))[:, None] if len(chosen) > 1 else 0.0
            lines = place[lines.astype(int)] + apart  # lines that are the same are both seen
            name_ticks(axes.yaxis, range(len(names)), names, (PANEL[1] - 0.7) / len(names), 8, LEVEL)
            axes.set_ylim(max(len(names) - 0.4, 0.6), -0.6)  # the first above, as of bars
        for i, line in enumerate(lines):
            style = {"drawstyle": "steps-mid"} if column.levels else {}
            axes.plot(values, line, styles[i // len(COLOURS) % 2], color=COLOURS[i % len(COLOURS)], linewidth=1.3,
                      label=f"$z_{{{chosen[i]}}}$", **style)  # fmt: skip
        quiet(axes)

    fig = panels(columns_of(model), panel)
    fig.supxlabel(what, fontsize=9)
    fig.supylabel("most probable value" if any(c.levels for c in columns_of(model)) else "mean of p(x|z)", fontsize=9)
    handles, labels = fig.axes[0].get_legend_handles_labels()
    across = max(1, min(len(labels), int(fig.get_figwidth() // 0.8)))
    fig.legend(handles, labels, loc="outside upper center", ncols=across, frameon=False, fontsize=9)
    return fig


def _by_dimension(model: Any, x: np.ndarray, chosen: Sequence[int], values: np.ndarray, what: str) -> Any:
    """Rows (J, V, D) as lines over their columns, a panel for each dimension, coloured by the value."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    across = 1 if len(chosen) == 1 else 2
    down = -(-len(chosen) // across)
    fig = figure(10 if across == 2 else 6, 2.2 * down + 0.6)
    grid = np.atleast_1d(fig.subplots(down, across, sharex=True, sharey=True)).ravel()
    colours, scale = colormaps["cividis"], Normalize(min(values), max(values))
    for axes, j, lines in zip(grid, chosen, scaled(model, x), strict=False):
        for value, line in zip(values, lines, strict=True):
            axes.plot(line, color=colours(scale(value)), linewidth=1.2)
        axes.set_title(f"$z_{{{j}}}$", fontsize=10)
        quiet(axes)
    for axes in grid[len(chosen) :]:
        axes.set_visible(False)
    for axes in grid[max(0, len(chosen) - across) : len(chosen)]:
        axes.tick_params(labelbottom=True)
        name_columns(axes, columns_of(model), 4.0 if across == 2 else 4.6)
    fig.supylabel(units_of(model).replace("value", "mean of p(x|z)"), fontsize=10)
    bar = fig.colorbar(ScalarMappable(scale, colours), ax=list(grid[: len(chosen)]), fraction=0.04)
    bar.set_label(what)
    return fig
