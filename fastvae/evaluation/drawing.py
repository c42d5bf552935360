"""What all figures of an evaluation share. Needs the `plot` extra when something is drawn."""

import pathlib
import warnings
from typing import Any

import numpy as np

from fastvae.atomic import atomic_file

# of Okabe and Ito, which people see apart whatever colours they see
BLUE, ORANGE, GREEN, PINK, SKY, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "0.6"
COLOURS = BLUE, ORANGE, GREEN, PINK, SKY, "#E69F00", "black"
MARKERS = "o", "s", "^", "D", "v", "P", "X"


def figure(width: float, height: float, **layout: Any) -> Any:
    """An empty figure, in inches, which keeps its labels apart.

    Raises
    ------
    ModuleNotFoundError
        Without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ModuleNotFoundError("figures need matplotlib: pip install matplotlib") from None
    return Figure(figsize=(width, height), layout="constrained", **layout)


def save(path: Any, drawn: Any) -> None:
    """Write a figure as PNG, whole or not at all."""
    from matplotlib import rc_context

    with warnings.catch_warnings(), rc_context({"text.usetex": False}), atomic_file(pathlib.Path(path)) as file:
        warnings.simplefilter("ignore")  # of fonts without a glyph, and of layouts
        drawn.savefig(file, format="png", dpi=120, bbox_inches="tight")


def quiet(axes: Any) -> None:
    """Axes without a frame above and on the right, and with a light grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)


def tiles(images: np.ndarray, columns: int) -> tuple[np.ndarray, int]:
    """Images (n, H, W), or (n, H, W, 3) in colour, side by side in so many columns, as one image, and how wide the gaps
    between are, which are NaN."""
    count, height, width = images.shape[:3]
    rows = -(-count // columns)
    gap = max(1, min(height, width) // 14)
    shape = (rows * (height + gap) + gap, columns * (width + gap) + gap, *images.shape[3:])
    canvas = np.full(shape, np.nan)
    for i, image in enumerate(images):
        y, x = gap + (i // columns) * (height + gap), gap + (i % columns) * (width + gap)
        canvas[y : y + height, x : x + width] = image
    return canvas, gap


def show(axes: Any, canvas: np.ndarray, images: np.ndarray, ink: bool, **style: Any) -> None:
    """Draw what `tiles` made of images: grey, `ink` dark on light, or in colour. One odd pixel must not take the
    contrast from all."""
    low, high = (float(value) for value in np.percentile(images, (0.5, 99.5)))
    if canvas.ndim == 2:
        axes.imshow(canvas, cmap="gray_r" if ink else "gray", vmin=low, vmax=high, interpolation="nearest", **style)
        return
    scaled = np.clip((canvas - low) / ((high - low) or 1.0), 0.0, 1.0)
    axes.imshow(np.where(np.isnan(scaled), 1.0, scaled), interpolation="nearest", **style)
