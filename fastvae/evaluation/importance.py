"""log p(x) by importance sampling, with z from q(z|x), widened where that is too narrow.

    log p(x) = log E_r[w],    w = p(x|z) p(z) / r(z),    r = N(mu, c v),    q(z|x) = N(mu, v)

Variational inference makes q too narrow, as it avoids what the posterior avoids: of the weights then a few outweigh the
rest, their variance may be infinite, and an interval that is called 95% holds 80%. So a pilot tries several factors c
for each example, and its draws are not used again. No dimension becomes wider than the prior: one that says nothing of
x, whose q is the prior, stays exact.
"""

from typing import Any

import numpy as np

from fastvae.data.minibatches import Examples
from fastvae.evaluation.observer import Observer
from fastvae.evaluation.result import LogLikelihood
from fastvae.evaluation.weights import Piece, weigh
from fastvae.kernels.philox import PILOT, PROPOSAL
from fastvae.models.settings import check_integer, check_number, seed_from

AUTO = "auto"
FACTORS = np.array([0.25, 0.35, 0.5, 0.7, 0.85, 1.0, 1.15, 1.3, 1.45, 1.6, 1.8, 2.0, 2.5, 3.2, 4.0])
UNCHANGED = 5  # the place of 1
CONSTANT = 0.25  # nats that log weights of q may be apart in the pilot for q to be the posterior
PILOT_FACTOR, PILOT_SAMPLES, PILOT_SHARE = 1.5, 256, 0.1  # where the pilot draws, and how much
PILOT_FEWEST = 32
BLOCK = 32  # of the pilot's samples whose noise is held at a time


def importance(
    model: Any,
    examples: Examples,
    n_samples: int = 5000,
    *,
    seed: Any = 0,
    widen: float | str = AUTO,
    observer: Observer | None = None,
) -> LogLikelihood:
    """log 1/K sum_k p(x|z_k) p(z_k) / r(z_k), z_k ~ r = N(mu, c v), K = `n_samples` draws for each example.

    Parameters
    ----------
    model
        A fitted VAE, with its encoder.
    examples
        What `model.examples(X)` returned.
    n_samples
        K; exactly so many, without the pilot's.
    seed
        Of the draws: those of an example belong to its place, whatever the others are.
    widen
        c, by which q's variances v are multiplied, but not beyond 1, the prior's. "auto": chosen for each example by a
        pilot of at most 256 draws, the one under which the weights' second moment is estimated to be the smallest.
    observer
        See `fastvae.evaluation.observer.Observer`. None: the first Ctrl-C returns what is done.

    Returns
    -------
    LogLikelihood
        In nats of the user's units.
    """
    network = model._check_complete()
    check_integer("n_samples", n_samples, 1)
    if isinstance(widen, str) and widen != AUTO:
        raise ValueError(f"widen={widen!r} must be a positive number or 'auto'")
    factor = None if isinstance(widen, str) else check_number("widen", widen, 0, inclusive=False)
    examples = model._accepted(network, examples)
    pilot = int(min(PILOT_SAMPLES, PILOT_SHARE * n_samples))

    def propose(piece: Piece) -> None:
        mu, logvar = piece.encode()
        if factor is None and pilot >= PILOT_FEWEST:
            logvar = chosen(piece, mu, logvar, pilot)
        elif factor is not None:
            logvar = widened(logvar, factor)
        piece.propose(mu, logvar)

    return weigh("importance", network, examples, n_samples, seed_from(seed), PROPOSAL, propose, observer)


def widened(logvar: np.ndarray, factor: float) -> np.ndarray:
    """log(c v) (n, Z), but where c > 1 at most 0, the prior's, or log v where that is more."""
    wider = logvar + np.float32(np.log(factor))
    return np.minimum(wider, np.maximum(logvar, 0.0)) if factor > 1 else wider


def chosen(piece: Piece, mu: np.ndarray, logvar: np.ndarray, samples: int) -> np.ndarray:
    """`logvar` (n, Z) with the factor of each example under which E_r[w^2] is the smallest. The pilot draws from one
    proposal s: E_r[w^2] = E_s[w_s w_r]."""
    base = widened(logvar, PILOT_FACTOR)
    candidates = np.stack([widened(logvar, factor) for factor in FACTORS], axis=1)  # (n, C, Z)
    apart = candidates - base[:, None]
    # log w_r - log w_s = log s - log r = 1/2 sum_Z (log v_r - log v_s) - 1/2 sum_Z eps^2 (1 - v_s / v_r)
    half_log_det, slopes = 0.5 * apart.sum(axis=2, dtype=np.float64), np.float32(-0.5) * np.expm1(-apart)
    piece.propose(mu, base)
    moments = np.full((len(mu), len(FACTORS)), -np.inf)
    least, most = np.full(len(mu), np.inf), np.full(len(mu), -np.inf)
    for first in range(0, samples, BLOCK):
        some = min(BLOCK, samples - first)
        log_w = piece.log_weights(PILOT, first, some)
        for k in range(some):
            squares = np.square(piece.noise(PILOT, first + k))
            log_ratios = half_log_det - np.matmul(slopes, squares[:, :, None])[:, :, 0]  # log s - log r
            moments = np.logaddexp(moments, 2 * log_w[:, k : k + 1] + log_ratios)
            of_q = log_w[:, k] + log_ratios[:, UNCHANGED]
            least, most = np.minimum(least, of_q), np.maximum(most, of_q)
    best = np.where(most - least < CONSTANT, UNCHANGED, moments.argmin(axis=1))
    return candidates[np.arange(len(mu)), best]
