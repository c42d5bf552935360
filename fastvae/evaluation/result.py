"""What every estimator of log p(x) returns."""

import math
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from fastvae.errors import counted
from fastvae.evaluation.pareto import threshold
from fastvae.notebook import block, number

INTERVAL = 1.959963984540054  # deviations of a normal that an interval of 95% reaches to


def student_quantile(degrees: float) -> float:
    """q with P(|t| < q) = 95%, t of Student's distribution with so many degrees of freedom nu: the closed forms for 1
    and 2; from 3 on, within 0.2%, z + g_1 / nu + ... + g_4 / nu^4 (Abramowitz and Stegun 1964, 26.7.5); NaN below 1."""
    if degrees < 1:
        return math.nan
    if degrees < 3:
        share = 0.95
        return math.tan(math.pi * share / 2) if degrees < 2 else share * math.sqrt(2 / (1 - share**2))
    z = INTERVAL
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / degrees ** (i + 1) for i, term in enumerate(terms))


@dataclass(frozen=True, repr=False)
class LogLikelihood:
    """An estimate of log p(x) for each example, in nats of the user's units, with what tells whether to believe it.

    Attributes
    ----------
    method
        "importance", "naive", "annealed", "mean field", "parzen" or "elbo"; "exact".
    kind
        "estimate", or "lower bound" or "upper bound", which it is in expectation; "bracket", between two such bounds
        (see `partition.OfPartition`); or "exact", log p(x) as a model can work it out, without any Monte Carlo error.
    values : (N,) float64
        The estimates.
    mcse : (N,) float64
        Monte Carlo standard errors: of a repetition with other noise, on the same model and data. NaN where none can be
        told: where `khat` is above the threshold, or the weights are too few.
    ess : (N,) float64
        Effective sample sizes (sum w)^2 / sum w^2 of the weights; NaN for a method without weights.
    khat : (N,) float64
        Shape of the generalised Pareto distribution that fits the largest weights (Vehtari et al. 2024); NaN for a
        method without weights, or with too few.
    n_samples
        Drawn for each example, pilots not counted; 0 of what is exact.
    seconds
        Wall-clock time.
    bounds : dict
        k to the bound of k samples (N,), E log mean of k weights, from the same draws, at powers of two; none for a
        method without weights. In expectation none decreases as k grows.
    complete
        False after Ctrl-C: the examples that were done are here, those from `len(values)` on are not; where all share
        what was stopped, log Z, all are here, by fewer chains.
    details : dict
        What belongs to one method: JSON can hold it. "interval", where it is there, says when `interval` is too short.
    degrees_of_freedom
        Of Student's t, by which `interval` is as wide as errors from few draws need: draws less 1.
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
    degrees_of_freedom: float = math.inf

    @classmethod
    def exact(cls, values: np.ndarray, seconds: float) -> Self:
        """From log p(x) (N,) itself."""
        none, unknown = np.zeros(len(values)), np.full(len(values), np.nan)
        return cls("exact", "exact", values, none, unknown, unknown, 0, seconds)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        """A line: what it is, its mean with both errors ("?": none can be told), and of how many examples; the arrays
        are attributes."""
        errors = self.mean_mcse, self.mean_sampling_error
        monte_carlo, sampling = ("?" if math.isnan(error) else f"{error:.2g}" for error in errors)
        counts = counted(len(self), "example") + ("" if self.complete else ", not complete")
        unreliable = int(np.count_nonzero(self.unreliable))
        if unreliable:
            counts += f", {unreliable:,} of them unreliable"
        how = ", ".join(dict.fromkeys([self.method, self.kind]))
        found = f"mean {self.mean:.6g} nats +-{monte_carlo} (Monte Carlo) +-{sampling} (other examples)"
        return f"<{type(self).__name__}: {how}; {found}; {counts}>"

    def _repr_html_(self) -> str:
        monte_carlo, sampling = number(self.mean_mcse, 2), number(self.mean_sampling_error, 2)
        rows = {
            "mean log p(x)": f"{number(self.mean)} nats",
            "errors of the mean": f"{monte_carlo} (Monte Carlo), {sampling} (other examples)",
            "kind": self.kind,
            "examples": f"{len(self):,}" + ("" if self.complete else ", not complete"),
        }
        if self.n_samples:
            rows["samples of each"] = f"{self.n_samples:,}"
        if np.isfinite(self.khat).any():
            worst = f"{np.nanmax(self.khat):.2f}, should be below {self.threshold:.2f}"
            rows["largest k-hat"] = f"{worst}; {int(np.count_nonzero(self.unreliable)):,} examples unreliable"
        return block(f"{type(self).__name__}: {self.method}", rows)

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
        """(N, 2): values -+ t mcse, of which 95% should hold log p(x), t the quantile of Student's distribution with
        `degrees_of_freedom`, 1.96 for many; NaN where there is no standard error."""
        half = student_quantile(self.degrees_of_freedom) * self.mcse
        return np.stack([self.values - half, self.values + half], axis=1)
