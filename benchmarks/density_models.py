"""What a density of a table is compared with: Gaussians of several kinds, and mixtures of them.

Each is fitted on standardised rows and gives log p(x) in nats of the user's units.
"""

import warnings
from collections.abc import Callable

import numpy as np

LogDensity = Callable[[np.ndarray], np.ndarray]

FOLDS = 5
ROWS_TO_CHOOSE_BY = 2000  # of the training part, at most
CANDIDATES = 12  # numbers of components that are tried, at most
MIXTURE = range(1, 11)  # components
MIXTURE_VARIANCE = 1e-2  # added to each of a component, in columns of deviation 1: no spikes on a column of few values


def independent(X: np.ndarray) -> LogDensity:
    """A Gaussian for each column: of standardised rows, the standard one."""
    return lambda Y: (-0.5 * Y**2 - 0.5 * np.log(2 * np.pi)).sum(1)


def maximum_likelihood(X: np.ndarray) -> LogDensity:
    """The Gaussian with the rows' own covariance."""
    from sklearn.covariance import EmpiricalCovariance

    return _gaussian(EmpiricalCovariance().fit(X).covariance_)


def ledoit_wolf(X: np.ndarray) -> LogDensity:
    """The Gaussian whose covariance is shrunk as Ledoit and Wolf do."""
    from sklearn.covariance import LedoitWolf

    return _gaussian(LedoitWolf().fit(X).covariance_)


def _gaussian(covariance: np.ndarray) -> LogDensity:
    values, axes = np.linalg.eigh(covariance)
    values = np.maximum(values, 1e-12 * values[-1])
    constant = -0.5 * np.log(2 * np.pi * values).sum()
    return lambda Y: constant - 0.5 * ((Y @ axes) ** 2 / values).sum(1)


def probabilistic_pca(X: np.ndarray) -> LogDensity:
    """Probabilistic PCA, its components chosen by cross-validated likelihood."""
    from sklearn.decomposition import PCA

    return _chosen(X, lambda n: PCA(n, svd_solver="full"))


def factor_analysis(X: np.ndarray) -> LogDensity:
    """Factor analysis, its factors chosen by cross-validated likelihood."""
    from sklearn.decomposition import FactorAnalysis

    return _chosen(X, lambda n: FactorAnalysis(n, svd_method="lapack"))


def _chosen(X: np.ndarray, make: Callable[[int], object]) -> LogDensity:
    from sklearn.model_selection import KFold, cross_val_score

    rows, columns = X.shape
    numbers = np.unique(np.geomspace(1, columns - 1, CANDIDATES).round().astype(int)) if columns > 2 else [1]
    some = np.random.default_rng(0).permutation(rows)[:ROWS_TO_CHOOSE_BY]
    folds = KFold(FOLDS, shuffle=True, random_state=0)
    scores = {int(n): cross_val_score(make(int(n)), X[some], cv=folds).mean() for n in numbers if n < len(some) // 2}
    return make(max(scores, key=scores.__getitem__)).fit(X).score_samples


def mixture(X: np.ndarray) -> LogDensity:
    """The Gaussian mixture of 1 to 10 components that BIC chooses."""
    from sklearn.mixture import GaussianMixture

    numbers = [n for n in MIXTURE if n <= len(X) // 2]
    fitted = [GaussianMixture(n, reg_covar=MIXTURE_VARIANCE, n_init=2, random_state=0).fit(X) for n in numbers]
    return min(fitted, key=lambda model: model.bic(X)).score_samples


MODELS = {
    "independent": independent,
    "Ledoit-Wolf": ledoit_wolf,
    "PPCA": probabilistic_pca,
    "factor analysis": factor_analysis,
    "ML Gaussian": maximum_likelihood,
    "mixture": mixture,
}
BAR = ("independent", "Ledoit-Wolf", "PPCA", "factor analysis")  # what a default must not be below


def fit(name: str, X: np.ndarray) -> LogDensity:
    """Fit that model; the log density is that of the units of `X` (N, D)."""
    mean, deviation = X.mean(0), X.std(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence: what counts is the held-out likelihood
        density = MODELS[name]((X - mean) / deviation)
    return lambda Y: density((Y - mean) / deviation) - np.log(deviation).sum()
