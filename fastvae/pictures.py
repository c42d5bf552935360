"""Pictures of a model: its history, samples, reconstructions and latent space. Needs the `plot` extra."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fastvae import table_pictures
from fastvae.data.condition import Labels
from fastvae.errors import counted
from fastvae.evaluation.drawing import show, tiles
from fastvae.models.table_vae import TableVAE
from fastvae.models.vae import VAE
from fastvae.picture_files import plain_name, save
from fastvae.training import spoken

GRID = 8  # images a side
MOST_POINTS = 5000
FEWEST_DRAWN = 2000  # samples of a table, whose distributions are shown
MOST_CLASSES = 20  # with a colour each
MOST_NAMED = 30  # columns whose names fit below an axis


def write_pictures(
    folder: pathlib.Path,
    model: VAE,
    X: np.ndarray,
    labels: np.ndarray | None,
    unseen: np.ndarray,
    condition: np.ndarray | None = None,
    unseen_condition: np.ndarray | None = None,
) -> list[str]:
    """Write history.png, samples.png, reconstructions.png (of `unseen`) and latent.png (of `X`), in user's units. Of a
    conditional model, which is given the condition of both, samples.png has a row for each label, or some vector.

    Returns a line about each that could not be made; the others are.
    """
    most = MOST_POINTS if isinstance(model, TableVAE) else 10
    shown = np.unique(np.linspace(0, len(unseen) - 1, min(most, len(unseen))).astype(int))
    rows = np.unique(np.linspace(0, len(X) - 1, min(MOST_POINTS, len(X))).astype(int))
    some = None if condition is None else condition[rows]
    pictures: dict[str, Callable[[pathlib.Path], None]] = {
        "history.png": lambda path: write_history(path, model),
        "samples.png": lambda path: _write_own_samples(path, model, X[rows], some, unseen_condition),
        "reconstructions.png": lambda path: write_reconstructions(
            path, model, unseen[shown], None if unseen_condition is None else unseen_condition[shown]
        ),
        "latent.png": lambda path: write_latent(
            path,
            model.transform(X[rows], some),
            None if labels is None else labels[rows],
        ),
    }
    failures = []
    for name, write in pictures.items():
        try:
            write(folder / name)
        except Exception as error:  # whatever a plotting library raises: the model is worth more than a picture
            failures.append(f"no {name}: {type(error).__name__}: {' '.join(str(error).split())}")
    return failures


def write_history(path: pathlib.Path, model: VAE) -> None:
    """Loss and its parts, and the held-out ELBO, by epoch."""
    history = model.history_
    figure = Figure(figsize=(9, 3.4))
    loss, kl = figure.subplots(1, 2)
    style: dict[str, Any] = {"marker": "o", "markersize": 3} if len(history["epoch"]) <= 30 else {}
    loss.plot(history["epoch"], history["loss"], label="training loss", **style)
    loss.plot(history["epoch"], history["nll"], label="nll, $-\\log p(x|z)$", **style)
    heldout = history[model.heldout_name]
    if np.isfinite(heldout).any():
        loss.plot(history["epoch"], -heldout, label=f"$-${spoken(model.heldout_name)}", **style)
    kl.plot(history["epoch"], history["kl"], color="C3", label="KL$[q(z|x)\\,\\|\\,p(z)]$", **style)
    for axes in (loss, kl):
        axes.set_xlabel("epoch")
        axes.set_ylabel("nats per example")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if model.best_epoch_:
            axes.axvline(model.best_epoch_, color="0.6", linewidth=1, linestyle=":", label="kept")
        axes.legend()
    save(path, figure)


# ---- samples and reconstructions --------------------------------------------------------------------------------


def _write_own_samples(
    path: pathlib.Path, model: VAE, X: np.ndarray, beside: np.ndarray | None, condition: np.ndarray | None
) -> None:
    """Samples of a model; of a table of few columns their distributions, beside those of rows X (N, D) with a condition
    `beside`; of a conditional one some for each label, or for each of some conditions (N, ...), with the same z for
    all."""
    columns = table_pictures.columns_of(model)
    if columns is not None:
        drawn = table_pictures.draws(model, len(X) if beside is not None else max(len(X), FEWEST_DRAWN), beside)
        table_pictures.write_marginals(path, columns, np.asarray(X), drawn)
        return
    if condition is None:
        write_samples(path, model, model.sample(GRID * GRID, random_state=0))
        return
    known = model.network_.condition
    if isinstance(known, Labels):
        some, names = known.classes[:MOST_CLASSES], [str(label) for label in known.classes[:MOST_CLASSES].tolist()]
    else:
        rows = np.unique(np.linspace(0, len(condition) - 1, GRID).astype(int))
        some = condition[rows].reshape(len(rows), -1)
        names = [", ".join(f"{value:.3g}" for value in row[:3]) + ", ..." * (len(row) > 3) for row in some]
    samples = [model.sample(GRID, condition=one, random_state=0) for one in some]
    write_samples(path, model, np.concatenate(samples), "means of p(x|z, c)", names)


def write_samples(
    path: pathlib.Path,
    model: VAE,
    samples: Any,
    what: str = "means of p(x|z)",
    conditions: Sequence[str] = (),
) -> None:
    """Images side by side; rows of a table as lines over its columns; a single column as a histogram; of a mixed table
    the distribution of each column.

    With several `conditions`, by their names, of which each has as many samples, one after the other: a row of images
    for each, or a colour.
    """
    if isinstance(model, TableVAE):
        drawn = table_pictures.rows_of(model, samples)
        table_pictures.write_marginals(path, model.columns_.columns, None, drawn, f"samples: {what}")
        return
    shape = model.metadata_.get("image_shape")
    each = len(samples) // max(1, len(conditions))
    if shape:
        columns = min(GRID, len(samples)) if len(samples) <= GRID * GRID else int(np.ceil(len(samples) ** 0.5))
        names = None
        if len(conditions) > 1:
            columns, names = each, [plain_name(name) for name in conditions]
        save(path, _mosaic(samples.reshape(-1, *shape), columns, _ink(model), names))
        return
    figure = Figure(figsize=(8, 3.4))
    axes = figure.subplots()
    title = f"{counted(len(samples), 'sample')}: {what}"
    if samples.shape[1] == 1:
        values = samples[:, 0].reshape(max(1, len(conditions)), -1)
        axes.hist(list(values), bins=20, stacked=True, label=[plain_name(name) for name in conditions] or None)
        _legend(axes, len(conditions))
        axes.set_xlabel(_column_names(model, 1)[0])
        axes.set_ylabel("samples")
    else:
        groups = samples.reshape(max(1, len(conditions)), -1, samples.shape[1])
        groups = groups[:, :16] if samples.shape[1] > 50 else groups
        title = f"{counted(groups.shape[0] * groups.shape[1], 'sample')}: {what}"
        for i, few in enumerate(groups):
            name = plain_name(conditions[i]) if len(conditions) > 1 else "samples"
            _lines(axes, model, few, name, color=f"C{i % 10}", alpha=0.35, linewidth=1)
        _legend(axes, len(conditions))
    axes.set_title(title, fontsize=10)
    save(path, figure)


def write_reconstructions(path: pathlib.Path, model: VAE, X: np.ndarray, condition: np.ndarray | None = None) -> None:
    """Each input above its output: images in two rows, rows of a table as two lines a panel; of a mixed table each
    column's inputs against its outputs."""
    output = model.reconstruct(X, condition)
    if isinstance(model, TableVAE):
        outputs = table_pictures.rows_of(model, output)
        table_pictures.write_reconstructions(path, model.columns_.columns, np.asarray(X), outputs)
        return
    shape = model.metadata_.get("image_shape")
    if shape:
        both = np.concatenate([np.asarray(X, np.float32), output]).reshape(-1, *shape)
        save(path, _mosaic(both, len(X), _ink(model), ["input", "output"]))
        return
    X, output = X[:6], output[:6]
    figure = Figure(figsize=(9, 1.6 * len(X)))
    marker: dict[str, Any] = {"marker": "o", "markersize": 3} if X.shape[1] <= 50 else {"linewidth": 1}
    for axes, row, result in zip(np.atleast_1d(figure.subplots(len(X), 1, sharex=True)), X, output, strict=True):
        _lines(axes, model, row[None], "input", color="0.2", **marker)
        _lines(axes, model, result[None], "output", color="C1", **marker)
        axes.set_ylabel("")
    figure.axes[0].legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False)
    for axes in figure.axes[:-1]:
        axes.set_xlabel("")
    figure.supylabel(_units(model), fontsize=10)
    save(path, figure)


def _ink(model: VAE) -> bool:
    """True for images that are mostly empty: dark on light, like ink; False for photographs."""
    return bool(model.metadata_.get("ink", True))


def _units(model: VAE) -> str:
    scaled = bool((model.scale_ != 1).any() or (model.offset_ != 0).any())
    return "value, scaled as in the model" if scaled else "value"


def _column_names(model: VAE, columns: int) -> list[str]:
    names = model.metadata_.get("column_names")
    return [plain_name(name) for name in names] if names and len(names) == columns else [str(i) for i in range(columns)]


def _lines(axes: Axes, model: VAE, rows: np.ndarray, label: str, **style: Any) -> None:
    """Rows (n, D) in the user's units over their columns, in the model's units: so that columns share an axis."""
    columns = rows.shape[1]
    scaled = (rows - model.offset_) / model.scale_
    axes.plot(np.arange(columns), scaled.T, label=[label, *[None] * (len(rows) - 1)], **style)
    axes.set_ylabel(_units(model))
    if model.metadata_.get("column_names") and columns <= MOST_NAMED:
        axes.set_xticks(range(columns), _column_names(model, columns), rotation=30 if columns > 4 else 0, ha="right")
    else:
        axes.set_xlabel("column")
        if columns == 1:
            axes.set_xticks([0])
        else:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _mosaic(images: np.ndarray, columns: int, ink: bool, names: list[str] | None = None) -> Figure:
    """Images (n, H, W), or (n, H, W, 3) in colour, in a grid with thin gaps."""
    height, width = images.shape[1:3]
    canvas, gap = tiles(images, columns)
    inches = 0.7 * columns * max(1.0, (width / height) ** 0.5)
    figure = Figure(figsize=(inches, inches * canvas.shape[0] / canvas.shape[1]))
    axes = figure.add_axes((0, 0, 1, 1))
    show(axes, canvas, images, ink, aspect="auto")
    axes.set_axis_off()
    for i, name in enumerate(names or []):
        axes.text(-gap, gap + i * (height + gap) + height / 2, name + " ", ha="right", va="center", fontsize=9)
    return figure


# ---- the latent space -------------------------------------------------------------------------------------------


def write_latent(path: pathlib.Path, codes: np.ndarray, labels: np.ndarray | None) -> None:
    """Codes (N, Z): a histogram for one dimension, points for two, else the first two principal components."""
    figure = Figure(figsize=(5.6, 4.8))
    axes = figure.subplots()
    dimensions = codes.shape[1]
    groups = _groups(labels, len(codes))
    if dimensions == 1:
        colours = [colour for _, _, colour in groups]
        names = [name for name, _, _ in groups]
        axes.hist([codes[rows, 0] for _, rows, _ in groups], 30, stacked=True, color=colours, label=names)
        axes.set_xlabel("$z_1$")
        axes.set_ylabel("examples")
        _legend(axes, len(groups))
    else:
        points, axis_names = codes, ["$z_1$", "$z_2$"]
        if dimensions > 2:
            centred = codes - codes.mean(axis=0)
            _, singular, directions = np.linalg.svd(centred, full_matrices=False)
            points = centred @ directions[:2].T
            shares = singular**2 / max(float((singular**2).sum()), 1e-30)
            axis_names = [f"principal component {i + 1} ({shares[i]:.0%} of the variance)" for i in range(2)]
        if labels is not None and _is_scale(labels):
            marks = axes.scatter(points[:, 0], points[:, 1], c=labels.astype(float), s=8, alpha=0.7, linewidths=0)
            figure.colorbar(marks, label="label")
        else:
            for name, rows, colour in groups:
                axes.scatter(
                    points[rows, 0], points[rows, 1], s=8, alpha=0.7, linewidths=0, color=colour, label=name or None
                )
            _legend(axes, len(groups))
        axes.set_xlabel(axis_names[0])
        axes.set_ylabel(axis_names[1])
    axes.set_title(f"mean of q(z|x), {counted(dimensions, 'dimension')}", fontsize=10)
    save(path, figure)


def _is_scale(labels: np.ndarray) -> bool:
    """True for numbers with too many values for a colour each: a quantity rather than classes."""
    return labels.dtype.kind in "uif" and len(np.unique(labels)) > MOST_CLASSES


def _groups(labels: np.ndarray | None, count: int) -> list[tuple[str, np.ndarray, Any]]:
    """(name, rows, colour) of each class; of more classes than there are colours, the most frequent and the others."""
    if labels is None or _is_scale(labels):
        return [("", np.arange(count), "C0")]
    text = labels.astype(str)
    names, sizes = np.unique(text, return_counts=True)
    if labels.dtype.kind in "biuf":
        names = np.array([str(v) for v in np.unique(labels)])  # 2 before 10
    kept = list(names)
    if len(names) > MOST_CLASSES:
        kept = sorted(np.unique(text)[np.argsort(-sizes, kind="stable")[: MOST_CLASSES - 1]])
    palette = colormaps["tab10" if len(kept) <= 10 else "tab20"](range(20))
    groups: list[tuple[str, np.ndarray, Any]] = [
        (plain_name(name), np.flatnonzero(text == name), palette[i]) for i, name in enumerate(kept)
    ]
    if len(kept) < len(names):
        rest = ~np.isin(text, kept)
        groups.append((f"{len(names) - len(kept)} others", np.flatnonzero(rest), "0.7"))
    return groups


def _legend(axes: Axes, entries: int) -> None:
    if entries > 1:
        axes.legend(
            markerscale=2, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False,
            ncols=1 if entries <= 12 else 2,
        )  # fmt: skip
