"""Odd rows with a rate of false alarms: split conformal p-values, from scores of rows that a model was not trained on.

    p(s) = (1 + #{i: h_i <= s}) / (n + 1)

for a score s (low is odd) and those h of n held-out rows. Where a row and the held-out rows come from one source, in
whatever order, P(p <= alpha) <= alpha, whatever the model and the distribution: s is then as likely to have any place
among the n + 1 scores. Scores that are the same count as lower, so that ties make alarms rarer, and never more.
Vovk, Gammerman and Shafer 2005; Bates et al. 2023.

A row that is itself held out is compared with the other n - 1.
"""

import math
from typing import Any

import numpy as np

ROUNDING = 1e-9  # of alpha (n + 1), which may be meant to be a whole number


def p_values(scores: Any, heldout: Any, among: Any = False) -> np.ndarray:
    """p of each score (N,), float64, by the scores of held-out rows (n,).

    Parameters
    ----------
    scores, heldout
        Any real numbers but NaN; the lower, the odder.
    among : bool, or (N,) of bool
        Which scores are those of held-out rows: they do not count for themselves.
    """
    scores, known = np.asarray(scores, np.float64), np.sort(np.asarray(heldout, np.float64))
    own = np.broadcast_to(np.asarray(among, bool), scores.shape)
    lower = np.maximum(np.searchsorted(known, scores, side="right"), own)  # of a score that was estimated twice, too
    return (1 + lower - own) / (len(known) + 1 - own)


def fewest(alpha: float) -> int:
    """How many held-out rows it takes for p to be able to be as small as alpha: n >= 1 / alpha - 1."""
    return max(1, math.ceil(1 / alpha - 1 - ROUNDING))


def threshold(heldout: Any, alpha: float) -> float | None:
    """The score below which p <= alpha, of rows that are not held out; None where no score would be low enough: there
    are fewer than `fewest(alpha)` held-out rows."""
    known = np.sort(np.asarray(heldout, np.float64))
    place = math.floor(alpha * (len(known) + 1) + ROUNDING) - 1  # held-out scores that may lie below a flagged one
    if place < 0:
        return None
    return float(known[place]) if place < len(known) else math.inf


def flagged(p: np.ndarray, alpha: float) -> np.ndarray:
    """Which p-values call a row odd: (N,) bool."""
    return p <= alpha + ROUNDING
