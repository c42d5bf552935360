"""Missing values of a mixed table, by their distribution given what is there: p(x_missing | x_observed).

z is drawn from r(z), a mixture of q(z|x_observed) widened by several factors, and weighed by w = p(x_observed|z) p(z) /
r(z), normalised over the samples of a row; what is missing follows from p(x_missing|z). Mattei and Frellsen 2019; the
mixture is a defence against weights without a variance (Owen and Zhou 2000).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.evaluation.pareto import khat, tail_length, threshold
from fastvae.evaluation.rivals import nll_at
from fastvae.likelihoods import Likelihood
from fastvae.likelihoods.kinds import KINDS
from fastvae.likelihoods.kinds.categorical import chosen
from fastvae.likelihoods.mixed import Mixed
from fastvae.models.settings import check_integer, seed_from
from fastvae.notebook import block

WIDENED = np.array([1.2, 2.5, 5.0])  # variances over that of q of the proposal's parts, which are equally likely
ROWS = 1 << 17  # of codes that go through the decoder at a time
NUMBERS = 1 << 24  # that it gives for them, at most
LEAST_DRAWS = 20  # behind an interval


@dataclass(frozen=True, repr=False)
class Imputation:
    """What `TableVAE.impute` has found.

    Attributes
    ----------
    rows : (R,) int64
        Which rows of the table lack a value.
    missing : (N, D) bool
    khat, ess : (R,)
        Of each of these rows: the shape of the tail of its weights, and their effective sample size. Where k-hat is
        above `threshold`, few samples decide: the row's values are those of q(z|x) more than of p(z|x).
    unreliable : (R,) bool
        Where that is so.
    """

    rows: np.ndarray
    missing: np.ndarray
    khat: np.ndarray
    ess: np.ndarray
    threshold: float
    values: np.ndarray
    drawn: list[np.ndarray]
    numbers: np.ndarray
    decode: Callable[[np.ndarray], Any] = lambda values: values

    def __repr__(self) -> str:
        found = f"{int(self.missing.sum())} values of {len(self.rows)} rows, {int(self.unreliable.sum())} unreliable"
        return f"<Imputation: {found}, {len(self.drawn)} draws>"

    def _repr_html_(self) -> str:
        rows = {"values filled in": f"{int(self.missing.sum()):,}, in {len(self.rows):,} rows"}
        rows["unreliable rows"] = f"{int(self.unreliable.sum()):,}, whose k-hat is above {self.threshold:.2f}"
        rows["draws"] = f"{len(self.drawn):,}"
        table = getattr(self.table, "_repr_html_", None)
        return block("Imputation", rows, "" if table is None else table() or "")

    @property
    def unreliable(self) -> np.ndarray:
        """See the class."""
        return self.khat > self.threshold

    @property
    def table(self) -> Any:
        """The table with the best single values where some were missing."""
        return self.decode(self.values)

    @property
    def draws(self) -> list[Any]:
        """The tables, each with draws where values were missing."""
        return [self.decode(values) for values in self.drawn]

    def interval(self, probability: float = 0.9) -> tuple[Any, Any]:
        """Two tables, between which a missing number or count lies with that probability, by the draws; what is no
        number, or not missing, stands in both as it is in `table`."""
        if not 0 < probability < 1:
            raise ValueError(f"probability={probability!r} must lie between 0 and 1")
        if len(self.drawn) < LEAST_DRAWS:
            raise ValueError(f"an interval needs at least {LEAST_DRAWS} draws, and there are {len(self.drawn)}: "
                             "impute(X, n_draws=200, return_result=True)")  # fmt: skip
        ends = np.quantile(np.stack(self.drawn), [(1 - probability) / 2, (1 + probability) / 2], axis=0)
        where = self.missing & self.numbers
        low, high = (self.decode(np.where(where, end, self.values)) for end in ends)
        return low, high


def impute(
    model: Any, network: Any, X: np.ndarray, condition: np.ndarray | None, n_draws: int | None, n_samples: int,
    random_state: Any,
) -> Imputation:  # fmt: skip
    """See `TableVAE.impute`; X (N, D) are the rows as the model reads them, in the user's units, as is what comes."""
    check_integer("n_samples", n_samples, 2)
    draws = 0 if n_draws is None else check_integer("n_draws", n_draws, 1)
    seed = int(model.seed_ if random_state is None else seed_from(random_state))
    x = (np.asarray(X, np.float64) - network.units.offset) / network.units.scale
    missing = np.isnan(x)
    rows = np.flatnonzero(missing.any(axis=1))
    values, drawn = x.copy(), [x.copy() for _ in range(draws)]
    tails, sizes = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    outputs = n_samples * network.likelihood.outputs
    piece, largest = max(1, min(ROWS // n_samples, NUMBERS // outputs)), min(n_samples, tail_length(n_samples) + 1)
    for first in range(0, len(rows), piece):
        some = rows[first : first + piece]
        rng = np.random.default_rng([seed, first])
        beside = None if condition is None else condition[some]
        a, log_w = _samples(model, network, X[some], x[some], beside, n_samples, rng)
        w = np.exp(log_w - log_w.max(axis=1, keepdims=True))
        w /= w.sum(axis=1, keepdims=True)
        tails[first : first + piece] = khat(np.partition(log_w, -largest, axis=1)[:, -largest:])
        sizes[first : first + piece] = 1 / (w**2).sum(axis=1)
        _fill(network.likelihood, values, drawn, some, missing[some], a, w, rng)
    offset, scale = network.units.offset, network.units.scale
    numbers = np.ones(x.shape[1], bool)
    if isinstance(network.likelihood, Mixed):
        numbers[:] = [not KINDS[kind].LEVELS for kind in network.likelihood.kinds]
    return Imputation(
        rows, missing, tails, sizes, threshold(n_samples), values * scale + offset,
        [each * scale + offset for each in drawn],
        numbers,
    )  # fmt: skip


def _samples(
    model: Any, network: Any, X: np.ndarray, x: np.ndarray, condition: np.ndarray | None, samples: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Of rows x (n, D) the decoder's outputs (n, K, A) for K codes, and their log weights (n, K)."""
    mu, logvar = model._encode(network, X, condition=condition)
    deviation = np.exp(0.5 * logvar.astype(np.float64))
    part = np.arange(samples) % len(WIDENED)  # of each sample: as many of each as can be
    eps = rng.standard_normal((len(x), samples, mu.shape[1])) * np.sqrt(WIDENED)[part, None]
    z = mu[:, None] + deviation[:, None] * eps
    squares, columns = (eps**2).sum(axis=2), mu.shape[1]
    each = -0.5 * (squares[..., None] / WIDENED + columns * np.log(WIDENED))  # log densities of the parts, but for q's
    share = np.bincount(part, minlength=len(WIDENED)) / samples
    with np.errstate(divide="ignore"):
        log_r = np.logaddexp.reduce(each + np.log(share), axis=2) - np.log(deviation).sum(axis=1)[:, None]
    log_ratio = -0.5 * (z**2).sum(axis=2) - log_r
    beside = None if condition is None else np.repeat(condition, samples, axis=0)
    a = model._outputs(network, z.reshape(-1, z.shape[2]).astype(np.float32), beside)
    return a.reshape(len(x), samples, -1), log_ratio - nll_at(network, x, a).astype(np.float64).reshape(len(x), samples)


def _fill(
    likelihood: Likelihood, values: np.ndarray, drawn: list[np.ndarray], rows: np.ndarray, missing: np.ndarray,
    a: np.ndarray, w: np.ndarray, rng: np.random.Generator,
) -> None:  # fmt: skip
    """Write what is missing of rows: the weighted best values, and draws."""
    n, samples, outputs = a.shape
    if not isinstance(likelihood, Mixed):
        raise TypeError("a model of tables without gaps has nothing to fill in")
    for j, gone in enumerate(missing.T):
        if not gone.any():
            continue
        mean = likelihood.mean_of(j, a[gone].reshape(-1, outputs))
        own = np.einsum("nk,nk...->n...", w[gone], mean.reshape(-1, samples, *mean.shape[1:]))
        values[rows[gone], j] = KINDS[likelihood.kinds[j]].best(own)
    for each in drawn:
        found = likelihood.drawn(a[np.arange(n), chosen(w, rng)], rng)
        each[rows] = np.where(missing, found, each[rows])
