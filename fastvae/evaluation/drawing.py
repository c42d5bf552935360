"""What all figures of an evaluation share. Needs the `plot` extra when something is drawn."""

import pathlib
import warnings
from typing import Any

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
