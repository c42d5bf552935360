"""How much wider than q(z|x) = N(mu, v) a proposal r = N(mu, c v) should be, chosen for each example by a pilot.

The best c makes E_r[w^2] the smallest, as the relative variance of the weights is E_r[w^2] / p(x)^2 - 1. With draws
from another proposal s, E_r[w^2] = E_s[w_s w_r]: one set of draws tells it for all c. The smaller c is, the heavier is
the tail of w_s w_r, which few draws do not show: so the c that is found is rather too small than too large, and
`MARGIN` goes on top, unless the weights vary little. (For linear VAEs, where all is known in closed form, the weights
that result have a tail of k < 0.5 and nearly the smallest variance, also with a q that is too narrow or too wide by a
factor of 3.)
"""

from typing import Any

import numpy as np

from fastvae.evaluation.weights import Weights
from fastvae.kernels.philox import PILOT

FACTORS = np.array([0.25, 0.35, 0.5, 0.7, 0.85, 1.0, 1.15, 1.3, 1.45, 1.6, 1.8, 2.0, 2.5, 3.2, 4.0])
UNCHANGED = 5  # the place of 1
MARGIN = 1.2
FIRST = 1.5  # c of what the pilot draws from, in its first half
NEXT = 1.25  # the same in its second half, as a multiple of the best c of the first
CONSTANT = 1.0  # nats that log weights of q may be apart in the pilot for q to be nearly the posterior: then c = 1
MOST, SHARE, FEWEST = 256, 0.1, 32  # draws of a pilot: of as many as follow, no more and no fewer
FEWEST_SAMPLES = 64  # that follow a pilot
BLOCK = 32  # draws whose weights are asked for together


def pilot_samples(samples: int) -> int:
    """How many draws of an example a pilot takes before so many; 0 for no pilot."""
    return int(min(MOST, max(FEWEST, SHARE * samples))) if samples >= FEWEST_SAMPLES else 0


def widened(logvar: np.ndarray, factor: Any) -> np.ndarray:
    """log(c v) (n, Z), for one c or one of each row (n, 1): at most 0, the prior's, or log v where that is more."""
    return np.minimum(logvar + np.log(factor).astype(np.float32), np.maximum(logvar, 0.0))


def propose_widened(weights: Weights, samples: int, factor: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Have z drawn from q widened by `factor`, or, for None, as a pilot before so many samples finds best; return the
    proposal's mean and logvar (n, Z)."""
    mu, logvar = weights.encode()
    logvar = widened(logvar, factor or best_factors(weights, mu, logvar, pilot_samples(samples)))
    weights.propose(mu, logvar)
    return mu, logvar


def best_factors(weights: Weights, mu: np.ndarray, logvar: np.ndarray, samples: int) -> np.ndarray:
    """c of each example (n, 1), from so many draws, whose second half is taken near what the first has found."""
    factors = np.ones((len(mu), 1))
    if samples:
        half = samples // 2
        best, _, constant = _round(weights, mu, logvar, np.full_like(factors, FIRST), 0, half)
        best, variance, _ = _round(weights, mu, logvar, NEXT * best, half, samples)
        factors = np.where(constant, 1.0, MARGIN ** np.clip(variance, 0.0, 1.0) * best)
    return factors


def _round(
    weights: Weights, mu: np.ndarray, logvar: np.ndarray, drawn_from: np.ndarray, start: int, stop: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best of `FACTORS` for each example (n, 1), from the pilot's draws start ... stop - 1, which come from
    N(mu, c v) with c (n, 1) as given; the relative variance of its weights (n, 1), as estimated; and whether those of q
    are constant (n, 1)."""
    base = widened(logvar, drawn_from)
    apart = np.stack([widened(logvar, factor) for factor in FACTORS], axis=1) - base[:, None]  # (n, C, Z)
    # log s - log r = 1/2 sum_Z (log v_r - log v_s) - 1/2 sum_Z eps^2 (1 - v_s / v_r), r with each c
    half_log_det, slopes = 0.5 * apart.sum(axis=2, dtype=np.float64), np.float32(-0.5) * np.expm1(-apart)
    weights.propose(mu, base)
    moments, sums = np.full((len(mu), len(FACTORS)), -np.inf), np.full((len(mu), 1), -np.inf)
    least, most = np.full(len(mu), np.inf), np.full(len(mu), -np.inf)
    for first in range(start, stop, BLOCK):
        some = min(BLOCK, stop - first)
        log_w = weights.log_weights(PILOT, first, some)
        for k in range(some):
            squares = np.square(weights.noise(PILOT, first + k))
            log_ratios = half_log_det - np.matmul(slopes, squares[:, :, None])[:, :, 0]
            moments = np.logaddexp(moments, 2.0 * log_w[:, k : k + 1] + log_ratios)
            sums = np.logaddexp(sums, log_w[:, k : k + 1])
            of_q = log_w[:, k] + log_ratios[:, UNCHANGED]
            least, most = np.minimum(least, of_q), np.maximum(most, of_q)
    log_variance = moments.min(axis=1, keepdims=True) + np.log(stop - start) - 2.0 * sums
    variance = np.expm1(np.minimum(log_variance, 1.0))
    return FACTORS[moments.argmin(axis=1)][:, None], variance, (most - least < CONSTANT)[:, None]
