"""Pictures of a model: its history, samples, reconstructions and latent space. Needs the `plot` extra."""

import pathlib
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fastvae.atomic import atomic_file
from fastvae.models.vae import VAE

GRID = 8  # images a side
LARGEST_SCATTER = 5000
MANY_CLASSES = 10


def write_pictures(
    folder: pathlib.Path, model: VAE, X: np.ndarray, labels: np.ndarray | None, unseen: np.ndarray
) -> None:
    """Write history.png, samples.png, reconstructions.png (of `unseen`) and latent.png (of `X`), in user's units."""
    write_history(folder / "history.png", model)
    write_samples(folder / "samples.png", model, model.sample(GRID * GRID, random_state=0))
    shown = unseen[np.linspace(0, len(unseen) - 1, min(10, len(unseen))).astype(int)]
    write_reconstructions(folder / "reconstructions.png", model, shown)
    rows = np.unique(np.linspace(0, len(X) - 1, min(LARGEST_SCATTER, len(X))).astype(int))
    write_latent(folder / "latent.png", model.transform(X[rows]), None if labels is None else labels[rows])


def _save(path: pathlib.Path, figure: Figure) -> None:
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=120, bbox_inches="tight")


def write_history(path: pathlib.Path, model: VAE) -> None:
    """Loss and its parts, and the held-out ELBO, by epoch."""
    history = model.history_
    figure = Figure(figsize=(9, 3.4))
    loss, kl = figure.subplots(1, 2)
    style = {"marker": "o", "markersize": 3} if len(history["epoch"]) <= 30 else {}
    loss.plot(history["epoch"], history["loss"], label="training loss", **style)
    loss.plot(history["epoch"], history["nll"], label="nll, $-\\log p(x|z)$", **style)
    if np.isfinite(history["heldout_elbo"]).any():
        loss.plot(history["epoch"], -history["heldout_elbo"], label="$-$ELBO, held out", **style)
    kl.plot(history["epoch"], history["kl"], color="C3", label="KL$[q(z|x)\\,\\|\\,p(z)]$", **style)
    for axes in (loss, kl):
        axes.set_xlabel("epoch")
        axes.set_ylabel("nats per example")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
    _save(path, figure)


def write_samples(path: pathlib.Path, model: VAE, samples: np.ndarray) -> None:
    """Images side by side; rows of a table as lines over its columns."""
    shape = model.metadata_.get("image_shape")
    if shape:
        columns = min(GRID, len(samples)) if len(samples) <= GRID * GRID else int(np.ceil(len(samples) ** 0.5))
        _save(path, _mosaic(samples.reshape(-1, *shape), columns))
        return
    figure = Figure(figsize=(8, 3.4))
    axes = figure.subplots()
    _lines(axes, _standardised(model, samples), f"{len(samples)} samples", color="C0", alpha=0.3)
    _save(path, figure)


def write_reconstructions(path: pathlib.Path, model: VAE, X: np.ndarray) -> None:
    """Each input above its output: images in two rows, rows of a table as two lines a panel."""
    output = model.reconstruct(X)
    shape = model.metadata_.get("image_shape")
    if shape:
        both = np.concatenate([np.asarray(X, np.float32), output]).reshape(-1, *shape)
        _save(path, _mosaic(both, len(X), ["input", "output"]))
        return
    X, output = X[:6], output[:6]
    figure = Figure(figsize=(9, 1.6 * len(X)))
    for axes, row, result in zip(np.atleast_1d(figure.subplots(len(X), 1, sharex=True)), X, output, strict=True):
        _lines(axes, _standardised(model, row[None]), "input", color="0.2", marker="o", markersize=3)
        _lines(axes, _standardised(model, result[None]), "output", color="C1", marker="o", markersize=3)
        axes.set_xlabel("")
        axes.set_ylabel("")
    figure.axes[0].legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False)
    figure.axes[-1].set_xlabel("column")
    figure.supylabel("value, model units")
    _save(path, figure)


def _standardised(model: VAE, X: np.ndarray) -> np.ndarray:
    """In the model's units: columns of different units share an axis."""
    return (X - model.offset_) / model.scale_


def _lines(axes: Axes, rows: np.ndarray, label: str, **style: Any) -> None:
    axes.plot(np.arange(rows.shape[1]), rows.T, label=[label, *[None] * (len(rows) - 1)], **style)
    axes.set_xlabel("column")
    axes.set_ylabel("value, model units")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _mosaic(images: np.ndarray, columns: int, names: list[str] | None = None) -> Figure:
    """Images (n, H, W) in a grid with thin gaps; where most of an image is empty (0), dark on light, like ink."""
    count, height, width = images.shape
    rows = -(-count // columns)
    gap = max(1, height // 14)
    canvas = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap), np.nan)
    for i, image in enumerate(images):
        y, x = gap + (i // columns) * (height + gap), gap + (i % columns) * (width + gap)
        canvas[y : y + height, x : x + width] = image
    inches = 0.7 * columns
    figure = Figure(figsize=(inches, inches * canvas.shape[0] / canvas.shape[1]))
    axes = figure.add_axes((0, 0, 1, 1))
    drawing = np.median(images) < images.min() + 0.25 * np.ptp(images)
    low, high = np.percentile(images, (0.5, 99.5))  # one odd pixel must not take the contrast from all
    colours = "gray_r" if drawing else "gray"
    axes.imshow(canvas, cmap=colours, vmin=low, vmax=high, interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    for i, name in enumerate(names or []):
        axes.text(-gap, gap + (i + 0.5) * (height + gap), name, ha="right", va="center", rotation=90)
    return figure


def write_latent(path: pathlib.Path, codes: np.ndarray, labels: np.ndarray | None) -> None:
    """Codes (N, Z) in two dimensions: as they are, or the two principal components with the variance they hold."""
    figure = Figure(figsize=(5.6, 4.8))
    axes = figure.subplots()
    dimensions = codes.shape[1]
    if dimensions > 2:
        centred = codes - codes.mean(axis=0)
        _, singular, directions = np.linalg.svd(centred, full_matrices=False)
        points = centred @ directions[:2].T
        shares = singular**2 / max(float((singular**2).sum()), 1e-30)
        names = [f"principal component {i + 1} ({shares[i]:.0%} of the variance)" for i in range(2)]
    elif dimensions == 2:
        points, names = codes, ["$z_1$", "$z_2$"]
    else:
        points, names = np.column_stack([codes[:, 0], np.arange(len(codes))]), ["$z_1$", "example"]
    _scatter(figure, axes, points, labels)
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])
    axes.set_title(f"mean of q(z|x), {dimensions} dimensions", fontsize=10)
    _save(path, figure)


def _scatter(figure: Figure, axes: Axes, points: np.ndarray, labels: np.ndarray | None) -> None:
    x, y = points.T
    if labels is None:
        axes.scatter(x, y, s=6, alpha=0.5, linewidths=0)
        return
    classes = np.unique(labels)
    if len(classes) <= MANY_CLASSES:
        for i, name in enumerate(classes):
            chosen = labels == name
            axes.scatter(x[chosen], y[chosen], s=8, alpha=0.7, linewidths=0, color=f"C{i}", label=str(name))
        axes.legend(markerscale=2, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    else:
        values = labels if labels.dtype.kind in "buif" else np.searchsorted(classes, labels)
        figure.colorbar(axes.scatter(x, y, c=values, s=8, alpha=0.7, linewidths=0), label="label")
