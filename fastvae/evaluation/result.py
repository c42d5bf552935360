"""What every estimator of log p(x) returns."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastvae.evaluation.pareto import threshold

INTERVAL = 1.959963984540054  # deviations of a normal that an interval of 95% reaches to


@dataclass(frozen=True)
class LogLikelihood:
    """An estimate of log p(x) for each example, in nats of the user's units, with what tells whether to believe it.

    Attributes
    ----------
    method
        "importance", "naive", "annealed", "parzen" or "elbo".
    kind
        "estimate", or "lower bound" or "upper bound", which it is in expectation.
    values : (N,) float64
        The estimates.
    mcse : (N,) float64
        Monte Carlo standard errors: of a repetition with other noise, on the same model and data. NaN where none can be
        told: where `khat` is above the threshold.
    ess : (N,) float64
        Effective sample sizes (sum w)^2 / sum w^2 of the weights; NaN for a method without weights.
    khat : (N,) float64
        Shape of the generalised Pareto distribution that fits the largest weights (Vehtari et al. 2024); NaN for a
        method without weights, or with too few.
    n_samples
        Drawn for each example, pilots not counted.
    seconds
        Wall-clock time.
    bounds : dict
        k to the bound of k samples (N,), E log mean of k weights, from the same draws, at powers of two; none for a
        method without weights. In expectation none decreases as k grows.
    complete
        False after Ctrl-C: the examples that were done are here, those from `len(values)` on are not.
    details : dict
        What belongs to one method: JSON can hold it.
    """

    method: str
    kind: str
    values: np.ndarray
    mcse: np.ndarray
    ess: np.ndarray
    khat: np.ndarray
    n_samples: int
    seconds: float
    bounds: dict[int, np.ndarray] = field(default_factory=dict)
    complete: bool = True
    details: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float:
        """The mean over the examples, each counted once."""
        return float(np.mean(self.values))

    @property
    def mean_mcse(self) -> float:
        """Monte Carlo standard error of the mean: sqrt(sum mcse^2) / N; NaN where that of an example is not known."""
        return float(np.sqrt(np.sum(np.square(self.mcse))) / len(self))

    @property
    def mean_sampling_error(self) -> float:
        """Standard error of the mean for other examples of the same source: deviation / sqrt(N); NaN for one."""
        return float(np.std(self.values, ddof=1) / math.sqrt(len(self))) if len(self) > 1 else math.nan

    @property
    def threshold(self) -> float:
        """What `khat` may be at most: min(1 - 1 / log10 K, 0.7)."""
        return threshold(self.n_samples)

    @property
    def unreliable(self) -> np.ndarray:
        """(N,) bool: examples whose `khat` is above the threshold, which have no standard error."""
        return self.khat > self.threshold  # NaN is not

    @property
    def interval(self) -> np.ndarray:
        """(N, 2): values -+ 1.96 mcse, of which 95% should hold log p(x); NaN where there is no standard error."""
        half = INTERVAL * self.mcse
        return np.stack([self.values - half, self.values + half], axis=1)
