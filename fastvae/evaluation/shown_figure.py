"""A figure that a notebook shows without anybody having imported pyplot. Imports matplotlib."""

import io
import warnings

from matplotlib import rc_context
from matplotlib.figure import Figure

DOTS = 120  # an inch


def png(figure: Figure) -> bytes:
    """A figure as PNG."""
    stream = io.BytesIO()
    with warnings.catch_warnings(), rc_context({"text.usetex": False}):
        warnings.simplefilter("ignore")  # of fonts without a glyph, and of layouts
        figure.savefig(stream, format="png", dpi=DOTS, bbox_inches="tight")
    return stream.getvalue()


class ShownFigure(Figure):
    """A figure of matplotlib that is its own picture in a notebook."""

    def _repr_png_(self) -> bytes:
        return png(self)
