"""An ex-post prior: a Gaussian mixture fitted to the codes of the training rows, in the place of N(0, I).

    pi(z) = sum_c w_c N(z; m_c, S_c),     gain(x) = log integral p(x|z) pi(z) dz - log integral p(x|z) N(z; 0, I) dz

Ghosh, Sajjadi, Vergari, Black and Schoelkopf 2020. The decoder stays as it is: draws of pi decode to what the data are
where draws of N(0, I) do not. Fitting needs scikit-learn; the density and draws do not.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.data.minibatches import Examples
from fastvae.evaluation.observer import Observer, watching
from fastvae.evaluation.weights import Weights, pieces
from fastvae.evaluation.widening import propose_widened
from fastvae.evaluation.width import normalised
from fastvae.kernels.philox import PROPOSAL
from fastvae.models.settings import check_integer, seed_from

COMPONENTS = (1, 2, 4, 8, 16, 32)
CODES, MOST_DRAWS = 10_000, 16  # codes that are fitted, about, and draws of one row at most
HELD_BACK = 0.2  # of the rows, for the choice of the number of components
LEAST_ROWS = 10
RIDGE = 1e-6  # added to variances


@dataclass(frozen=True)
class ExPostPrior:
    """pi(z) = sum_c w_c N(z; m_c, S_c).

    Attributes
    ----------
    weights : (C,) float64
        They sum to 1.
    means : (C, Z), covariances : (C, Z, Z) float64
    heldout : dict
        Number of components to the mean of log pi(z) - log N(z; 0, I) over codes of rows that were held back, in nats,
        by which C was chosen; empty where it was given.
    n_codes
        Codes that it was fitted to.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    heldout: dict[int, float]
    n_codes: int

    def __len__(self) -> int:
        return len(self.weights)

    def log_density(self, z: np.ndarray) -> np.ndarray:
        """log pi(z) (n,) of z (n, Z)."""
        z = np.asarray(z, np.float64)
        total = np.full(len(z), -np.inf)
        for weight, mean, covariance in zip(self.weights, self.means, self.covariances, strict=True):
            factor = np.linalg.cholesky(covariance)
            inverse = np.linalg.inv(factor)
            squares = np.square((z - mean) @ inverse.T).sum(axis=1)
            constant = math.log(weight) - np.log(np.diag(factor)).sum() - 0.5 * z.shape[1] * math.log(2 * math.pi)
            np.logaddexp(total, constant - 0.5 * squares, out=total)
        return total

    def log_ratio(self, z: np.ndarray) -> np.ndarray:
        """log pi(z) - log N(z; 0, I) (n,) of z (n, Z)."""
        squares = np.square(z, dtype=np.float64).sum(axis=1)
        return self.log_density(z) + 0.5 * squares + 0.5 * z.shape[1] * math.log(2 * math.pi)

    def sample(self, n: int, seed: Any = None) -> np.ndarray:
        """Draw z (n, Z) float32."""
        check_integer("n", n, 1)
        rng = np.random.default_rng(int(seed_from(seed)))
        which = rng.choice(len(self), n, p=self.weights)
        noise = rng.standard_normal((n, self.means.shape[1]))
        factors = np.linalg.cholesky(self.covariances)
        z = self.means[which]
        for c in range(len(self)):
            z[which == c] += noise[which == c] @ factors[c].T
        return z.astype(np.float32)


@dataclass(frozen=True)
class PriorGain:
    """What an ex-post prior gains on rows that it has not seen, in nats an example.

    Attributes
    ----------
    gains : (N,) float64
        log p(x) with it, less log p(x) with N(0, I), from the same draws.
    mcse : (N,) float64
        Monte Carlo standard errors of the gains: sqrt(sum_k (a_k - b_k)^2), a and b the weights of the draws under
        either prior, each with sum 1.
    with_prior, with_normal : (N,) float64
        The two log p(x).
    n_samples
        Draws an example.
    complete
        False after Ctrl-C: of the examples that were done.
    """

    gains: np.ndarray
    mcse: np.ndarray
    with_prior: np.ndarray
    with_normal: np.ndarray
    n_samples: int
    complete: bool = True

    @property
    def mean(self) -> float:
        """The mean gain over the examples."""
        return float(self.gains.mean())

    @property
    def mean_mcse(self) -> float:
        """Monte Carlo standard error of `mean`: of a repetition with other draws, on the same examples."""
        return float(np.sqrt(np.square(self.mcse).sum()) / len(self.gains))

    @property
    def error(self) -> float:
        """Standard error of `mean`, for other examples and other draws: deviation / sqrt(N) of the gains, which holds
        their Monte Carlo error; NaN for one example. The fit of the prior is taken as given."""
        return float(self.gains.std(ddof=1) / math.sqrt(len(self.gains))) if len(self.gains) > 1 else math.nan

    def summary(self) -> dict[str, Any]:
        """What JSON can hold; None for what is not known."""
        error = None if math.isnan(self.error) else self.error
        found = {"gain": self.mean, "error": error, "mcse": self.mean_mcse, "n_samples": self.n_samples}
        return found | {
            "n_examples": len(self.gains),
            "log_p": float(self.with_prior.mean()),
            "complete": self.complete,
        }


def fit_prior(
    model: Any, X: Any, *, components: int | Sequence[int] = COMPONENTS, seed: Any = 0, condition: Any = None
) -> ExPostPrior:
    """Fit a Gaussian mixture to codes drawn from q(z|x) of the training rows.

    Parameters
    ----------
    model : VAE
        Fitted, with its encoder.
    X : (N, D) or Examples
        The rows that the model was trained on; at least 10.
    components
        C; or several, of which the one is taken under which codes of a fifth of the rows, held back, are likeliest. The
        mixture is then fitted to all.
    seed
        Of the codes, and of the fit.
    condition
        As `fit` has it, for a model that was fitted with one; examples have theirs. The prior does not depend on it.

    Raises
    ------
    ModuleNotFoundError
        Without scikit-learn.
    ValueError
        Too few rows; numbers of components that are none.
    """
    candidates: list[Any] = [components] if np.ndim(components) == 0 else list(np.atleast_1d(components))
    if not candidates:
        raise ValueError("components=() is empty: pass how many, or several to choose from")
    for candidate in candidates:
        check_integer("components", candidate, 1)
    mixture = _mixture()
    examples = X if isinstance(X, Examples) else model.examples(X, condition=condition)
    if len(examples) < LEAST_ROWS:
        raise ValueError(f"X has {len(examples)} examples; a prior that is fitted to codes needs at least {LEAST_ROWS}")
    mu, logvar = (values.astype(np.float64) for values in model.encode_examples(examples))
    number = int(seed_from(seed))
    rng = np.random.default_rng(number)
    order = rng.permutation(len(mu))[:CODES]
    draws = min(MOST_DRAWS, -(-CODES // len(order)))
    noise = rng.standard_normal((len(order), draws, mu.shape[1]))
    codes = mu[order, None] + np.exp(0.5 * logvar[order])[:, None] * noise  # rows, draws, Z
    back = max(1, int(HELD_BACK * len(order)))
    heldout: dict[int, float] = {}
    best = int(candidates[0])
    if len(candidates) > 1:
        fitted, judged = (part.reshape(-1, mu.shape[1]) for part in (codes[back:], codes[:back]))
        for count in map(int, candidates):
            if count <= len(fitted) // draws:
                heldout[count] = float(_fitted(mixture, fitted, count, number, {}).log_ratio(judged).mean())
        best = max(heldout, key=lambda count: heldout[count]) if heldout else 1
    elif best > len(order):
        raise ValueError(f"components={best} is more than the {len(order)} examples: use fewer")
    return _fitted(mixture, codes.reshape(-1, mu.shape[1]), best, number, heldout)


def _mixture() -> Any:
    try:
        from sklearn.mixture import GaussianMixture
    except ImportError:
        raise ModuleNotFoundError("fitting an ex-post prior needs scikit-learn: pip install scikit-learn") from None
    return GaussianMixture


def _fitted(mixture: Any, codes: np.ndarray, count: int, seed: int, heldout: dict[int, float]) -> ExPostPrior:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a fit that has not converged: its held-out density says what it is worth
        found = mixture(count, reg_covar=RIDGE, random_state=seed % 2**32).fit(codes)
    weights = np.maximum(found.weights_, np.finfo(float).tiny)
    return ExPostPrior(weights / weights.sum(), found.means_, found.covariances_, heldout, len(codes))


def sample_with(
    model: Any, prior: ExPostPrior, n: int = 1, *, seed: Any = None, noise: bool = False, condition: Any = None
) -> np.ndarray:
    """Draw z from an ex-post prior and return the mean of p(x|z): (n, D), in the user's units. `noise`, `condition`: as
    `VAE.sample` has them."""
    number = seed_from(seed)
    x = model.decode(prior.sample(n, int(number)), **({} if condition is None else {"condition": condition}))
    if noise:
        model._draw_observations(model._check_fitted(), x, number, 0)
    return x


def prior_gain(
    model: Any,
    prior: ExPostPrior,
    X: Any,
    n_samples: int = 1000,
    *,
    seed: Any = 0,
    condition: Any = None,
    observer: Observer | None = None,
) -> PriorGain:
    """What an ex-post prior gains in log p(x) on rows that neither it nor the model was fitted to.

    Both log p(x) are importance sampling's, from the same draws of q(z|x), widened by the same pilot: they differ in
    the weights alone, so that most of the noise cancels. With N(0, I) it is what `importance` gives with this seed.

    Parameters
    ----------
    model : VAE
        Fitted, with its encoder.
    prior
        Of this model.
    X : (N, D) or Examples
        Held-out rows.
    n_samples
        K, draws an example; at least 2.
    seed
        Of the draws.
    condition
        As `fit` has it, for a model that was fitted with one; examples have theirs.
    observer
        See `fastvae.evaluation.observer.Observer`. None: the first Ctrl-C returns what is done.
    """
    network = model._check_complete()
    check_integer("n_samples", n_samples, 2)
    examples = model._accepted(network, X if isinstance(X, Examples) else model.examples(X, condition=condition))
    if prior.means.shape[1] != network.inputs["z"]:
        found = f"prior has {prior.means.shape[1]} dimensions, the model's codes have {network.inputs['z']}"
        raise ValueError(f"{found}: take one that was fitted to this model")
    results: list[tuple[np.ndarray, ...]] = []
    done = 0
    with watching(observer) as watcher:
        for piece in pieces(network, examples, seed_from(seed)):
            found_piece = _weigh(piece, prior, n_samples, watcher)
            if found_piece is None:
                break
            results.append(found_piece)
            done += piece.rows
            watcher.progressed(done, len(examples), "examples")
    if not done:
        raise KeyboardInterrupt("prior_gain: stopped before the first examples were done")
    normal, changed, mcse = (np.concatenate(values) for values in zip(*results, strict=True))
    normal, changed = normal - network.log_jacobian, changed - network.log_jacobian
    return PriorGain(changed - normal, mcse, changed, normal, n_samples, done == len(examples))


def _weigh(piece: Weights, prior: ExPostPrior, n_samples: int, watcher: Any) -> tuple[np.ndarray, ...] | None:
    """The logarithms of the mean weight under either prior, and the error of their difference, each (n,); None where it
    was stopped."""
    mu, logvar = propose_widened(piece, n_samples)  # as `importance` does it
    deviation = np.exp(0.5 * logvar)
    log_w, log_ratio = np.empty((piece.rows, n_samples)), np.empty((piece.rows, n_samples))
    for first in range(0, n_samples, piece.at_once):
        if watcher.stop_requested():
            return None
        some = min(piece.at_once, n_samples - first)
        log_w[:, first : first + some] = piece.log_weights(PROPOSAL, first, some)
        for k in range(first, first + some):
            log_ratio[:, k] = prior.log_ratio(mu + deviation * piece.noise(PROPOSAL, k))
    own, normal = normalised(log_w)
    other, changed = normalised(log_w + log_ratio)
    mcse = np.sqrt(np.square(other - own).sum(axis=1) * (n_samples / (n_samples - 1)))
    return normal, changed, mcse
