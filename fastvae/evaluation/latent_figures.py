"""Pictures of what a model's codes are: q(z|x) beside p(z|x), and q(z) beside N(0, I). Need the `plot` extra."""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from fastvae.data.minibatches import Examples
from fastvae.evaluation.aggregated import kolmogorov
from fastvae.evaluation.densities import Joint
from fastvae.evaluation.drawing import BLUE, ORANGE, figure, quiet, save
from fastvae.evaluation.quadrature import check_dimensions, quadrature_of

MOST_POINTS = 2000  # draws of q(z) that are shown


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
        _scatter(left, z, sorted(int(j) for j in order[:2]))
    normal = np.array([NormalDist().inv_cdf((i + 0.5) / count) for i in range(count)])
    ends = normal[[0, -1]]
    right.plot(ends, ends, color="0.3", linewidth=1, linestyle="--", label="N(0, 1)")
    for j in order[1:][::-1]:
        right.plot(normal, np.sort(z[:, j]), color="0.75", linewidth=0.8)
    if dimensions > 1:
        right.plot(
            [], [], color="0.75", linewidth=0.8, label="the other" if dimensions == 2 else f"the other {dimensions - 1}"
        )
    worst, furthest = int(order[0]), ", furthest from it" if dimensions > 1 else ""
    right.plot(normal, np.sort(z[:, worst]), color=ORANGE, linewidth=1.6, label=f"$z_{{{worst}}}$" + furthest)
    right.set_xlabel("quantile of N(0, 1)")
    right.set_ylabel(f"quantile of $q(z_j)$, {count:,} draws")
    right.legend(fontsize=8, frameon=False, loc="upper left")
    quiet(right)
    save(path, fig)


def _scatter(axes: Any, z: np.ndarray, chosen: list[int]) -> None:
    axes.scatter(z[:, chosen[0]], z[:, chosen[1]], s=_size(len(z)), alpha=0.45, linewidths=0, color=BLUE,
                 label=f"{len(z):,} draws of q(z), one of each example")  # fmt: skip
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


def _size(count: int) -> float:
    """Of a point among so many, that few are seen as well."""
    return float(np.clip(3000 / count, 6, 24))


def _histogram(axes: Any, z: np.ndarray) -> None:
    reach = 1.05 * max(4.0, np.abs(z).max())
    grid = np.linspace(-reach, reach, 400)
    bins = int(np.clip(2 * np.sqrt(len(z)), 10, 50))
    axes.hist(z, bins, density=True, color=BLUE, alpha=0.5, label="draws of q(z)")
    axes.plot(grid, np.exp(-0.5 * grid**2) / np.sqrt(2 * np.pi), color="black", label="N(0, 1)")
    axes.set_xlabel("$z_0$")
    axes.set_ylabel("density")
    axes.legend(fontsize=8, frameon=False)
    quiet(axes)


def counted_from(places: Any) -> str:
    """How rows are numbered."""
    return "rows counted from 0" if places is None else "rows of the data and examples counted from 0"


def named(row: int, places: Any) -> str:
    """What an example is called: its place among those that were evaluated, and in the data where it is known."""
    return f"row {row}" if places is None else f"row {places[row]}, example {row}"


def write_identity(
    path: Any, model: Any, examples: Examples, rows: Sequence[int] | None = None, places: Any = None
) -> None:
    """log p(x) - ELBO = KL[q(z|x) || p(z|x)], integrated part by part for z of one or two dimensions: the two densities
    of some examples, by default that whose KL is smallest, the median one and the largest of the first hundred;
    `places` (N,) say where they stand in the data."""
    joint = Joint(model, examples)
    check_dimensions(joint.latent_dim)
    if rows is None:
        first = np.arange(min(100, len(joint)))
        order = np.argsort(quadrature_of(joint, first).kl)
        apart = np.unique(np.linspace(0, len(order) - 1, min(3, len(order))).astype(int))
        chosen = first[order[apart]]
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
            f"{named(int(chosen[i]), places)}\nlog p(x) - ELBO: {sums}\nKL[q || p(z|x)] = {found.kl[i]:.3f} nats",
            fontsize=9,
        )
        quiet(axes)
    handles, labels = fig.axes[0].get_legend_handles_labels()
    ends = "" if joint.latent_dim == 1 else "; contours where a density is exp(-r^2/2) of its peak, r = 0.5, 1.5, 2.5"
    fig.legend(
        handles, labels, loc="outside lower left", ncols=2, frameon=False, fontsize=8, title_fontsize=8,
        title=f"{counted_from(places)}{ends}", alignment="left",
    )  # fmt: skip
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
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel("$z_0$")
    axes.set_ylabel("$z_1$")
