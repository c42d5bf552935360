"""Whether samples are copies of what the model was trained on.

Each sample's distance to its nearest training row stands against that of held-out rows: distances that are exact, also
of near copies. Three figures, of which the last two are robust to what else may be wrong with the samples:

- how often a sample is nearer to the training rows than a held-out row is, 1/2 where nothing was learned by heart (the
  rank test of Mann and Whitney, as Meehan, Chaudhuri and Dasgupta 2020 use it). Blurred samples are nearer, too.
- the share of samples that are nearer than all but 1% of the held-out rows.
- the same of the ratio of the distance to the nearest row to that to the second nearest: small for a copy alone,
  however blurred the samples are; but not for a copy of rows of which the training data have several.

A few copies among many samples do not show in the first. The test of the other two looks at the smallest 2% of samples
and held-out rows together alone, q of them, whose ranks R it weighs by log((q + 1/2) / R) and sums over the samples
(Savage's scores, cut off), against the same of permuted labels: exact, and not as coarse as a number of rows.
"""

import math
from typing import Any

import numpy as np

from fastvae.evaluation.quality.measure import Measure
from fastvae.evaluation.quality.neighbours import nearest
from fastvae.evaluation.quality.rows import checked

QUANTILE, TAIL = 0.01, 0.02  # of held-out rows that are nearer than a copy is called one; of all that are looked at
FEWEST_TAIL = 8


def memorisation(samples: Any, held_out: Any, train: Any, *, permutations: int = 1000, seed: int = 0) -> list[Measure]:
    """Of samples (N, D) and held-out rows (M, D), how near they are to training rows (T, D).

    Returns
    -------
    list of three Measure
        "nearer to training rows", "copies by distance", "copies by ratio"; the first with the p-value of its normal
        approximation with ties, the others with that of permutations: (1 + as large) / (1 + permutations). `details` of
        the last two: "threshold"; "rows", the samples below it, the nearest first, a hundred at most.

    Raises
    ------
    ValueError, TypeError
        Fewer than two rows, other columns, NaN.
    """
    x = checked(samples, "samples")
    y = checked(held_out, "held_out", ("samples", x))
    t = checked(train, "train", ("samples", x), why=": the nearest and the second nearest")
    return compared(nearest(x, t, 2), nearest(y, t, 2), len(t), permutations=permutations, seed=seed)


def compared(
    of_samples: np.ndarray, of_held_out: np.ndarray, train: int, *, permutations: int, seed: int
) -> list[Measure]:
    """The same from the distances to the two nearest of `train` rows, (N, 2) and (M, 2), rising."""
    n, m = len(of_samples), len(of_held_out)
    sizes = {"samples": n, "real": m, "train": train}
    share, error, p_value = nearer(of_samples[:, 0], of_held_out[:, 0])
    found = [
        Measure(
            "nearer to training rows",
            share,
            error,
            p_value,
            sizes,
            "samples lie nearer than real data; 0.5 without copies",
        )
    ]
    for name, values in (("distance", lambda d: d[:, 0]), ("ratio", ratio)):
        a, b = values(of_samples), values(of_held_out)
        threshold = float(np.sort(b)[max(0, math.floor(QUANTILE * m) - 1)])
        below = np.flatnonzero(a < threshold)
        copies = len(below) / n
        found.append(
            Measure(
                f"copies by {name}", copies, math.sqrt(max(copies * (1 - copies), QUANTILE * (1 - QUANTILE)) / n),
                tail_test(a, b, permutations, np.random.default_rng([seed, 2])), sizes,
                f"more samples are copies of training rows; real data: about {QUANTILE:g}",
                details={"threshold": threshold, "rows": below[np.argsort(a[below], kind="stable")][:100].tolist()},
            )
        )  # fmt: skip
    return found


def ratio(distances: np.ndarray) -> np.ndarray:
    """Of the nearest to the second nearest, (N,); 1 where both are 0."""
    second = distances[:, 1]
    return np.where(second > 0, distances[:, 0] / np.where(second > 0, second, 1.0), 1.0)


def ranks(values: np.ndarray) -> np.ndarray:
    """1 for the smallest; equal ones have the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def nearer(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """P(a < b) + P(a = b) / 2 of one from each; its standard error (DeLong et al. 1988); the one-sided p-value of Mann
    and Whitney that it is above 1/2, by the normal approximation with ties and with a correction for continuity."""
    n, m = len(a), len(b)
    of_all = ranks(np.concatenate([a, b]))
    above = (m + n + 1 - of_all[:n] - (n + 1 - ranks(a))) / m  # of each of a: the share of b that is larger
    below = (of_all[n:] - ranks(b)) / n
    share = float(above.mean())
    error = math.sqrt(above.var(ddof=1) / n + below.var(ddof=1) / m)
    _, counts = np.unique(of_all, return_counts=True)
    ties = float((counts.astype(np.float64) ** 3 - counts).sum()) / ((n + m) * (n + m - 1))
    deviation = math.sqrt(n * m / 12 * (n + m + 1 - ties))
    z = (share * n * m - n * m / 2 - 0.5) / deviation if deviation > 0 else 0.0
    return share, error, 0.5 * math.erfc(z / math.sqrt(2))


def tail_test(a: np.ndarray, b: np.ndarray, permutations: int, rng: np.random.Generator) -> float | None:
    """The p-value of more of a among the smallest of both; None without permutations."""
    if not permutations:
        return None
    count = len(a) + len(b)
    tail = min(count, max(FEWEST_TAIL, math.ceil(TAIL * count)))
    of_all = ranks(np.concatenate([a, b]))
    scores = np.maximum(np.log((tail + 0.5) / of_all), 0.0)
    observed = scores[: len(a)].sum()
    scores = scores[scores > 0]
    # how many of the tail fall to a is hypergeometric, and which of it is chance
    numbers = rng.hypergeometric(len(scores), count - len(scores), len(a), size=permutations)
    as_large = 0
    for number in numbers:
        as_large += rng.permutation(scores)[:number].sum() >= observed * (1 - 1e-12)
    return (1 + int(as_large)) / (1 + permutations)
