"""Fidelity and variety, by balls around real data and around samples that reach to their k-th nearest neighbours.

Precision is the share of samples that lie in a ball of any real row, recall the share of real rows that lie in a ball
of any sample (Kynkaanniemi et al. 2019, k = 3). Both are below 1 for equal distributions, in many dimensions far below:
two samples of 2,000 rows of one 64-dimensional Gaussian have .59; so look at what real data have.

    density = 1 / (k N) sum_ij [sample i lies in the ball of real row j]
    coverage = share of real rows whose ball has a sample in it              (Naeem et al. 2020, k = 5)

For equal distributions the expectation of the density is 1 and that of the coverage, of N samples and M real rows, is
1 - prod_{i=1..k} (M - i) / (M + N - i).
"""

import math
from typing import Any

import numpy as np

from fastvae.evaluation.quality.measure import Measure
from fastvae.evaluation.quality.neighbours import nearest, within
from fastvae.evaluation.quality.rows import checked

PRECISION_NEIGHBOURS, COVERAGE_NEIGHBOURS = 3, 5


def expected_coverage(samples: int, real: int, k: int = COVERAGE_NEIGHBOURS) -> float:
    """1 - prod_{i=1..k} (M - i) / (M + N - i): of N samples and M real rows of one continuous distribution.

    A ball reaches to the k-th nearest of M - 1 other real rows: it is empty where k of them are nearer than any sample.
    """
    return 1.0 - math.prod((real - i) / (real + samples - i) for i in range(1, k + 1))


def manifolds(samples: Any, real: Any) -> list[Measure]:
    """Precision, recall, density and coverage of samples (N, D) and real data (M, D).

    Returns
    -------
    list of four Measure
        Their errors are those of other rows that are asked, the balls being as they are: of precision and density other
        samples, of recall and coverage other real rows. Coverage has its "expected" in `details`.

    Raises
    ------
    ValueError, TypeError
        Fewer than six rows, other columns, NaN.
    """
    fewest, why = COVERAGE_NEIGHBOURS + 1, f", as each needs {COVERAGE_NEIGHBOURS} neighbours"
    x = checked(samples, "samples", fewest=fewest, why=why)
    y = checked(real, "real", ("samples", x), fewest=fewest, why=why)
    n, m = len(x), len(y)
    of_real = nearest(y, y, COVERAGE_NEIGHBOURS, same=True)
    of_samples = nearest(x, x, PRECISION_NEIGHBOURS, same=True)[:, -1]
    radii = np.stack([of_real[:, PRECISION_NEIGHBOURS - 1], of_real[:, -1]])
    precise, counts = np.zeros(n, bool), np.zeros(n)
    recalled, covered = np.zeros(m, bool), np.zeros(m, bool)
    for block, (small, large), beside in within(x, y, radii, of_samples):
        assert beside is not None
        precise[block], counts[block] = small.any(axis=1), large.sum(axis=1) / COVERAGE_NEIGHBOURS
        covered |= large.any(axis=0)
        recalled |= beside.any(axis=0)

    def measure(name: str, each: np.ndarray, larger: str, **details: Any) -> Measure:
        error = float(np.std(each, ddof=1)) / math.sqrt(len(each))
        sizes = {"samples": n, "real": m}
        return Measure(name, float(np.mean(each)), error, None, sizes, larger, details=details)

    return [
        measure("precision", precise, "more samples look like real data", k=PRECISION_NEIGHBOURS),
        measure("recall", recalled, "more of the real data is like samples", k=PRECISION_NEIGHBOURS),
        measure("density", counts, "samples lie where real data are dense; 1 for equal distributions",
                k=COVERAGE_NEIGHBOURS, expected=1.0),
        measure("coverage", covered, "more of the real data has samples near it", k=COVERAGE_NEIGHBOURS,
                expected=expected_coverage(n, m)),
    ]  # fmt: skip
