"""What made a row likely or odd: log p(x) as a sum over its columns, and what its code costs.

    log p(x) = sum_j c_j + c_code,    c_j = E_p(z|x)[log p(x_j|z)],    c_code = -KL[p(z|x) || p(z)]

for log p(x|z) - log p(x) = log p(z|x) - log p(z), whose mean over p(z|x) that is. The means are over the draws behind
the estimate of log p(x), by self-normalised importance weights w_k / sum w, and the code has what is left: they add
up to the estimate exactly. Of the ELBO, E_q takes the place of E_p(z|x), and the code is -KL[q(z|x) || p(z)].
"""

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastvae import reference
from fastvae.data.minibatches import Examples
from fastvae.engine import EVALUATION
from fastvae.errors import check_name
from fastvae.evaluation.accumulator import Accumulator, joined
from fastvae.evaluation.importance import AUTO, fixed_factor
from fastvae.evaluation.observer import Observer, watching
from fastvae.evaluation.result import LogLikelihood
from fastvae.evaluation.weights import Weights, check_finite, pieces
from fastvae.evaluation.widening import pilot_samples, propose_widened
from fastvae.kernels.philox import PROPOSAL
from fastvae.models.settings import check_integer, seed_from
from fastvae.models.vae_network import symmetric_points

METHODS = ("importance", "elbo")
N_SAMPLES = 1000  # of importance sampling
ROWS = 256  # whose ELBO is taken at a time


@dataclass(frozen=True, repr=False)
class Contributions(LogLikelihood):
    """log p(x) of each example, or its ELBO, as a sum, in nats of the user's units: `values` are `columns` and `code`
    added up.

    Attributes
    ----------
    columns : (N, C) float64
        c_j of each column; 0 of a value that is missing.
    code : (N,) float64
        -KL[p(z|x) || p(z)], or of the ELBO -KL[q(z|x) || p(z)]: never above 0 but for Monte Carlo error.
    missing : (N, C) bool
        Which values are not there, so that their column contributes nothing.
    """

    columns: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    code: np.ndarray = field(default_factory=lambda: np.empty(0))
    missing: np.ndarray = field(default_factory=lambda: np.empty((0, 0), bool))


def contributions(
    model: Any,
    examples: Examples,
    method: str = "importance",
    n_samples: int = N_SAMPLES,
    *,
    seed: Any = 0,
    widen: float | str = AUTO,
    observer: Observer | None = None,
) -> Contributions:
    """log p(x) of each example by importance sampling, or its ELBO, and what each column contributes.

    The estimate is that of `fastvae.evaluation.importance.importance` of as many samples and the same seed; the terms
    of columns are worked out in NumPy, float64, by `Likelihood.terms`.

    Parameters
    ----------
    model
        A fitted VAE, with its encoder.
    examples
        What `model.examples(X)` returned.
    method
        "importance", or "elbo": at the fixed points of `model.score_samples`, without draws.
    n_samples, seed, widen, observer
        Of importance sampling: see there.
    """
    check_name("method", method, METHODS)
    network = model._check_complete()
    examples = model._accepted(network, examples)
    if method == "elbo":
        return _of_elbo(model, network, examples, observer)
    check_integer("n_samples", n_samples, 1)
    factor, jacobian = fixed_factor(widen), _log_jacobians(network)
    started, done, summaries, found, gone = time.perf_counter(), 0, [], [], []
    with watching(observer) as watcher:
        for piece in pieces(network, examples, seed_from(seed)):
            propose_widened(piece, n_samples, factor)
            accumulator, sums = Accumulator(piece.rows, n_samples), _Sums(piece.rows, len(jacobian))
            while accumulator.added < n_samples and not watcher.stop_requested():
                some = min(piece.decoded_at_once, n_samples - accumulator.added)
                log_w, terms = _weighed(network, piece, accumulator.added, some, jacobian)
                accumulator.add(log_w)
                sums.add(log_w, terms)
                share = accumulator.added / n_samples
                watcher.progressed(done + int(share * piece.rows), len(examples), "examples")
            if accumulator.added < n_samples:
                break
            summaries.append(accumulator.summary())
            check_finite(summaries[-1].values, piece.first)
            found.append(sums.means())
            gone.append(np.isnan(piece.x))
            done += piece.rows
    if not done:
        raise KeyboardInterrupt("importance: stopped before the first examples were done")
    parts, columns = joined(summaries), np.concatenate(found)
    return Contributions(
        method="importance",
        kind="estimate",
        n_samples=n_samples,
        seconds=time.perf_counter() - started,
        complete=done == len(examples),
        details={"widen": AUTO, "pilot": pilot_samples(n_samples)} if factor is None else {"widen": factor, "pilot": 0},
        degrees_of_freedom=n_samples - 1,
        columns=columns,
        code=parts["values"] - columns.sum(axis=1),
        missing=np.concatenate(gone),
        **parts,
    )


def _log_jacobians(network: Any) -> np.ndarray:
    return np.asarray(network.likelihood.log_jacobian_terms(network.units.scale), np.float64)


def _weighed(
    network: Any, piece: Weights, first: int, count: int, jacobian: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """log w (n, count) of these samples and their terms of columns (n, count, C), in the user's units."""
    log_ratio, a = piece.outputs(PROPOSAL, first, count)
    x = np.repeat(piece.x, count, axis=0)
    with np.errstate(over="ignore", invalid="ignore"):  # a row too far out is named by whoever looks at its value
        terms = network.likelihood.terms(x, a.reshape(len(x), -1)) - jacobian
        log_w = terms.sum(axis=1).reshape(log_ratio.shape) + log_ratio
    return np.where(np.isnan(log_w), -np.inf, log_w), terms.reshape(*log_ratio.shape, -1)


class _Sums:
    """sum_k w_k and sum_k w_k t_k (n, C), both shifted by the largest weight so far."""

    def __init__(self, rows: int, columns: int):
        self._top, self._sum = np.full((rows, 1), -np.inf), np.zeros((rows, 1))
        self._terms = np.zeros((rows, columns))

    def add(self, log_w: np.ndarray, terms: np.ndarray) -> None:
        top = np.maximum(self._top, log_w.max(axis=1, keepdims=True))
        safe = np.where(np.isfinite(top), top, 0.0)
        kept, w = np.exp(self._top - safe), np.exp(log_w - safe)
        self._sum = self._sum * kept + w.sum(axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):  # a weight of 0 may have a term without end
            weighted = np.where(w[:, :, None] > 0, w[:, :, None] * terms, 0.0).sum(axis=1)
        self._terms = self._terms * kept + weighted
        self._top = top

    def means(self) -> np.ndarray:
        """sum_k w_k t_k / sum_k w_k (n, C)."""
        return self._terms / self._sum


def _of_elbo(model: Any, network: Any, examples: Examples, observer: Observer | None) -> Contributions:
    started, done, jacobian = time.perf_counter(), 0, _log_jacobians(network)
    mu, logvar = (a.astype(np.float64) for a in model.encode_examples(examples))
    points, condition = symmetric_points(network.inputs["z"]), examples.condition_rows
    columns, missing = np.zeros((len(examples), len(jacobian))), np.zeros((len(examples), len(jacobian)), bool)
    with watching(observer) as watcher:
        for first in range(0, len(examples), ROWS):
            if watcher.stop_requested():
                break
            some = slice(first, min(first + ROWS, len(examples)))
            x = np.empty((some.stop - first, network.inputs["x"]), np.float32)
            examples.fill(np.arange(first, some.stop, dtype=np.int64), x, EVALUATION, first)
            missing[some] = np.isnan(x)
            for point in points:
                z = (mu[some] + np.exp(0.5 * logvar[some]) * point).astype(np.float32)
                a = _decoded(network, z, None if condition is None else condition[some])
                columns[some] += (network.likelihood.terms(x, a) - jacobian) / len(points)
            done = some.stop
            watcher.progressed(done, len(examples), "examples")
    if not done:
        raise KeyboardInterrupt("elbo: stopped before the first examples were done")
    columns, code = columns[:done], -reference.kl_terms(mu[:done], logvar[:done]).sum(axis=1)
    values, unknown = columns.sum(axis=1) + code, np.full(done, np.nan)
    check_finite(values, 0)
    return Contributions(
        method="elbo",
        kind="lower bound",
        values=values,
        mcse=unknown,
        ess=unknown,
        khat=unknown,
        n_samples=len(points),
        seconds=time.perf_counter() - started,
        complete=done == len(examples),
        columns=columns,
        code=code,
        missing=missing[:done],
    )


def _decoded(network: Any, z: np.ndarray, condition: np.ndarray | None) -> np.ndarray:
    """What the decoder makes of z (N, Z): (N, A) float32."""
    parts: list[tuple[int, np.ndarray]] = []
    network.over(
        z,
        "outputs",
        lambda p: p.returns(network.decoded(p, p.input("z"), network.condition_of(p))[0]),
        lambda start, stop, a: parts.append((start, a.copy())),
        name="z",
        units=network.code_units,
        condition=condition,
    )
    return np.concatenate([a for _, a in sorted(parts, key=lambda part: part[0])])
