"""The page that a run leaves in its folder."""

import pathlib
from typing import Any

import numpy as np

from fastvae.data.dataset import DataSet
from fastvae.data.preparation import Split
from fastvae.page.build import write_page

NAME = "report.html"


def write_run_page(folder: pathlib.Path, model: Any, data: DataSet, rows: Split, beside: dict[str, float]) -> list[str]:
    """Write report.html with the rows that were held out, or else those of the training; return a line where there is
    none, and why: the model is worth more than a page."""
    labels, places = rows.labels, rows.places
    X, condition = rows.X, rows.condition
    if rows.held_out is not None:
        X, condition, places = rows.held_out, rows.condition_held_out, rows.places_held_out
        labels = data.labels_heldout
        if places is not None:
            labels = None if data.labels is None else data.labels[places]
    if places is None or isinstance(places, slice):
        places = np.arange(len(X))
    try:
        write_page(folder / NAME, model, X, labels, condition, places, beside)
    except Exception as error:
        return [f"no {NAME}: {' '.join(str(error).split())}"]
    return []
