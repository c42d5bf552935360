"""Tables whose density is estimated: of wheels that are installed anyway, and drawn from densities that are known.

Nothing is downloaded. A column of few values gets uniform noise of the width of its steps, or there is no density.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SPLITS_OF_FIVE = 5
LogDensity = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Table:
    """Rows (N, D) float64; the log density that they were drawn from, where it is known.

    `gaussian` says whether that is a Gaussian; None where nobody knows.
    """

    name: str
    X: np.ndarray
    log_density: LogDensity | None = None
    gaussian: bool | None = None


class MissingDataError(Exception):
    """A table cannot be made here; the message says why."""


def load(name: str) -> Table:
    """The table of that name, always with the same rows."""
    try:
        return TABLES[name](name)
    except ImportError as error:
        raise MissingDataError(f"{error.name} is not installed") from None


def split(rows: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and a fifth to test on: five splits test every row once, the next five in another order."""
    order = np.random.default_rng([number // SPLITS_OF_FIVE, rows]).permutation(rows)
    parts = np.array_split(order, SPLITS_OF_FIVE)
    test = parts.pop(number % SPLITS_OF_FIVE)
    return np.sort(np.concatenate(parts)), np.sort(test)


# ---- of scikit-learn and statsmodels ----------------------------------------------------------------------------


def _sklearn(name: str) -> Table:
    from sklearn import datasets

    options = {"scaled": False} if name == "diabetes" else {}
    return Table(name, getattr(datasets, f"load_{name}")(**options).data.astype(np.float64))


def _statsmodels(columns: dict[str, float]) -> Callable[[str], Table]:
    """Columns of a data set of statsmodels, each with the width of its steps: 0 where it is continuous."""

    def make(name: str) -> Table:
        module = importlib.import_module(f"statsmodels.datasets.{name}")
        X = module.load_pandas().data[list(columns)].to_numpy(np.float64)
        noise = np.random.default_rng(len(X)).random(X.shape) - 0.5
        return Table(name, X + noise * np.array(list(columns.values())))

    return make


def _fertility(name: str) -> Table:
    module = importlib.import_module("statsmodels.datasets.fertility")
    frame = module.load_pandas().data
    return Table(name, frame[[str(year) for year in range(1960, 2012)]].dropna().to_numpy(np.float64))


# ---- drawn from known densities ---------------------------------------------------------------------------------


def _normal(X: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    from scipy.stats import multivariate_normal

    return multivariate_normal(mean, covariance).logpdf(X)


def _covariance(rng: np.random.Generator, columns: int, noise: float = 0.2) -> np.ndarray:
    root = rng.normal(size=(columns, columns)) / columns**0.5
    return root @ root.T + noise * np.eye(columns)


def _mixture(rows: int, columns: int, components: int) -> Callable[[str], Table]:
    def make(name: str) -> Table:
        from scipy.special import logsumexp

        rng = np.random.default_rng(100 * columns + components)
        weights = rng.dirichlet(np.full(components, 5.0))
        means = 2.5 * rng.normal(size=(components, columns))
        covariances = [_covariance(rng, columns) for _ in weights]
        which = rng.choice(components, size=rows, p=weights)
        noise = rng.normal(size=(rows, columns))
        X = means[which] + np.einsum("nij,nj->ni", np.linalg.cholesky(covariances)[which], noise)

        def log_density(X: np.ndarray) -> np.ndarray:
            parts = [_normal(X, m, c) for m, c in zip(means, covariances, strict=True)]
            return logsumexp(np.log(weights)[:, None] + np.array(parts), axis=0)

        return Table(name, X, log_density, gaussian=False)

    return make


def _gaussian(name: str) -> Table:
    rng = np.random.default_rng(1)
    mean, covariance = 3 * rng.normal(size=20), _covariance(rng, 20, 0.05)
    X = rng.multivariate_normal(mean, covariance, size=500)
    return Table(name, X, lambda X: _normal(X, mean, covariance), gaussian=True)


def _factors(name: str) -> Table:
    """Four factors behind sixty columns, each with noise of its own size and in units of its own."""
    rng = np.random.default_rng(2)
    units = np.exp(2 * rng.normal(size=60))
    loadings = rng.normal(size=(60, 4))
    covariance = (loadings @ loadings.T + np.diag(np.exp(rng.normal(size=60)))) * np.outer(units, units)
    X = rng.multivariate_normal(np.zeros(60), covariance, size=2000)
    return Table(name, X, lambda X: _normal(X, np.zeros(60), covariance), gaussian=True)


def _heavy_tails(name: str) -> Table:
    from scipy.stats import multivariate_t

    rng = np.random.default_rng(3)
    density = multivariate_t(np.zeros(6), _covariance(rng, 6), df=3)
    return Table(name, density.rvs(2000, random_state=rng), density.logpdf, gaussian=False)


def _lognormal(name: str) -> Table:
    rng = np.random.default_rng(4)
    mean, covariance = rng.normal(size=5), 0.6 * _covariance(rng, 5)
    X = np.exp(rng.multivariate_normal(mean, covariance, size=1500))
    return Table(name, X, lambda X: _normal(np.log(X), mean, covariance) - np.log(X).sum(1), gaussian=False)


RADIUS, NOISE = 1.0, 0.1  # of the manifolds


def _ring(name: str) -> Table:
    """A circle in a plane of ten dimensions, with noise in all of them."""
    from scipy.special import i0e

    rng = np.random.default_rng(5)
    axes, angle = np.linalg.qr(rng.normal(size=(10, 10)))[0], rng.uniform(0, 2 * np.pi, 3000)
    Y = NOISE * rng.normal(size=(3000, 10))
    Y[:, :2] += RADIUS * np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def log_density(X: np.ndarray) -> np.ndarray:
        Y = X @ axes
        radius = np.hypot(Y[:, 0], Y[:, 1])
        plane = np.log(i0e(radius * RADIUS / NOISE**2)) - (radius - RADIUS) ** 2 / (2 * NOISE**2)
        return plane - (Y[:, 2:] ** 2).sum(1) / (2 * NOISE**2) - 5 * np.log(2 * np.pi * NOISE**2)

    return Table(name, Y @ axes.T, log_density, gaussian=False)


def _swiss_roll(name: str) -> Table:
    """A rolled sheet in three of ten dimensions, with noise in all of them."""
    from scipy.special import logsumexp, ndtr

    rng = np.random.default_rng(6)
    axes, height = np.linalg.qr(rng.normal(size=(10, 10)))[0], 2.0
    begin, end = 1.5 * np.pi, 4.5 * np.pi

    def roll(t: np.ndarray) -> np.ndarray:
        return 0.1 * t[:, None] * np.stack([np.cos(t), np.sin(t)], axis=1)

    Y = NOISE * rng.normal(size=(5000, 10))
    Y[:, :2] += roll(rng.uniform(begin, end, 5000))
    Y[:, 2] += height * rng.random(5000)
    middle = roll(begin + (end - begin) * (np.arange(2000) + 0.5) / 2000)  # the midpoint rule

    def log_density(X: np.ndarray) -> np.ndarray:
        Y = X @ axes
        squared = (Y[:, :2] ** 2).sum(1)[:, None] - 2 * Y[:, :2] @ middle.T + (middle**2).sum(1)
        plane = logsumexp(-squared / (2 * NOISE**2), axis=1) - np.log(len(middle))
        along = np.log((ndtr(Y[:, 2] / NOISE) - ndtr((Y[:, 2] - height) / NOISE)) / height)
        rest = -(Y[:, 3:] ** 2).sum(1) / (2 * NOISE**2)
        return plane + along + rest - 4.5 * np.log(2 * np.pi * NOISE**2)

    return Table(name, Y @ axes.T, log_density, gaussian=False)


FOUR = ("iris", "wine", "breast_cancer", "diabetes")
STAR98 = ["LOWINC", "PERASIAN", "PERBLACK", "PERHISP", "PERMINTE", "AVYRSEXP", "AVSALK", "PERSPENK", "PTRATIO", "PCTAF"]
MACRODATA = ["realgdp", "realcons", "realinv", "realgovt", "realdpi", "cpi", "m1", "tbilrate", "unemp", "pop", "infl"]
ANES96 = ["TVnews", "selfLR", "ClinLR", "DoleLR", "PID", "age", "educ", "income", "logpopul"]
FAIR = {"rate_marriage": 1, "age": 5, "yrs_married": 3, "children": 1, "religious": 1, "educ": 2, "occupation": 1}
RANDHIE = {"mdvis": 1, "lncoins": 0.5, "lpi": 0.5, "fmde": 0.5, "disea": 1}

TABLES: dict[str, Callable[[str], Table]] = {
    **dict.fromkeys(FOUR, _sklearn),
    "engel": _statsmodels({"income": 0, "foodexp": 0}),
    "grunfeld": _statsmodels({"invest": 0, "value": 0, "capital": 0}),
    "macrodata": _statsmodels(dict.fromkeys(MACRODATA, 0)),
    "fertility": _fertility,
    "star98": _statsmodels(dict.fromkeys(STAR98, 0)),
    "modechoice": _statsmodels(dict.fromkeys(["ttme", "invc", "invt", "gc", "hinc"], 1)),
    "anes96": _statsmodels(dict.fromkeys(ANES96, 1)),
    "gaussian": _gaussian,
    "mixture_2": _mixture(1000, 2, 5),
    "lognormal": _lognormal,
    "heavy_tails": _heavy_tails,
    "factors": _factors,
    "ring": _ring,
    "swiss_roll": _swiss_roll,
    "fair": _statsmodels(FAIR),
    "mixture_8": _mixture(20000, 8, 4),
    "randhie": _statsmodels(RANDHIE),
}
