"""All measures of samples, each beside the same measure of real data in their place."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from fastvae.evaluation.observer import Observer, watching
from fastvae.evaluation.quality.kernel_mmd import kernel_mmd
from fastvae.evaluation.quality.measure import Measure
from fastvae.evaluation.quality.rows import checked


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

    Raises
    ------
    ValueError, TypeError
        NaN, other numbers of columns, too few rows: 2 samples, 4 held-out rows.
    """
    x = checked(samples, "samples")
    real = checked(held_out, "held_out", ("samples", x), fewest=4, why=", to compare real data with real data")
    if train is not None:
        checked(train, "train", ("samples", x))
    splits = np.random.default_rng([seed, 1])
    n = min(len(x), len(real) // 2)
    chosen = x if n == len(x) else x[splits.permutation(len(x))[:n]]
    order = splits.permutation(len(real))
    beside, others = real[order[:n]], real[order[n:]]
    measures = _measures(chosen, beside, others, permutations, seed)
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
    samples: np.ndarray, beside: np.ndarray, others: np.ndarray, permutations: int, seed: int
) -> list[Callable[[], list[Measure]]]:
    """What to compute, in order."""

    def discrepancy() -> list[Measure]:
        found = kernel_mmd(samples, others, permutations=permutations, seed=seed)
        kernel = found.details["bandwidth"]
        return [_beside(found, kernel_mmd(beside, others, permutations=0, seed=seed, bandwidth=kernel))]

    return [discrepancy]


def _beside(found: Measure, real: Measure) -> Measure:
    return dataclasses.replace(found, real=real.value, real_error=real.error)
