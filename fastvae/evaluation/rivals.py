"""The dumbest models of the same data, in nats: what a log-likelihood must be compared with to mean anything."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastvae.data.minibatches import Examples
from fastvae.engine import EVALUATION
from fastvae.kernels.memory import empty
from fastvae.kernels.slots import Slots
from fastvae.likelihoods.mixed import Mixed
from fastvae.models.linear_start import gaussian_log_densities
from fastvae.passes import Pass

ROWS = 1024  # that are read at a time
INDEPENDENT, GAUSSIAN = "independent columns", "one Gaussian"


def rivals(model: Any, examples: Examples, training: Examples | None = None) -> dict[str, float]:
    """The means of `rivals_by_row`, by name."""
    return {name: float(values.mean()) for name, values in rivals_by_row(model, examples, training).items()}


def rivals_by_row(model: Any, examples: Examples, training: Examples | None = None) -> dict[str, np.ndarray]:
    """log p(x) (N,) of each example, in nats of the user's units, under models without latent variables, by name.

    For a likelihood with a sigma: a Gaussian with all covariances, and independent Gaussian columns. For others:
    columns that are independent, each with a mean of its own, under the likelihood that the model has; of a mixed table
    each under that of its kind, of values that are there alone.

    Parameters
    ----------
    model
        Fitted: of its likelihood and units.
    examples
        What is scored.
    training
        What the rivals learn from. None: for each half of the examples, every other one, they learn from the other.
    """
    if training is not None:
        return _scored(model, training, slice(None), examples, slice(None))
    if len(examples) < 4:
        return {}
    halves = [_scored(model, examples, slice(1 - i, None, 2), examples, slice(i, None, 2)) for i in (0, 1)]
    found = {name: np.empty(len(examples)) for name in halves[0]}
    for i, half in enumerate(halves):
        for name, values in half.items():
            found[name][i::2] = values
    return found


def _scored(model: Any, known: Examples, of_known: slice, scored: Examples, of_scored: slice) -> dict[str, np.ndarray]:
    network = model._check_fitted()
    likelihood = network.likelihood
    if isinstance(likelihood, Mixed):
        return {INDEPENDENT: _columns_alone(network, known, of_known, scored, of_scored)}
    if likelihood.LINEAR:
        full, apart = gaussian_log_densities(known.X, scored.X, of_known, of_scored)
        return {GAUSSIAN: full, INDEPENDENT: apart}
    total, count = np.zeros(network.inputs["x"]), 0
    for x in _rows(known, of_known):
        total += x.sum(axis=0, dtype=np.float64)
        count += len(x)
    outputs = likelihood.intercept((total / count).astype(np.float32))
    each = [nll_at(network, x, np.broadcast_to(outputs, x.shape)) for x in _rows(scored, of_scored)]
    return {INDEPENDENT: -np.concatenate(each).astype(np.float64) - network.log_jacobian}


def _columns_alone(network: Any, known: Examples, of_known: slice, scored: Examples, of_scored: slice) -> np.ndarray:
    """log p(x) of each row of a mixed table whose columns are independent, each as wide as the known rows are."""
    alone, x = network.likelihood.alone(), np.concatenate(list(_rows(known, of_known)))
    alone.learn(x, network.units.scale)
    outputs = alone.intercept(np.empty(0))
    each = [
        alone.terms(x, np.broadcast_to(outputs, (len(x), len(outputs)))).sum(axis=1) for x in _rows(scored, of_scored)
    ]
    return np.concatenate(each)


def _rows(examples: Examples, chosen: slice) -> Iterator[np.ndarray]:
    """Rows in the model's units, some at a time, binarised as they are evaluated."""
    places = np.arange(len(examples))[chosen]
    for first in range(0, len(examples), ROWS):
        x = empty(min(ROWS, len(examples) - first), examples.X.shape[1])
        examples.fill(np.arange(first, first + len(x), dtype=np.int64), x, EVALUATION, first)
        some = places[(places >= first) & (places < first + len(x))] - first
        if len(some):
            found = empty(len(some), x.shape[1])
            found[:] = x[some]
            yield found


def nll_at(network: Any, x: np.ndarray, a: np.ndarray) -> np.ndarray:
    """-log p(x|z) (B,) of rows x (N, D), in the model's units, at the decoder's outputs a (B, A), some for each row."""
    p = Pass(network.backend, Slots(), len(x), {}, backward=False)
    rows, outputs, nll = empty(*x.shape), empty(*a.shape), p.empty(repeats=len(a) // len(x))
    rows[:], outputs[:] = x, a
    network.likelihood.nll(p, p.cut(rows), p.cut(outputs), nll)
    p.returns(nll)
    network.upload_parameters()
    network.kernels.upload(rows, outputs)
    with network.backend.passing(1) as workers:
        p.run(workers)
    return nll
