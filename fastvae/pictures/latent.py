"""The latent space of a model: the codes of rows, and how much each dimension says."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastvae import reference
from fastvae.errors import counted
from fastvae.evaluation.diagnosis import ACTIVE
from fastvae.evaluation.drawing import BLUE, MARKERS, figure, finished, plain_name, quiet, shortened
from fastvae.models.vae import VAE
from fastvae.pictures.subject import check_model, count_of, given_condition, some_of

MOST_POINTS = 5000
MOST_CLASSES = 20  # with a colour and mark each
MOST_NAMED = 30  # dimensions that have their number below their bar
LONGEST = 1.9  # inches of the name of a class
LEGEND_ROWS = 14
CLASSES = (  # of Tol's "muted", and black: ten colours that people see apart whatever colours they see
    "#332288", "#CC6677", "#117733", "#88CCEE", "#DDCC77", "#882255", "#44AA99", "black", "#999933", "#AA4499",
)  # fmt: skip
MASSES = (0.5, "-"), (0.95, "--")  # shares of N(0, I) within the circles that are drawn


def latent(
    model: Any,
    X: Any,
    labels: Any = None,
    *,
    condition: Any = None,
    dimensions: Sequence[int] | None = None,
    path: Any = None,
) -> Any:
    """The codes of rows, of a VAE the means of q(z|x), coloured by labels.

    One dimension as histograms, two as points; of more the first two principal components of the codes, or two
    `dimensions`. For a VAE circles hold 50% and 95% of N(0, I), where the points are z itself.

    Parameters
    ----------
    model
        A fitted estimator with codes.
    X : (N, D)
        Rows; 5,000 of them at most are drawn, evenly apart.
    labels : (N,), optional
        Classes, by colour and mark, of more than twenty the most frequent; or a quantity, by colour.
    condition
        Of a conditional model: that of X.
    dimensions
        Two of the latent dimensions, from 0; None: see above.
    path
        A PNG to write it to as well.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError
        The model has no codes, or is none.
    ValueError
        There are not as many labels as rows, or no such dimensions.
    """
    check_model(model, "latent", "transform")
    name, count = getattr(labels, "name", None), count_of(X)
    labels = None if labels is None else np.asarray(labels)
    if labels is not None and labels.shape != (count,):
        raise ValueError(f"latent: labels have shape {labels.shape}; X has {count} rows: pass one for each")
    X, labels, condition = some_of(X, MOST_POINTS, labels, condition)
    codes = np.asarray(model.transform(X, **given_condition(condition)), np.float64)
    if dimensions is not None:
        chosen = dimensions_of(model, dimensions, "latent", 2)
        codes, axis_names = codes[:, chosen], [f"$z_{{{j}}}$" for j in chosen]
    else:
        axis_names = ["$z_{0}$", "$z_{1}$"]
    what = "mean of q(z|x)" if isinstance(model, VAE) else "code"
    prior = isinstance(model, VAE)
    return finished(latent_figure(codes, labels, axis_names, what, None if name is None else str(name), prior), path)


def dimensions_of(model: Any, dimensions: Sequence[int], picture: str, count: int | None = None) -> list[int]:
    """Latent dimensions that are named, by number from 0."""
    known = model._codes() if hasattr(model, "transform") else model.network_.inputs["z"]
    chosen = [int(j) for j in dimensions]
    if (count is not None and len(chosen) != count) or not chosen or min(chosen) < 0 or max(chosen) >= known:
        how_many = "some" if count is None else str(count)
        raise ValueError(f"{picture}: dimensions={tuple(chosen)}: pass {how_many} of 0 to {known - 1}")
    return chosen


def latent_figure(
    codes: np.ndarray, labels: np.ndarray | None, names: Sequence[str], what: str, title: str | None, prior: bool
) -> Any:
    """A figure of codes (N, Z), with labels (N,)."""
    fig = figure(6.4 if labels is not None else 5.6, 4.8)
    axes = fig.subplots()
    count = codes.shape[1]
    groups = groups_of(labels, len(codes))
    title = plain_name(title) if title else None
    if count == 1:
        shown = [(label, codes[rows, 0], colour) for label, rows, colour, _ in groups]
        axes.hist([values for _, values, _ in shown], 30, stacked=True, color=[colour for *_, colour in shown],
                  label=[label for label, *_ in shown])  # fmt: skip
        axes.set_xlabel(f"{names[0]}, {what}")
        axes.set_ylabel("rows" if len(groups) == 1 else "rows, of the classes on top of each other")
        _legend(axes, len(groups), title)
    else:
        points, prior, names = (codes, prior, names) if count == 2 else (*_components(codes),)
        if prior:
            _circles(axes)
            axes.set_aspect("equal", adjustable="datalim")
        if labels is not None and is_scale(labels):
            marks = axes.scatter(*points.T, c=labels.astype(float), s=9, alpha=0.8, linewidths=0, cmap="cividis")
            fig.colorbar(marks, label=title or "label")
        else:
            for label, rows, colour, marker in groups:
                axes.scatter(
                    *points[rows].T, s=11, alpha=0.75, linewidths=0, color=colour, marker=marker, label=label or None
                )
            _legend(axes, len(groups), title)
        axes.set_xlabel(names[0])
        axes.set_ylabel(names[1])
    quiet(axes)
    axes.set_title(f"{what} of {counted(len(codes), 'row')}, {counted(count, 'dimension')}", fontsize=10)
    return fig


def _components(codes: np.ndarray) -> tuple[np.ndarray, bool, list[str]]:
    """The first two principal components of codes (N, Z), False, and their names."""
    centred = codes - codes.mean(axis=0)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(codes), 2))
    points[:, : len(directions)] = centred @ directions[:2].T
    shares = np.append(singular**2 / max(float((singular**2).sum()), 1e-30), [0.0, 0.0])
    return points, False, [f"principal component {i + 1} of z ({shares[i]:.0%} of the variance)" for i in range(2)]


def _circles(axes: Any) -> None:
    """How far N(0, I) of two dimensions reaches."""
    angle = np.linspace(0, 2 * np.pi, 200)
    for share, style in MASSES:
        radius = np.sqrt(-2 * np.log(1 - share))
        axes.plot(radius * np.cos(angle), radius * np.sin(angle), color="0.45", linewidth=0.9, linestyle=style,
                  label=f"{share:.0%} of N(0, I)", zorder=0)  # fmt: skip


def is_scale(labels: np.ndarray) -> bool:
    """True for numbers with too many values for a colour each: a quantity rather than classes."""
    return labels.dtype.kind in "uif" and len(np.unique(labels)) > MOST_CLASSES


def groups_of(labels: np.ndarray | None, count: int) -> list[tuple[str, np.ndarray, Any, str]]:
    """(name, rows, colour, mark) of each class; of more classes than there are colours, the most frequent and the
    others."""
    if labels is None or is_scale(labels):
        return [("", np.arange(count), BLUE, "o")]
    text = labels.astype(str)
    names, sizes = np.unique(text, return_counts=True)
    if labels.dtype.kind in "biuf":
        names = np.array([str(v) for v in np.unique(labels)])  # 2 before 10
    kept = list(names)
    if len(names) > MOST_CLASSES:
        kept = sorted(np.unique(text)[np.argsort(-sizes, kind="stable")[: MOST_CLASSES - 1]])
    n = len(CLASSES)
    groups: list[tuple[str, np.ndarray, Any, str]] = [
        (shortened(name, LONGEST, 8), np.flatnonzero(text == name), CLASSES[i % n], MARKERS[i // n])
        for i, name in enumerate(kept)
    ]
    if len(kept) < len(names):
        rest = ~np.isin(text, kept)
        groups.append((f"{len(names) - len(kept)} others", np.flatnonzero(rest), "0.7", "."))
    return groups


def _legend(axes: Any, entries: int, title: str | None) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if entries > 1 or len(labels) > 1:
        axes.legend(
            handles, labels, markerscale=1.8, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False,
            ncols=1 if len(labels) <= LEGEND_ROWS else 2, title=title if entries > 1 else None, title_fontsize=8,
        )  # fmt: skip


def kl_per_dimension(model: Any, X: Any, *, condition: Any = None, path: Any = None) -> Any:
    """KL[q(z_j|x) || N(0, 1)] of each latent dimension, the mean over rows, largest first.

    Active are those whose mean of q varies by more than 0.01 over the rows (Burda et al. 2016); the others say nothing
    of the data.

    Parameters
    ----------
    model
        A fitted VAE or TableVAE.
    X : (N, D)
        Rows.
    condition
        Of a conditional model: that of X.
    path
        A PNG to write it to as well.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError
        The model has no q(z|x).
    """
    check_model(model, "kl_per_dimension")
    if not isinstance(model, VAE):
        raise TypeError(
            f"kl_per_dimension: {type(model).__name__} has no q(z|x) whose divergence from a prior could be drawn: "
            "use a VAE or a TableVAE"
        )
    kl, active = kl_of(model, X, condition)
    return finished(kl_figure(kl, active), path)


def kl_of(model: VAE, X: Any, condition: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """The mean KL of each latent dimension over rows X, in nats (Z,), and which are active (Z,)."""
    mu, logvar = (np.asarray(a, np.float64) for a in model.encode(X, **given_condition(condition)))
    return reference.kl_terms(mu, logvar).mean(axis=0), mu.var(axis=0) > ACTIVE


def kl_figure(kl: np.ndarray, active: np.ndarray) -> Any:
    """A figure of the mean KL of each dimension (Z,), largest first, those that are `active` (Z,) set off."""
    order = np.argsort(-kl)
    fig = figure(max(5.0, min(11.0, 1.5 + 0.28 * len(kl))), 3.6)
    axes = fig.subplots()
    for of, colour, hatch, name in ((True, BLUE, None, "active"), (False, "0.8", "///", "inactive")):
        places = np.flatnonzero(active[order] == of)
        if len(places):
            label = f"{name}: {len(places)} of {len(kl)}, {kl[order][places].sum():.2f} nats"
            axes.bar(
                places, kl[order][places], color=colour, hatch=hatch, edgecolor="white", linewidth=0.5, label=label
            )
    if len(kl) <= MOST_NAMED:
        axes.set_xticks(range(len(kl)), [str(j) for j in order], fontsize=8)
        axes.set_xlabel("latent dimension, by its KL")
    else:
        axes.set_xlabel("rank of the latent dimension by its KL")
    axes.set_ylabel("KL[q(z|x) || N(0, 1)], nats")
    quiet(axes)
    axes.grid(False, axis="x")
    axes.legend(fontsize=9, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)  # above all bars
    return fig
