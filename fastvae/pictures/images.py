"""Images of a model in a grid."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastvae.evaluation.drawing import figure, limits_of, name_ticks, show, tiles, width_of

TILE = 0.62  # inches of an image, about
SHORTEST = 0.2  # inches of a row that has a name
WIDEST, TALLEST = 16.0, 40.0  # inches of a grid
LONGEST = 2.2  # inches of a name
POINTS = 9.0
RULE = "#D55E00"


def grid_of_images(
    images: np.ndarray,
    columns: int,
    ink: bool,
    limits: tuple[float, float] | None = None,
    rows: Sequence[str] = (),
    below: Sequence[str] = (),
    title: str = "",
    labels: tuple[str, str] = ("", ""),
    above: int = 0,
    left: int = 0,
) -> Any:
    """A figure of images (n, H, W), or (n, H, W, 3) in colour, in so many columns.

    Parameters
    ----------
    limits
        What is black and what is white; None: by the images.
    rows, below
        What stands beside each row, and below each column.
    labels
        Of the axes below and beside.
    above
        Rows above a line, data above what a model makes; 0: no line.
    left
        Columns left of a line, the same.
    """
    height, width = images.shape[1:3]
    canvas, gap = tiles(images, columns)
    tall, wide = canvas.shape[:2]
    inches = TILE * columns * max(1.0, (width / height) ** 0.5)
    if rows:
        inches = max(inches, SHORTEST * wide / (height + gap))
    inches = min(inches, WIDEST, TALLEST * wide / tall)
    side = max([0.0, *[width_of(name, POINTS) for name in rows]])
    fig = figure(
        inches + min(side, LONGEST) + 0.3 + 0.25 * bool(labels[1]),
        inches * tall / wide + 0.2 + 0.3 * bool(title) + 0.3 * bool(below) + 0.25 * bool(labels[0]),
    )
    axes = fig.subplots()
    show(axes, canvas, limits_of(images) if limits is None else limits, ink)
    name_ticks(axes.yaxis, [gap + i * (height + gap) + (height - 1) / 2 for i in range(len(rows))], rows,
               inches * (height + gap) / wide, POINTS, LONGEST)  # fmt: skip
    name_ticks(axes.xaxis, [gap + j * (width + gap) + (width - 1) / 2 for j in range(len(below))], below,
               inches * (width + gap) / wide, POINTS)  # fmt: skip
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if above:
        axes.axhline(gap / 2 + above * (height + gap) - 0.5, color=RULE, linewidth=1.5)
    if left:
        axes.axvline(gap / 2 + left * (width + gap) - 0.5, color=RULE, linewidth=1.5)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    if title:
        fig.suptitle(title, fontsize=10)
    return fig
