"""A classifier two-sample test: whoever can tell samples from real data has found what is wrong with them.

Samples and real rows make pairs at random; in how many does the sample have the higher score of a classifier that has
not seen the pair? That is the area under the ROC curve. Where samples are as real data are, either row of a pair has
the higher score with probability 1/2, whatever else was seen.

The pairs are cut into five folds, and each from the second on is judged by a classifier trained on *those before it*.
So the number of pairs told apart is binomial(pairs, 1/2), exactly. It is not with the usual cross-validation: there
each pair trains the judges of the pairs of other folds, and is judged by what those trained, so the outcomes are
correlated, and a binomial test raises too many false alarms (Noirhomme et al. 2014).

The classifier is least squares with ridge on each column, standardised, and its square: means and variances of all
columns and what is linear in them. The penalty is the one, of four, by which most of the pairs before were told apart.
"""

import math
from typing import Any

import numpy as np

from fastvae.evaluation.quality.measure import Measure
from fastvae.evaluation.quality.rows import about, blocks, checked, origin

FOLDS = 5
PENALTIES = (10.0, 1.0, 0.1, 0.01)  # times the rows; the first where all are as good
WIDEST = 1024  # columns: of more, as many random projections
FLOOR, CLIP = 1e-3, 10.0  # deviations below that share of the largest count as that; in deviations


def classifier_test(samples: Any, real: Any, *, seed: int = 0) -> Measure:
    """The share of pairs of a sample (N, D) and a real row (M, D) that a classifier tells apart, min(N, M) pairs.

    Returns
    -------
    Measure
        With the exact binomial p-value that it is above 1/2, and its binomial standard error. `details`: "pairs", those
        judged; "told apart"; "folds", the share in each.

    Raises
    ------
    ValueError, TypeError
        Fewer than ten rows, other columns, NaN.
    """
    fewest, why = 2 * FOLDS, f", two for each of {FOLDS} folds"
    x = checked(samples, "samples", fewest=fewest, why=why)
    y = checked(real, "real", ("samples", x), fewest=fewest, why=why)
    rng, pairs = np.random.default_rng([seed, 5]), min(len(x), len(y))
    chosen = [rng.permutation(len(a))[:pairs] for a in (x, y)]
    features = _Features(x[chosen[0]], y[chosen[1]], rng)
    judged, right, shares = 0, 0, []
    G, b = np.zeros((features.count, features.count)), np.zeros(features.count)
    seen, scored = 0, np.zeros(len(PENALTIES), int)
    for fold in np.array_split(np.arange(pairs), FOLDS):
        a, c = features(x[chosen[0][fold]]), features(y[chosen[1][fold]])
        if seen:
            higher = np.array([_higher((a - c) @ w, rng) for w in _solutions(G, b, 2 * seen)])
            best = int(scored.argmax())
            right += int(higher[best])
            judged += len(fold)
            shares.append(float(higher[best]) / len(fold))
            scored += higher
        for rows in (a, c):
            G += rows.T @ rows
        b += a.sum(axis=0, dtype=np.float64) - c.sum(axis=0, dtype=np.float64)
        seen += len(fold)
    share = right / judged
    return Measure(
        "classifier", share, math.sqrt(share * (1 - share) / judged) or 0.5 / math.sqrt(judged),
        binomial_tail(right, judged), {"samples": pairs, "real": pairs},
        "more pairs of a sample and a real row are told apart; 0.5 for equal distributions",
        details={"pairs": judged, "told apart": right, "folds": shares},
    )  # fmt: skip


def binomial_tail(successes: int, trials: int) -> float:
    """P(X >= successes), X binomial(trials, 1/2): exact, as a sum of whole numbers."""
    if successes <= 0:
        return 1.0
    if 2 * successes <= trials:
        return 1.0 - binomial_tail(trials - successes + 1, trials)
    term = math.comb(trials, successes)
    total = 0
    for k in range(successes, trials + 1):
        total += term
        term = term * (trials - k) // (k + 1)
    return float(total / (1 << trials)) if trials < 1000 else _ratio(total, trials)


def _ratio(total: int, trials: int) -> float:
    """total / 2^trials, which no float need hold; the least positive float where it is less."""
    shift = max(0, total.bit_length() - 64)
    return max(math.ldexp(float(total >> shift), shift - trials), math.ulp(0.0))


def _higher(scores: np.ndarray, rng: np.random.Generator) -> int:
    """How many are above 0; of those that are 0, which no rule can tell, each by chance."""
    return int((scores > 0).sum()) + int(rng.binomial(int((scores == 0).sum()), 0.5))


def _solutions(G: np.ndarray, b: np.ndarray, rows: int) -> list[np.ndarray]:
    """Least squares with each penalty, (F,) float32."""
    found = []
    for penalty in PENALTIES:
        A = G.copy()
        A.flat[:: len(A) + 1] += penalty * rows
        found.append(np.linalg.solve(A, b).astype(np.float32))
    return found


class _Features:
    """Each column less its mean over all pairs, by its deviation, and the square of that. What it learns it learns of
    both rows of each pair alike: it tells nothing of who is who."""

    def __init__(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> None:
        self._centre, columns = origin(x, y), x.shape[1]
        self._directions = None
        if columns > WIDEST:
            self._directions = rng.standard_normal((columns, WIDEST), np.float32) / np.float32(math.sqrt(columns))
            columns = WIDEST
        self._mean, self._scale = np.zeros(columns), np.ones(columns)
        sums, products = np.zeros(columns), np.zeros(columns)
        for a in (x, y):
            for block in blocks(len(a)):
                rows = self._columns(a[block])
                sums += rows.sum(axis=0)
                products += np.square(rows).sum(axis=0)
        mean = sums / (len(x) + len(y))
        deviation = np.sqrt(np.maximum(products / (len(x) + len(y)) - mean**2, 0.0))
        self._mean = mean
        self._scale = 1.0 / np.maximum(deviation, (FLOOR * deviation.max()) or 1.0)
        self.count = 2 * columns

    def _columns(self, X: np.ndarray) -> np.ndarray:
        rows = about(X, self._centre)
        return rows if self._directions is None else rows @ self._directions

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """(n, 2 D) float32."""
        out = np.empty((len(X), self.count), np.float32)
        for block in blocks(len(X)):
            rows = np.clip((self._columns(X[block]) - self._mean) * self._scale, -CLIP, CLIP)
            out[block, : self.count // 2] = rows
            out[block, self.count // 2 :] = np.square(rows) - 1.0
        return out
