"""Scores of rows: those that were held out, those that were trained on, and odd ones."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastvae.evaluation.conformal import threshold
from fastvae.evaluation.drawing import BLUE, GREY, ORANGE, PINK, figure, finished, quiet
from fastvae.evaluation.oddity import auc
from fastvae.models.vae import VAE
from fastvae.pictures.subject import check_model, given_condition

FEWEST_BINS, MOST_BINS = 15, 50
SHOWN = 0.005  # of the rows, the oddest, that may lie so far out that they would hide all others
ALPHA = 0.01

Part = tuple[str, np.ndarray, str, dict[str, Any]]  # what they are, scores (N,), colour, style


def scores(
    model: Any,
    heldout: Any,
    *,
    train: Any = None,
    odd: Any = None,
    alpha: float = ALPHA,
    condition: Any = None,
    train_condition: Any = None,
    odd_condition: Any = None,
    path: Any = None,
) -> Any:
    """How odd rows are: `score_samples` of held-out rows, of rows that were trained on, and of others, with the
    threshold.

    The threshold is conformal: of rows from the source of the held-out ones a share `alpha` at most lies below it, in
    the mean over held-out sets. Training rows that score higher than held-out ones are a sign of overfitting.

    Parameters
    ----------
    model
        A fitted estimator that scores rows: any but a GAN.
    heldout : (N, D)
        Ordinary rows that the model was not trained on.
    train, odd : (M, D), optional
        Rows of the training, and rows that may be odd.
    alpha
        The rate of false alarms.
    condition, train_condition, odd_condition
        Of a conditional model: those of the rows.
    path
        A PNG to write it to as well.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError
        The model gives no scores, or is none.
    ValueError
        `alpha` is no share.
    """
    check_model(model, "scores", "score_samples")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha={alpha!r} must lie between 0 and 1: the rate of false alarms")
    held = _scores(model, heldout, condition)
    parts: list[Part] = [("held-out rows", held, GREY, {"alpha": 0.7})]
    if train is not None:
        own = _scores(model, train, train_condition)
        parts.append(("training rows", own, PINK, {"histtype": "step", "linewidth": 1.3}))
    limit = threshold(held, alpha)
    if odd is not None:
        others = _scores(model, odd, odd_condition)
        found = "" if limit is None else f", {(others < limit).mean():.0%} below"
        found += f", AUC {auc(np.concatenate([held, others]), np.arange(len(held) + len(others)) >= len(held)):.3f}"
        parts.append((f"odd rows{found}", others, BLUE, {"histtype": "step", "linewidth": 1.6}))
    what = "ELBO, nats per row" if isinstance(model, VAE) else "score_samples, nats per row"
    return finished(scores_figure(parts, limit, alpha, what), path)


def _scores(model: Any, X: Any, condition: Any) -> np.ndarray:
    return np.asarray(model.score_samples(X, **given_condition(condition)), np.float64)


def scores_figure(parts: Sequence[Part], limit: float | None, alpha: float, what: str) -> Any:
    """A figure of histograms of scores, in shares, with the threshold."""
    parts = [part for part in parts if len(part[1])]
    every = np.concatenate([values for _, values, *_ in parts])
    finite = every[np.isfinite(every)]
    low, high = (float(np.quantile(finite, SHOWN)), float(finite.max())) if len(finite) else (0.0, 1.0)
    low = max(float(finite.min()), low - (high - low)) if len(finite) else low  # further out: in the first bin
    first = len(parts[0][1]) if parts else 0
    bins = int(np.clip(2 * math.sqrt(first), FEWEST_BINS, MOST_BINS))
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    fig = figure(7.4, 4.2)
    axes = fig.subplots()
    for name, values, colour, style in parts:
        weights = np.full(len(values), 1 / len(values))
        shown = np.clip(values, low, edges[-1])
        axes.hist(shown, edges, weights=weights, label=f"{name} ({len(values):,})", color=colour, **style)
    if limit is not None and math.isfinite(limit):
        axes.axvline(max(limit, low), color=ORANGE, linewidth=1.4, label=f"threshold {limit:.4g}: p = {alpha:g}")
    elif limit is None:
        axes.plot([], [], linestyle="none", label=f"no threshold at p = {alpha:g}: too few held-out rows")
    beyond = int((every < low).sum())
    about = f"; {beyond} further left, in the first bar" if beyond else ""
    axes.set_xlabel(what + about)
    axes.set_ylabel("share of the rows (logarithmic)")
    axes.set_yscale("log")
    axes.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)  # above all bars
    quiet(axes)
    return fig
