"""Pictures of what a model's codes are: q(z|x) beside p(z|x), q(z) beside N(0, I), and what becomes of a code that
moves. Need the `plot` extra."""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from fastvae.data.minibatches import Examples
from fastvae.evaluation.aggregated import kolmogorov
from fastvae.evaluation.densities import Joint
from fastvae.evaluation.drawing import BLUE, ORANGE, figure, quiet, save, show, tiles
from fastvae.evaluation.quadrature import check_dimensions, quadrature_of

MOST_POINTS = 2000  # draws of q(z) that are shown
MOST_DIMENSIONS = 10  # that a traversal shows
VALUES = tuple(np.linspace(-2.5, 2.5, 11))
MOST_NAMED = 30  # columns whose names fit below an axis


def write_traversals(
    path: Any,
    model: Any,
    dimensions: Sequence[int] | np.ndarray | None = None,
    values: Sequence[float] = VALUES,
    code: np.ndarray | None = None,
    condition: Any = None,
) -> None:
    """The mean of p(x|z) as one dimension of z moves over `values`, the others staying at those of `code` (Z,), 0 by
    default: images in a grid, a row for each of `dimensions` (the first ten); rows of a table as lines."""
    latent_dim = model.network_.inputs["z"]
    chosen = [int(j) for j in (range(latent_dim) if dimensions is None else dimensions)][:MOST_DIMENSIONS]
    start = np.zeros(latent_dim) if code is None else np.asarray(code, np.float64)
    z = np.tile(start, (len(chosen), len(values), 1))
    for row, j in enumerate(chosen):
        z[row, :, j] = values
    given = {} if condition is None else {"condition": condition}
    x = model.decode(z.reshape(-1, latent_dim).astype(np.float32), **given).reshape(len(chosen), len(values), -1)
    shape = model.metadata_.get("image_shape")
    if shape:
        save(path, _image_traversals(x.reshape(*x.shape[:2], *shape), chosen, values, model.metadata_.get("ink", True)))
    else:
        save(path, _table_traversals((x - model.offset_) / model.scale_, chosen, values, model))


def _image_traversals(x: np.ndarray, chosen: Sequence[int], values: Sequence[float], ink: bool) -> Any:
    """Images (J, V, H, W), or (J, V, H, W, 3) in colour, with a thin gap between."""
    rows, columns, height, width = x.shape[:4]
    images = x.reshape(rows * columns, *x.shape[2:])
    canvas, gap = tiles(images, columns)
    inches = 0.62 * columns * max(1.0, (width / height) ** 0.5)
    fig = figure(inches + 1.0, inches * canvas.shape[0] / canvas.shape[1] + 0.8)
    axes = fig.subplots()
    show(axes, canvas, images, ink)
    axes.set_yticks([gap + i * (height + gap) + height / 2 for i in range(rows)], [f"$z_{{{j}}}$" for j in chosen])
    places = [gap + j * (width + gap) + width / 2 for j in range(columns)]
    axes.set_xticks(places, [f"{v:g}" for v in np.round(values, 2)], fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("value of the one dimension that moves, in deviations of the prior")
    return fig


def _table_traversals(x: np.ndarray, chosen: Sequence[int], values: Sequence[float], model: Any) -> Any:
    """Rows (J, V, D) as lines over their columns, a panel for each dimension, coloured by the value."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.ticker import MaxNLocator

    across = 1 if len(chosen) == 1 else 2
    down = -(-len(chosen) // across)
    fig = figure(10 if across == 2 else 6, 2.2 * down + 0.6)
    panels = np.atleast_1d(fig.subplots(down, across, sharex=True, sharey=True)).ravel()
    colours, scale = colormaps["cividis"], Normalize(min(values), max(values))
    columns = x.shape[2]
    names = model.metadata_.get("column_names")
    style: dict[str, Any] = {"marker": "o", "markersize": 3} if columns <= MOST_NAMED else {}
    for axes, j, lines in zip(panels, chosen, x, strict=False):
        for value, line in zip(values, lines, strict=True):
            axes.plot(range(columns), line, color=colours(scale(value)), linewidth=1.2, **style)
        axes.set_title(f"$z_{{{j}}}$", fontsize=10)
        quiet(axes)
    for axes in panels[len(chosen) :]:
        axes.set_visible(False)
    for axes in panels[max(0, len(chosen) - across) : len(chosen)]:
        axes.tick_params(labelbottom=True)
        if names and len(names) == columns <= MOST_NAMED:
            plain = [str(name)[:20].replace("$", "\\$") for name in names]
            axes.set_xticks(range(columns), plain, rotation=40, ha="right", fontsize=8)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_xlabel("column")
    fig.supylabel("mean of p(x|z), scaled as in the model", fontsize=10)
    bar = fig.colorbar(ScalarMappable(scale, colours), ax=list(panels[: len(chosen)]), fraction=0.04)
    bar.set_label("value of the dimension that moves")
    return fig


def write_aggregated(path: Any, mu: np.ndarray, logvar: np.ndarray, seed: int = 0) -> None:
    """Draws of q(z), one of each example of these mu and logvar (N, Z), beside N(0, I): the two dimensions that differ
    most, and the quantiles of all."""
    rng = np.random.default_rng(seed)
    rows = np.unique(np.linspace(0, len(mu) - 1, min(MOST_POINTS, len(mu))).astype(np.int64))
    z = mu[rows] + np.exp(0.5 * logvar[rows]) * rng.standard_normal((len(rows), mu.shape[1]))
    count, dimensions = z.shape
    order = np.argsort(-kolmogorov(z))
    fig = figure(10, 4.6)
    left, right = fig.subplots(1, 2)
    if dimensions == 1:
        _histogram(left, z[:, 0])
    else:
        _scatter(left, z, [int(j) for j in order[:2]])
    normal = np.array([NormalDist().inv_cdf((i + 0.5) / count) for i in range(count)])
    ends = normal[[0, -1]]
    right.plot(ends, ends, color="0.3", linewidth=1, linestyle="--", label="N(0, 1)")
    for j in order[1:][::-1]:
        right.plot(normal, np.sort(z[:, j]), color="0.75", linewidth=0.8)
    if dimensions > 1:
        right.plot([], [], color="0.75", linewidth=0.8, label=f"the other {dimensions - 1}")
    worst, furthest = int(order[0]), ", furthest from it" if dimensions > 1 else ""
    right.plot(normal, np.sort(z[:, worst]), color=ORANGE, linewidth=1.6, label=f"$z_{{{worst}}}$" + furthest)
    right.set_xlabel("quantile of N(0, 1)")
    right.set_ylabel(f"quantile of $q(z_j)$, {count:,} draws")
    right.legend(fontsize=8, frameon=False, loc="upper left")
    quiet(right)
    save(path, fig)


def _scatter(axes: Any, z: np.ndarray, chosen: list[int]) -> None:
    axes.scatter(z[:, chosen[0]], z[:, chosen[1]], s=6, alpha=0.45, linewidths=0, color=BLUE, label="draws of q(z)")
    angle = np.linspace(0, 2 * np.pi, 200)
    for share, style in ((0.5, "-"), (0.95, "--"), (0.999, ":")):
        radius = np.sqrt(-2 * np.log(1 - share))
        label = f"{share:.1%} of N(0, I)".replace(".0%", "%")
        axes.plot(
            radius * np.cos(angle), radius * np.sin(angle), color="black", linewidth=1.2, linestyle=style, label=label
        )
    axes.set_xlabel(f"$z_{{{chosen[0]}}}$")
    axes.set_ylabel(f"$z_{{{chosen[1]}}}$")
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.12), ncols=2)
    quiet(axes)


def _histogram(axes: Any, z: np.ndarray) -> None:
    reach = 1.05 * max(4.0, np.abs(z).max())
    grid = np.linspace(-reach, reach, 400)
    axes.hist(z, 50, density=True, color=BLUE, alpha=0.5, label="draws of q(z)")
    axes.plot(grid, np.exp(-0.5 * grid**2) / np.sqrt(2 * np.pi), color="black", label="N(0, 1)")
    axes.set_xlabel("$z_0$")
    axes.set_ylabel("density")
    axes.legend(fontsize=8, frameon=False)
    quiet(axes)


def write_identity(path: Any, model: Any, examples: Examples, rows: Sequence[int] | None = None) -> None:
    """log p(x) - ELBO = KL[q(z|x) || p(z|x)], integrated part by part for z of one or two dimensions: the two densities
    of some examples, by default that whose KL is smallest, the median one and the largest of the first hundred."""
    joint = Joint(model, examples)
    check_dimensions(joint.latent_dim)
    if rows is None:
        first = np.arange(min(100, len(joint)))
        order = np.argsort(quadrature_of(joint, first).kl)
        places = np.unique(np.linspace(0, len(order) - 1, min(3, len(order))).astype(int))
        chosen = first[order[places]]
    else:
        chosen = np.asarray(rows, np.int64)
    found, given = quadrature_of(joint, chosen), joint.rows(chosen)
    mu, logvar = joint.encode(given)
    deviation = np.exp(0.5 * logvar)
    fig = figure(3.7 * len(chosen), 4.3)
    draw = _curves if joint.latent_dim == 1 else _contours
    for i, axes in enumerate(np.atleast_1d(fig.subplots(1, len(chosen)))):
        spread = np.sqrt(np.diagonal(found.covariance[i]))
        low = np.minimum(mu[i] - 4 * deviation[i], found.mean[i] - 4 * spread)
        high = np.maximum(mu[i] + 4 * deviation[i], found.mean[i] + 4 * spread)
        draw(axes, joint, given[i : i + 1], found.log_p[i], mu[i], deviation[i], low, high)
        sums = f"{found.log_p[i]:.4f} - ({found.elbo[i]:.4f}) = {found.log_p[i] - found.elbo[i]:.3f}"
        axes.set_title(
            f"row {chosen[i]}\nlog p(x) - ELBO: {sums}\nKL[q || p(z|x)] = {found.kl[i]:.3f} nats", fontsize=9
        )
        quiet(axes)
    fig.axes[0].legend(fontsize=8, frameon=False, loc="upper left")
    save(path, fig)


def _curves(
    axes: Any, joint: Joint, given: Any, log_p: float, mu: np.ndarray, deviation: np.ndarray, low: np.ndarray,
    high: np.ndarray,
) -> None:  # fmt: skip
    grid = np.linspace(low[0], high[0], 500)
    posterior = np.exp(joint(given, grid[None, :, None])[0] - log_p)
    q = np.exp(-0.5 * ((grid - mu[0]) / deviation[0]) ** 2) / (deviation[0] * np.sqrt(2 * np.pi))
    axes.fill_between(grid, posterior, color=BLUE, alpha=0.3, linewidth=0)
    axes.plot(grid, posterior, color=BLUE, label="p(z|x)")
    axes.plot(grid, q, color=ORANGE, linestyle="--", label="q(z|x)")
    axes.set_ylim(0, 1.25 * max(posterior.max(), q.max()))
    axes.set_xlabel("z")
    axes.set_ylabel("density")


def _contours(
    axes: Any, joint: Joint, given: Any, log_p: float, mu: np.ndarray, deviation: np.ndarray, low: np.ndarray,
    high: np.ndarray,
) -> None:  # fmt: skip
    grids = np.meshgrid(*(np.linspace(a, b, 121) for a, b in zip(low, high, strict=True)))
    z = np.stack([grid.ravel() for grid in grids], axis=1)
    posterior = joint(given, z[None])[0] - log_p
    q = -0.5 * np.square((z - mu) / deviation).sum(axis=1) - np.log(deviation).sum() - np.log(2 * np.pi)
    for logs, colour, style, name in ((posterior, BLUE, "solid", "p(z|x)"), (q, ORANGE, "dashed", "q(z|x)")):
        density = np.exp(logs).reshape(grids[0].shape)
        levels = [density.max() * np.exp(-0.5 * r * r) for r in (2.5, 1.5, 0.5)]
        axes.contour(*grids, density, levels=levels, colors=colour, linestyles=style, linewidths=1.3)
        axes.plot([], [], color=colour, linestyle=style, label=name)
    axes.set_xlabel("$z_0$")
    axes.set_ylabel("$z_1$")
