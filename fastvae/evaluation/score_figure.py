"""The picture of scores: held-out rows, those of a table, and the threshold. Needs the `plot` extra."""

import math
from typing import Any

import numpy as np

from fastvae.evaluation.drawing import BLUE, GREY, ORANGE, PINK, figure, quiet, save
from fastvae.evaluation.scores import NEW, TRAINED, Scores

FEWEST_BINS, MOST_BINS = 15, 50
SHOWN = 0.005  # of the rows, the oddest, that may lie so far out that they would hide all others


def write_scores(path: Any, scores: Scores, what: str) -> None:
    """Histograms of log p(x) of held-out rows and of the table `what`, in shares, with the threshold."""
    values, held = scores.scores, scores.heldout_scores
    both = values if held is None else np.concatenate([values, held])
    both = both[np.isfinite(both)]
    low, high = float(np.quantile(both, SHOWN)), float(both.max())
    low = max(float(both.min()), low - (high - low))  # what is further out is in the first bin
    bins = int(np.clip(2 * math.sqrt(len(values if held is None else held)), FEWEST_BINS, MOST_BINS))
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    fig = figure(7.4, 4.2)
    axes = fig.subplots()

    def histogram(found: np.ndarray, name: str, colour: str, **style: Any) -> None:
        if len(found):
            weights = np.full(len(found), 1 / len(found))
            axes.hist(
                np.maximum(found, low), edges, weights=weights, label=f"{name} ({len(found):,})", color=colour, **style
            )

    if held is not None:
        histogram(held, "held-out rows", GREY, alpha=0.7)
    histogram(values[scores.role == NEW], what, BLUE, histtype="step", linewidth=1.6)
    histogram(values[scores.role == TRAINED], f"{what}, trained on", PINK, histtype="step", linewidth=1.2)
    limit = scores.threshold
    if limit is not None and math.isfinite(limit):
        axes.axvline(max(limit, low), color=ORANGE, linewidth=1.4, label=f"threshold {limit:.4g}: p = {scores.alpha:g}")
    beyond = int((values < low).sum()) + (0 if held is None else int((held < low).sum()))
    about = f"; {beyond} further left" if beyond else ""
    axes.set_xlabel(f"log p(x){' less the usual' if scores.gaps else ''}, nats{about}")
    axes.set_ylabel("share of the rows")
    axes.set_yscale("log")
    axes.legend(fontsize=8, frameon=False)
    quiet(axes)
    save(path, fig)
