"""What K importance weights of each example say, gathered block by block in bounded memory.

With log weights l_k, k = 1 ... K:

    log mean w = log 1/K sum_k exp(l_k)                 effective sample size = (sum w)^2 / sum w^2
    mcse = sd(w) / (mean(w) sqrt K)                     of log mean w, by the delta method
    bound of k samples = mean over groups of k weights of log mean w

Sums are of float64, and shifted by the largest weight so far. They are taken in blocks of `BLOCK` samples, counted from
the first: how the weights come in changes no bit.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.evaluation.pareto import khat, tail_length, threshold

BLOCK = 256  # samples whose weights are added up together; a power of two
LOWEST = -1e280  # stands for the logarithm of a weight that is 0: differences stay finite
NONE = -1e270  # what is below came from it


@dataclass(frozen=True)
class Summary:
    """Of each example, (N,) float64: see `fastvae.evaluation.result.LogLikelihood`; `bounds` by k."""

    values: np.ndarray
    mcse: np.ndarray
    ess: np.ndarray
    khat: np.ndarray
    bounds: dict[int, np.ndarray]


def joined(summaries: list[Summary]) -> dict[str, Any]:
    """What summaries of pieces say of all their examples, by the names of `LogLikelihood`."""
    names = ("values", "mcse", "ess", "khat")
    columns: dict[str, Any] = {name: np.concatenate([getattr(s, name) for s in summaries]) for name in names}
    return columns | {"bounds": {k: np.concatenate([s.bounds[k] for s in summaries]) for k in summaries[0].bounds}}


class Accumulator:
    """Log weights of `rows` examples, `samples` of each in all.

    The bounds are of powers of two k. All are means over the first 2^floor(log2 K) weights, so that each is at least as
    large as the one before: a group's log mean is at least the mean of those of its halves.
    """

    def __init__(self, rows: int, samples: int):
        self.rows, self.samples, self.added = rows, samples, 0
        self._nested = 1 << (samples.bit_length() - 1)  # how many samples the bounds are of
        self._waiting = np.empty((rows, min(BLOCK, samples)))
        self._top = np.full((rows, 1), LOWEST)  # what the sums are shifted by
        self._sum, self._squares = np.zeros((rows, 1)), np.zeros((rows, 1))
        self._tail = np.empty((rows, 0))
        self._tail_length = tail_length(samples) + 1
        levels = self._nested.bit_length()
        self._levels = np.zeros((levels, rows))  # sums of the groups' log means, by the logarithm of their size
        self._odd: list[np.ndarray | None] = [None] * levels  # a group that waits for its other half

    def add(self, log_weights: np.ndarray) -> None:
        """Take the next log weights (N, n); none may be NaN or +inf."""
        done, count = 0, log_weights.shape[1]
        if self.added + count > self.samples:
            raise ValueError(
                f"{self.added + count} log weights of an example were added; {self.samples} were announced"
            )
        while done < count:
            place = self.added % BLOCK
            taken = min(count - done, BLOCK - place)
            np.maximum(log_weights[:, done : done + taken], LOWEST, out=self._waiting[:, place : place + taken])
            done, self.added = done + taken, self.added + taken
            if self.added % BLOCK == 0 or self.added == self.samples:
                self._add_block(self._waiting[:, : place + taken], self.added - place - taken)

    def _add_block(self, block: np.ndarray, before: int) -> None:
        top = np.maximum(self._top, block.max(axis=1, keepdims=True))
        weights = np.exp(block - top)
        kept = np.exp(self._top - top)
        self._sum = self._sum * kept + weights.sum(axis=1, keepdims=True)
        self._squares = self._squares * kept**2 + np.square(weights).sum(axis=1, keepdims=True)
        self._top = top
        tail = np.concatenate([self._tail, block], axis=1)
        excess = tail.shape[1] - self._tail_length
        self._tail = np.partition(tail, excess, axis=1)[:, excess:] if excess > 0 else tail
        if before < self._nested:
            self._add_groups(block[:, : self._nested - before])

    def _add_groups(self, groups: np.ndarray) -> None:
        """Add log weights to the sums of the first level, their pairs to the second, and so on, as a binary counter
        carries."""
        for level in range(len(self._levels)):
            self._levels[level] += groups.sum(axis=1)
            odd = self._odd[level]
            if odd is not None:
                groups = np.concatenate([odd, groups], axis=1)
            pairs = groups.shape[1] // 2
            self._odd[level] = groups[:, -1:].copy() if groups.shape[1] % 2 else None
            if pairs == 0:
                break
            groups = log_mean_of_pairs(groups[:, : 2 * pairs : 2], groups[:, 1 : 2 * pairs : 2])

    def summary(self) -> Summary:
        """What all weights say; once as many have come as were announced."""
        if self.added != self.samples:
            raise ValueError(f"{self.added} of {self.samples} log weights have been added")
        K = self.samples
        log_sum = self._top + np.log(self._sum)
        values = (log_sum - math.log(K))[:, 0]
        ess = (self._sum**2 / self._squares)[:, 0]
        nothing = values < NONE
        ess[nothing] = 0.0
        shape = khat(self._tail)
        shape[nothing] = math.nan
        mcse = np.full(self.rows, math.nan)
        known = shape <= threshold(K)  # not of NaN
        mcse[known] = np.sqrt(np.maximum(K / ess[known] - 1.0, 0.0) / (K - 1))
        values[nothing] = -math.inf
        return Summary(values, mcse, ess, shape, self._bounds(values))

    def _bounds(self, values: np.ndarray) -> dict[int, np.ndarray]:
        means = self._levels / (self._nested >> np.arange(len(self._levels)))[:, None]
        means[means < NONE / self.samples] = -math.inf  # of a group without weights
        if self._nested == self.samples:
            means[-1] = values
        means = np.maximum.accumulate(means, axis=0)  # so it is, but for rounding
        return {1 << level: mean for level, mean in enumerate(means)}


def log_mean_of_pairs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """log((e^a + e^b) / 2), of finite numbers."""
    top = np.maximum(a, b)
    return top + np.log(0.5 + 0.5 * np.exp(np.minimum(a, b) - top))
