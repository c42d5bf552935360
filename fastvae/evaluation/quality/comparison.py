"""All measures of samples, each beside the same measure of real data in their place."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastvae.evaluation.observer import Observer, watching
from fastvae.evaluation.quality.classifier import FOLDS, classifier_test
from fastvae.evaluation.quality.frechet import COMPONENTS, PARTS, frechet, principal_components
from fastvae.evaluation.quality.kernel_mmd import kernel_mmd
from fastvae.evaluation.quality.manifolds import COVERAGE_NEIGHBOURS, manifolds
from fastvae.evaluation.quality.measure import Measure
from fastvae.evaluation.quality.memorisation import compared
from fastvae.evaluation.quality.neighbours import nearest
from fastvae.evaluation.quality.rows import checked
from fastvae.evaluation.quality.sliced_wasserstein import sliced_wasserstein


def panel(
    samples: Any,
    held_out: Any,
    train: Any = None,
    *,
    permutations: int = 1000,
    seed: int = 0,
    observer: Observer | None = None,
) -> list[Measure]:
    """Measures of how good samples are, each beside the same measure of real data.

    The held-out rows are split at random. The samples are compared with one part; beside it stands, as `Measure.real`,
    what the other part shows in their place: with the same number of rows, n = min(N, H // 2), of samples as of it,
    against the H - n others. What differs from `real` by more than both errors is wrong with the samples; a figure
    alone says little.

    Parameters
    ----------
    samples : (N, D)
        Drawn from the model, in the units of the data. Where there are more than half the held-out rows, n of them are
        taken at random.
    held_out : (H, D)
        Real data that the model was not trained on.
    train : (T, D), optional
        What it was trained on: what samples may be copies of. Without it nothing is said of copies.
    permutations
        Of tests by permutation.
    seed
        Of splits, permutations and projections: the same arguments give the same figures.
    observer
        See `fastvae.evaluation.observer.Observer`: told of each measure, and asked between them whether to stop.

    Returns
    -------
    list of Measure
        The kernel MMD and the classifier are tests of whether samples and real data are of one distribution; then come
        precision, recall, density, coverage, sliced Wasserstein and Frechet distances; and, with `train`, three
        measures of copies, which are tests. One that needs more rows than there are is left out: the classifier 10,
        balls 6, the Frechet distance 80.

    Raises
    ------
    ValueError, TypeError
        NaN, other numbers of columns, too few rows: 2 samples, 4 held-out rows.
    """
    x = checked(samples, "samples")
    real = checked(held_out, "held_out", ("samples", x), fewest=4, why=", to compare real data with real data")
    known = None if train is None else checked(train, "train", ("samples", x))
    splits = np.random.default_rng([seed, 1])
    n = min(len(x), len(real) // 2)
    chosen = x if n == len(x) else x[splits.permutation(len(x))[:n]]
    order = splits.permutation(len(real))
    beside, others = real[order[:n]], real[order[n:]]
    measures = _measures(chosen, beside, others, known, permutations, seed)
    found: list[Measure] = []
    with watching(observer) as watcher:
        for done, measure in enumerate(measures):
            if watcher.stop_requested():
                break
            found += measure()
            watcher.progressed(done + 1, len(measures), "measures")
    if not found:
        raise KeyboardInterrupt("panel: stopped before the first measure was done")
    return found


def _measures(
    samples: np.ndarray, beside: np.ndarray, others: np.ndarray, train: np.ndarray | None, permutations: int, seed: int
) -> list[Callable[[], list[Measure]]]:
    """What to compute, in order; what needs more rows than there are is left out."""

    def by_kernel() -> list[Measure]:
        found = kernel_mmd(samples, others, permutations=permutations, seed=seed)
        kernel = found.details["bandwidth"]
        return _beside([found], [kernel_mmd(beside, others, permutations=0, seed=seed, bandwidth=kernel)])

    def by_classifier() -> list[Measure]:
        return _beside(*([classifier_test(x, others, seed=seed)] for x in (samples, beside)))

    def by_balls() -> list[Measure]:
        return _beside(*(manifolds(x, others) for x in (samples, beside)))

    def by_projections() -> list[Measure]:
        return _beside(*([sliced_wasserstein(x, others, seed=seed)] for x in (samples, beside)))

    def by_moments() -> list[Measure]:
        count = min(COMPONENTS, min(len(samples), len(others)) // (2 * PARTS))
        basis = principal_components(others if train is None else train, count)
        return _beside(*([frechet(x, others, basis=basis, seed=seed)] for x in (samples, beside)))

    def by_training_rows() -> list[Measure]:
        assert train is not None
        distances = [nearest(x, train, 2) for x in (samples, beside, others)]
        found = (compared(d, distances[2], len(train), permutations=permutations, seed=seed) for d in distances[:2])
        return _beside(*found)

    fewest = min(len(samples), len(others))
    needed: list[tuple[Callable[[], list[Measure]], float]] = [
        (by_kernel, 2),
        (by_classifier, 2 * FOLDS),
        (by_balls, COVERAGE_NEIGHBOURS + 1),
        (by_projections, 2),
        (by_moments, 4 * PARTS),
        (by_training_rows, 2 if train is not None else math.inf),
    ]
    return [measure for measure, rows in needed if fewest >= rows]


def _beside(found: list[Measure], real: list[Measure]) -> list[Measure]:
    return [dataclasses.replace(a, real=b.value, real_error=b.error) for a, b in zip(found, real, strict=True)]
