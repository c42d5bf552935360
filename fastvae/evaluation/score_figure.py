"""The picture of scores of a table: held-out rows, those of the table, and the threshold. Needs the `plot` extra."""

from typing import Any

from fastvae.evaluation.drawing import BLUE, GREY, PINK, save
from fastvae.evaluation.scores import NEW, TRAINED, Scores
from fastvae.pictures.scores import Part, scores_figure


def write_scores(path: Any, scores: Scores, what: str) -> None:
    """Histograms of log p(x) of held-out rows and of the table `what`, in shares, with the threshold."""
    parts: list[Part] = []
    if scores.heldout_scores is not None:
        parts.append(("held-out rows", scores.heldout_scores, GREY, {"alpha": 0.7}))
    of = {role: scores.scores[scores.role == role] for role in (NEW, TRAINED)}
    parts.append((what, of[NEW], BLUE, {"histtype": "step", "linewidth": 1.6}))
    parts.append((f"{what}, trained on", of[TRAINED], PINK, {"histtype": "step", "linewidth": 1.2}))
    unit = f"log p(x){' less the usual' if scores.gaps else ''}, nats"
    save(path, scores_figure(parts, scores.threshold, scores.alpha, unit))
