"""Rows of a table by how odd they are: their ranking, what made them so, and which are flagged."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from fastvae.errors import counted
from fastvae.evaluation.conformal import fewest, flagged, p_values, threshold
from fastvae.evaluation.contributions import Contributions
from fastvae.evaluation.oddity import auc, rank_correlation

NEW, TRAINED, HELD_OUT = "new", "trained on", "held out"
CODE = "code"
RELATIVE = "relative_log_p"
RESULTS = ("log_p", RELATIVE, "p_value", "flagged", "status")  # columns of the ranked table, beside "rank" and "row"
SHOWN_ROWS, SHOWN_TERMS = 10, 2
LONGEST = 24  # characters of a name in the table that is printed


@dataclass(frozen=True)
class Scores:
    """What was found of the rows of a table.

    Attributes
    ----------
    found
        log p(x) of each row, and its contributions.
    names
        Of the columns that contribute.
    role : (N,) array of str
        Whether a row was trained on, was held out of the training, or is new.
    heldout
        The same of held-out rows, from which the p-values are; None where none are known. Those that are among the
        table's rows are there too.
    alpha
        The rate of false alarms that was asked for.
    ids, id_name
        Names of the rows, where they have some.
    beside
        Name to scores (N,) of rivals.
    anomalies : (N,) bool or None
        Rows that are known to be odd.
    remarks
        What the numbers depend on, a line each.
    """

    found: Contributions
    names: tuple[str, ...]
    role: np.ndarray
    heldout: Contributions | None
    alpha: float
    ids: np.ndarray | None = None
    id_name: str | None = None
    beside: dict[str, np.ndarray] = field(default_factory=dict)
    anomalies: np.ndarray | None = None
    remarks: tuple[str, ...] = ()

    @cached_property
    def gaps(self) -> bool:
        """Whether values are missing, of these rows or of the held-out ones: rows then have log p(x) of other columns,
        and are compared by what is usual for the columns that they have."""
        return bool(self.found.missing.any() or (self.heldout is not None and self.heldout.missing.any()))

    @cached_property
    def scores(self) -> np.ndarray:
        """What the rows are ranked by (N,), low ones are odd: log p(x), or, where there are gaps, how far it is from
        what is usual, the sum of `apart`."""
        return self._scores(self.found)

    @cached_property
    def heldout_scores(self) -> np.ndarray | None:
        """The same of the held-out rows."""
        return None if self.heldout is None else self._scores(self.heldout)

    def _scores(self, found: Contributions) -> np.ndarray:
        if not self.gaps:
            return found.values
        return np.where(np.isneginf(found.values), -np.inf, self._apart(found).sum(axis=1))

    @cached_property
    def order(self) -> np.ndarray:
        """Places of the rows, the oddest first."""
        return np.argsort(self.scores, kind="stable")

    @cached_property
    def p(self) -> np.ndarray | None:
        """Conformal p-values (N,); None without held-out rows."""
        if self.heldout_scores is None:
            return None
        return p_values(self.scores, self.heldout_scores, self.role == HELD_OUT)

    @cached_property
    def threshold(self) -> float | None:
        """The score below which a new row is flagged; None where none can be had."""
        return None if self.heldout_scores is None else threshold(self.heldout_scores, self.alpha)

    @cached_property
    def flagged(self) -> np.ndarray:
        """(N,) bool."""
        p = self.p
        return np.zeros(len(self.found), bool) if p is None or self.threshold is None else flagged(p, self.alpha)

    @cached_property
    def usual(self) -> np.ndarray:
        """Mean contributions (C + 1,), of the columns where they are there and last of the code, over the held-out
        rows, or over the table where there are none."""
        known = self.found if self.heldout is None else self.heldout
        some = np.isfinite(known.values)
        there, terms = ~_missing(known)[some], _terms(known)[some]
        return np.where(there, terms, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)

    @cached_property
    def apart(self) -> np.ndarray:
        """Contributions of each row, of the columns and last of the code (N, C + 1), less what is `usual`; 0 of a value
        that is missing. Without gaps they add up to how far log p(x) is from its mean there."""
        return self._apart(self.found)

    def _apart(self, found: Contributions) -> np.ndarray:
        return np.where(_missing(found), 0.0, _terms(found) - self.usual)

    # ---- files --------------------------------------------------------------------------------------------------

    def columns(self) -> dict[str, np.ndarray]:
        """The ranked table, the oddest row first."""
        order, p = self.order, self.p
        out: dict[str, np.ndarray] = {"rank": np.arange(1, len(order) + 1), "row": order + 1}
        if self.ids is not None:
            out[f"{self.id_name} (id)" if self.id_name in (*out, *RESULTS) else str(self.id_name)] = self.ids[order]
        out["log_p"] = self.found.values[order]
        if self.gaps:
            out[RELATIVE] = self.scores[order]
        if p is not None:
            out["p_value"] = p[order]
            out["flagged"] = _words(self.flagged[order])
        out["status"] = self.role[order]
        apart = self.apart[order]
        for j, name in enumerate((*self.names, CODE)):
            out[f"nats from {name}"] = apart[:, j]
        for name, scores in self.beside.items():
            out[name] = scores[order]
        return out

    def figures(self) -> dict[str, Any]:
        """What JSON holds."""
        p, limit = self.p, self.threshold
        return {
            "method": self.found.method,
            "samples": self.found.n_samples,
            "rows": len(self.found),
            "seconds": self.found.seconds,
            "mean_log_p": _finite(self.found.mean),
            "heldout_rows": None if self.heldout is None else len(self.heldout),
            "heldout_mean_log_p": None if self.heldout is None else _finite(self.heldout.mean),
            "false_alarms": self.alpha,
            "threshold": None if limit is None else _finite(limit),
            "flagged": int(self.flagged.sum()),
            "rows_of": {kind: int((self.role == kind).sum()) for kind in (NEW, HELD_OUT, TRAINED)},
            "beside": self.agreement(),
            "remarks": list(self.remarks),
            "oddest": [
                {
                    "row": int(i) + 1,
                    "id": None if self.ids is None else str(self.ids[i]),
                    "log_p": _finite(self.found.values[i]),
                    RELATIVE: _finite(self.scores[i]) if self.gaps else None,
                    "p_value": None if p is None else float(p[i]),
                    "flagged": bool(self.flagged[i]),
                    "contributions": {n: _finite(v) for n, v in zip((*self.names, CODE), self.apart[i], strict=True)},
                }
                for i in self.order[:SHOWN_ROWS]
            ],
        }

    def agreement(self) -> dict[str, dict[str, float | None]]:
        """Of the model and each rival: the rank correlation with the model's scores, and the area under the curve where
        anomalies are known."""
        out: dict[str, dict[str, float | None]] = {}
        for name, scores in ({"the model": self.scores} | self.beside).items():
            found = {"rank_correlation": rank_correlation(self.scores, scores)}
            if self.anomalies is not None:
                found["auc"] = auc(scores, self.anomalies)
            out[name] = {key: _finite(value) for key, value in found.items()}
        return out

    # ---- in words -----------------------------------------------------------------------------------------------

    def lines(self) -> list[str]:
        """The short table that is printed."""
        what = "importance sampling" if self.found.method == "importance" else "ELBO, a lower bound"
        points = "samples of z" if self.found.method == "importance" else "fixed points"
        lines = [
            f"log p(x): {what}, {self.found.n_samples:,} {points} for each of {counted(len(self.found), 'row')}, "
            f"{self.found.seconds:.1f} s"
        ]
        return [*lines, *self._about_threshold(), "", *self._oddest(), *self._beside(), *self._remarks()]

    def _about_threshold(self) -> list[str]:
        if self.heldout is None:
            return ["no threshold: no rows are known that the model was not trained on"]
        count, rows = len(self.heldout), counted(len(self.heldout), "held-out row")
        limit = self.threshold
        if limit is None:
            return [
                f"no threshold: false alarms of {self.alpha:g} take {fewest(self.alpha):,} held-out rows, there are "
                f"{count:,}; the least that can be asked for is {1 / (count + 1):.4g} (--false-alarms); a training "
                "with --heldout 0.3, say, keeps more rows back, and --heldout TABLE names others"
            ]
        of = "log p(x) less the usual" if self.gaps else "log p(x)"
        lines = [
            f"flagged: {self.flagged.sum():,}, where p <= {self.alpha:g}, of new rows {of} < {limit:.4g}; "
            f"p-values from {rows}: of new rows from their source at most {self.alpha:.3%} are flagged in the mean"
        ]
        return [line.replace(".000%", "%") for line in lines]

    def _oddest(self) -> list[str]:
        p, apart, flags = self.p, self.apart, self.flagged
        names = [name if len(name) <= LONGEST else name[: LONGEST - 3] + "..." for name in (*self.names, CODE)]
        head = ["row", *([] if self.ids is None else [str(self.id_name)]), "log p(x)"]
        head += (["less usual"] if self.gaps else []) + ([] if p is None else ["p"])
        rows = [[*head, "status", "nats below what is usual, the most"]]
        for i in self.order[:SHOWN_ROWS]:
            largest = np.argsort(apart[i], kind="stable")[:SHOWN_TERMS]
            cells = [f"{i + 1}", *([] if self.ids is None else [str(self.ids[i])[:LONGEST]])]
            cells += [f"{self.found.values[i]:.2f}", *([f"{self.scores[i]:.2f}"] if self.gaps else [])]
            cells += [] if p is None else [f"{p[i]:.4g}{'*' if flags[i] else ' '}"]
            shown = [f"{names[j]} {apart[i, j]:+.2f}" for j in largest if not math.isnan(apart[i, j])]
            rows.append([*cells, str(self.role[i]), ", ".join(shown)])
        widths = [max(len(row[j]) for row in rows) for j in range(len(rows[0]))]
        return [
            "  ".join(
                cell.ljust(width) if j >= len(row) - 2 else cell.rjust(width)
                for j, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]

    def _beside(self) -> list[str]:
        if not self.beside:
            return []
        lines, width = ["", "beside it"], max(map(len, (*self.beside, "the model")))
        for name, found in self.agreement().items():
            parts = [] if name == "the model" else [f"rank correlation {_shown(found['rank_correlation'])}"]
            parts += [f"AUC {_shown(found['auc'])}"] if "auc" in found else []
            if parts:
                lines.append(f"  {name:<{width}}  {', '.join(parts)}")
        return lines

    def _remarks(self) -> list[str]:
        return ["", *self.remarks] if self.remarks else []


def _terms(found: Contributions) -> np.ndarray:
    return np.column_stack([found.columns, found.code])


def _missing(found: Contributions) -> np.ndarray:
    """Which terms (N, C + 1) are not there: never the code."""
    return np.column_stack([found.missing, np.zeros(len(found), bool)])


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None


def _words(values: np.ndarray) -> np.ndarray:
    return np.where(values, "yes", "no")


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
