"""What all figures of an evaluation share. Needs the `plot` extra when something is drawn."""

import functools
import math
import pathlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastvae.atomic import atomic_file

# of Okabe and Ito, which people see apart whatever colours they see
BLUE, ORANGE, GREEN, PINK, SKY, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "0.6"
COLOURS = BLUE, ORANGE, GREEN, PINK, SKY, "#E69F00", "black"
MARKERS = "o", "s", "^", "D", "v", "P", "X"
LONGEST_NAME, LONGEST_READ = 40, 400  # letters of a name that are shown, and looked at
HINTED = 1.04  # by how much a text that is drawn may be wider than its outlines
FORMULA = "$z_{"  # how names begin that are our own, and drawn as formulas
SMALLEST = 6  # points of the name of a place that has neighbours
LINE = 1 / 1.35  # of the height of a line that its letters take
TAILS = 0.5, 99.5  # percentiles of images beyond which a pixel takes no contrast from the others


def check_available() -> None:
    """Raise `ModuleNotFoundError` without matplotlib."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise ModuleNotFoundError("figures need matplotlib: pip install matplotlib") from None


def figure(width: float, height: float, **layout: Any) -> Any:
    """An empty figure, in inches, which keeps its labels apart, and which a notebook shows.

    Raises
    ------
    ModuleNotFoundError
        Without matplotlib.
    """
    check_available()
    from fastvae.evaluation.shown_figure import ShownFigure

    return ShownFigure(figsize=(width, height), **{"layout": "constrained"} | layout)


def save(path: Any, drawn: Any) -> None:
    """Write a figure as PNG, whole or not at all."""
    from fastvae.evaluation.shown_figure import png

    with atomic_file(pathlib.Path(path)) as file:
        file.write(png(drawn))


def finished(drawn: Any, path: Any) -> Any:
    """A figure, which is also written to `path` where there is one."""
    if path is not None:
        save(path, drawn)
    return drawn


# ---- text --------------------------------------------------------------------------------------------------------


def plain_name(name: object) -> str:
    """A name as it is read, on one line and not too long: no formula, and none that a legend leaves out."""
    text = "".join(c if c.isprintable() else " " for c in str(name))
    text = text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 3] + "..."
    return (" " if text.startswith("_") else "") + text.replace("$", "\\$")


@functools.cache
def width_of(text: str, points: float) -> float:
    """The width of a text in inches, in matplotlib's font."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    if not text.strip():
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fonts without a glyph
        path = TextPath((0, 0), text.replace("\\$", "S").replace("$", ""), size=points, prop=FontProperties())
    return HINTED * float(path.get_extents().x1) / 72


def shortened(name: object, inches: float, points: float) -> str:
    """A name as it is read, not wider than so many inches: its middle left out where it is, as names often differ at
    their ends."""
    text = "".join(c if c.isprintable() else " " for c in str(name))[:LONGEST_READ]
    if width_of(plain_name(text), points) <= inches and len(text) <= LONGEST_NAME:
        return plain_name(text)
    for letters in range(min(len(text) - 1, LONGEST_NAME - 3), 1, -1):
        end = letters // 3
        short = plain_name(f"{text[: letters - end]}...{text[len(text) - end :]}")
        if width_of(short, points) <= inches:
            return short
    return plain_name(text[:2])


def _shared(texts: Sequence[str]) -> int:
    """How many letters they begin with that are the same in all."""
    differ = (i for i, letters in enumerate(zip(*texts, strict=False)) if len(set(letters)) > 1)
    return next(differ, min(len(text) for text in texts))


def shortened_apart(names: Sequence[object], inches: float, points: float) -> list[str]:
    """Names as they are read, not wider than so many inches; of those that would read alike, what they do not share."""
    texts = ["".join(c if c.isprintable() else " " for c in str(name)) for name in names]
    short = [shortened(name, inches, points) for name in texts]
    for alike in {text for text in short if short.count(text) > 1}:
        places = [i for i, text in enumerate(short) if text == alike]
        own = [texts[i] for i in places]
        start = _shared(own)
        end = _shared([text[start:][::-1] for text in own])
        for i, text in zip(places, own, strict=True):
            core = text[start : len(text) - end]
            if len(set(own)) > 1 and core:
                short[i] = shortened(f"{'...' * (start > 0)}{core}{'...' * (end > 0)}", inches, points)
    return short


def name_ticks(axis: Any, places: Any, names: Any, apart: float, points: float = 8, longest: float = 1.5) -> None:
    """Name the places of an axis, which are so many inches apart: smaller where they lie close; upright, below an
    x-axis, where names do not fit side by side; only some of them where not even that does."""
    below, places, names = axis.axis_name == "x", list(places), list(names)
    points = max(min(points, SMALLEST), min(points, LINE * apart * 72))  # smaller, before names are left out
    high = points / LINE / 72
    every = max(1, math.ceil(high / max(apart, 1e-6) - 1e-9))
    places, names = places[::every], names[::every]
    apart_from = shortened_apart(names, longest, points)
    flat = [name if name.startswith(FORMULA) else short for name, short in zip(names, apart_from, strict=True)]
    upright = below and len(names) > 1 and max(width_of(name, points) for name in flat) > 0.92 * apart * every
    axis.set_ticks(places, flat, fontsize=points, rotation=90 if upright else 0)


# ---- axes --------------------------------------------------------------------------------------------------------


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


def limits_of(images: np.ndarray) -> tuple[float, float]:
    """What is black and what is white of images: few odd pixels must not take the contrast from all."""
    values = np.asarray(images, np.float64)
    low, high = (float(value) for value in np.percentile(values[np.isfinite(values)], TAILS))
    return (low, high) if high > low else (low, low + 1.0)


def show(axes: Any, canvas: np.ndarray, limits: tuple[float, float], ink: bool, **style: Any) -> None:
    """Draw what `tiles` made of images: grey, `ink` dark on light, or in colour."""
    low, high = limits
    if canvas.ndim == 2:
        axes.imshow(canvas, cmap="gray_r" if ink else "gray", vmin=low, vmax=high, interpolation="nearest", **style)
        return
    scaled = np.clip((canvas - low) / (high - low), 0.0, 1.0)
    axes.imshow(np.where(np.isnan(scaled), 1.0, scaled), interpolation="nearest", **style)
