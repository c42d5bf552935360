"""Figures as files, and names as they are read in them. Needs the `plot` extra."""

import pathlib
import warnings

from matplotlib import rc_context
from matplotlib.figure import Figure

from fastvae.atomic import atomic_file

LONGEST_NAME = 40  # letters that are shown of it


def plain_name(name: object) -> str:
    """A name as it is read, on one line and not too long: no formula, and none that a legend leaves out."""
    text = "".join(c if c.isprintable() else " " for c in str(name))
    text = text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 3] + "..."
    return (" " if text.startswith("_") else "") + text.replace("$", "\\$")


def save(path: pathlib.Path, figure: Figure) -> None:
    """Write a figure as a PNG, whole or not at all."""
    with warnings.catch_warnings(), rc_context({"text.usetex": False}), atomic_file(path) as file:
        warnings.simplefilter("ignore")  # of fonts without a glyph, and of layouts
        figure.savefig(file, format="png", dpi=120, bbox_inches="tight")
