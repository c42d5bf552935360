"""The log density of a Gaussian Parzen window over samples of a model: for comparison with published figures alone.

    log 1/M sum_m N(x; s_m, h^2 I)

It is no estimate of the model's log p(x), but that of the window's, and it misranks models: one that gives back
training examples beats the true distribution (Theis, van den Oord and Bethge 2016). Never report it alone. The
bandwidth h is chosen on data that are neither the samples' nor those that are scored (Breuleux, Bengio and Vincent
2011).
"""

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastvae.data.validation import as_examples, check_values
from fastvae.evaluation.accumulator import Accumulator, joined
from fastvae.evaluation.observer import Observer, watching
from fastvae.evaluation.result import LogLikelihood

ROWS, SAMPLES = 256, 1024  # of a block of distances
COARSE, FINE = np.logspace(-3, 0.25, 14), np.logspace(-0.25, 0.25, 17)  # bandwidths tried, the latter around the best


def parzen(
    samples: Any, X: Any, validation: Any, *, bandwidth: float | None = None, observer: Observer | None = None
) -> LogLikelihood:
    """log 1/M sum_m N(x; s_m, h^2 I) of each row of X, in nats of the units in which all three are given.

    Parameters
    ----------
    samples : (M, D)
        Drawn from the model.
    X : (N, D)
        What is scored.
    validation : (V, D)
        Held-out data, other than X, on which h has the largest mean log density of those tried: around the samples'
        root mean square deviation, from a thousandth of it.
    bandwidth
        h, where it is known: then `validation` may be None.
    observer
        See `fastvae.evaluation.observer.Observer`.

    Returns
    -------
    LogLikelihood
        Its Monte Carlo error is that of other M samples with the same h, its effective sample size how many samples
        hold the estimate up. `details`: "bandwidth".

    Raises
    ------
    ValueError, TypeError
        No held-out data, or X in their place; arrays of other columns, NaN.
    """
    if validation is None and bandwidth is None:
        raise ValueError("a Parzen window needs held-out data to choose its bandwidth on: pass validation=(V, D)")
    scored, centres = _array(X, "X"), _array(samples, "samples", X)
    held = None if validation is None else _array(validation, "validation", X)
    if held is not None and held.shape == scored.shape and (held == scored).all():
        raise ValueError("validation are the rows that are scored: a bandwidth must be chosen on others")
    origin = centres.mean(axis=0)  # which the squares are taken around
    centres, scored, held = centres - origin, scored - origin, None if held is None else held - origin
    started, done, summaries = time.perf_counter(), 0, []
    with watching(observer) as watcher:
        if bandwidth is None:
            assert held is not None
            h = _chosen(centres, held)
        else:
            h = float(bandwidth)
        if not (math.isfinite(h) and h > 0):
            raise ValueError(f"bandwidth={bandwidth!r} must be a positive number")
        for first in range(0, len(scored), ROWS):
            if watcher.stop_requested():
                break
            rows = scored[first : first + ROWS]
            accumulator = Accumulator(len(rows), len(centres))
            for squares in _squared_distances(rows, centres):
                accumulator.add(_log_kernel(squares, h, scored.shape[1]))
            summaries.append(accumulator.summary())
            done += len(rows)
            watcher.progressed(done, len(scored), "examples")
    if not done:
        raise KeyboardInterrupt("parzen: stopped before the first examples were done")
    return LogLikelihood(
        method="parzen",
        kind="estimate",
        n_samples=len(centres),
        seconds=time.perf_counter() - started,
        complete=done == len(scored),
        details={"bandwidth": h},
        **joined(summaries),
    )


def _array(given: Any, name: str, like: Any = None) -> np.ndarray:
    """As float64, checked."""
    array = as_examples(given, name, None if like is None else np.shape(like)[1])
    check_values(array, name)
    return np.asarray(array, np.float64)


def _squared_distances(rows: np.ndarray, centres: np.ndarray) -> Iterator[np.ndarray]:
    """(n, m), block by block: in float64, so that what the expanded square rounds is 10^-16 of the squares."""
    of_rows = np.einsum("nd,nd->n", rows, rows)[:, None]
    for start in range(0, len(centres), SAMPLES):
        some = centres[start : start + SAMPLES]
        yield np.maximum(of_rows + np.einsum("md,md->m", some, some) - 2.0 * (rows @ some.T), 0.0)


def _log_kernel(squares: np.ndarray, h: float, columns: int) -> np.ndarray:
    return squares / (-2.0 * h * h) - columns * (math.log(h) + 0.5 * math.log(2.0 * math.pi))


def _chosen(centres: np.ndarray, held: np.ndarray) -> float:
    """The bandwidth with the largest mean log density of held-out rows (V, D); the centres' mean is 0."""
    unit = math.sqrt(float(np.square(centres).mean())) or math.sqrt(float(np.square(held).mean()))
    if unit == 0:
        raise ValueError("samples and validation are all one and the same row: no bandwidth suits it")
    for factors in (COARSE, FINE):
        bandwidths = unit * factors
        sums = np.zeros(len(bandwidths))
        for first in range(0, len(held), ROWS):
            rows = held[first : first + ROWS]
            log_sums = np.full((len(bandwidths), len(rows)), -np.inf)
            for squares in _squared_distances(rows, centres):
                for log_sum, h in zip(log_sums, bandwidths, strict=True):
                    log_kernel = _log_kernel(squares, h, held.shape[1])
                    top = log_kernel.max(axis=1)
                    found = top + np.log(np.exp(log_kernel - top[:, None]).sum(axis=1))
                    np.logaddexp(log_sum, found, out=log_sum)
            sums += log_sums.sum(axis=1)
        unit = float(bandwidths[sums.argmax()])
    return unit
