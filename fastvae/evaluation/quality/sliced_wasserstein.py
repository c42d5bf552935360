"""The sliced Wasserstein distance: the mean over directions of the distance of what is seen along them.

    SW_2^2 = E_u int_0^1 (F_u^-1(t) - G_u^-1(t))^2 dt

u uniform on the sphere, F_u and G_u the distributions of u.x and u.y (Bonneel et al. 2015). In one dimension the best
transport pairs what is sorted, exactly, also where the numbers of rows differ. It is in the units of the data, and
above 0 for equal distributions: by what, real data show.
"""

import math
from typing import Any

import numpy as np

from fastvae.evaluation.quality.measure import Measure
from fastvae.evaluation.quality.rows import about, blocks, checked, origin

AT_ONCE = 32  # directions


def sliced_wasserstein(samples: Any, real: Any, *, projections: int = 512, seed: int = 0) -> Measure:
    """SW_2 of samples (N, D) and real data (M, D).

    Returns
    -------
    Measure
        Its error is that of other directions, the rows being as they are.

    Raises
    ------
    ValueError, TypeError
        Fewer than two rows or projections, other columns, NaN.
    """
    x = checked(samples, "samples")
    y = checked(real, "real", ("samples", x))
    if projections < 2:
        raise ValueError(f"projections={projections} must be at least 2, for their standard error")
    rng, centre = np.random.default_rng([seed, 3]), origin(x, y)
    widths, of_x, of_y = _common_steps(len(x), len(y))
    squared = np.empty(projections)
    for block in blocks(projections, AT_ONCE):
        directions = rng.standard_normal((x.shape[1], block.stop - block.start))
        directions /= np.sqrt(np.square(directions).sum(axis=0))
        gap = _sorted(x, centre, directions)[:, of_x]
        gap -= _sorted(y, centre, directions)[:, of_y]
        squared[block] = np.square(gap, out=gap) @ widths
    mean, error = float(squared.mean()), float(squared.std(ddof=1)) / math.sqrt(projections)
    value = math.sqrt(mean)
    return Measure(
        "sliced Wasserstein", value, error / (2 * value) if value > 0 else 0.0, None,
        {"samples": len(x), "real": len(y)}, "further from the data, in its units",
        details={"projections": projections},
    )  # fmt: skip


def _sorted(X: np.ndarray, centre: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """(directions, N), what is seen along each, rising."""
    seen = np.concatenate([about(X[b], centre) @ directions for b in blocks(len(X))])
    return np.sort(seen.T, axis=1)


def _common_steps(n: int, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the quantile functions of n and of m values are constant both: the widths of these intervals, and which of
    the sorted values each has there."""
    ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)  # in units of 1 / (n m)
    starts = np.concatenate([[0], ends[:-1]])
    return (ends - starts) / (n * m), starts // m, starts // n
