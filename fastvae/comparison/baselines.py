"""The dumbest things that could work: independent columns and, of real numbers, one Gaussian with all covariances, with
exact log p(x) and samples; principal components."""

import time
from typing import Any

import numpy as np

from fastvae.comparison.subject import Subject
from fastvae.errors import counted
from fastvae.evaluation.result import LogLikelihood

LEAST = 1e-3  # by which the mean of a binary column is kept off 0 and 1
LEAST_VARIANCE = 1e-6


class IndependentColumns:
    """p(x) = product over columns of Bernoulli(m_d), or of N(m_d, v_d); m and v by the rows that are trained on."""

    def __init__(self, subject: Subject):
        X = subject.seen
        self.kind, self._log_jacobian = subject.kind, subject.log_jacobian
        self.mean = X.mean(axis=0, dtype=np.float64)
        if self.kind == "bernoulli":
            self.mean = np.clip(self.mean, LEAST, 1 - LEAST)
        self.variance = np.maximum(np.square(X - self.mean).mean(axis=0, dtype=np.float64), LEAST_VARIANCE)
        self.parameters = X.shape[1] * (1 if self.kind == "bernoulli" else 2)

    def evaluate(self, X: np.ndarray) -> LogLikelihood:
        """log p(x) of each row (N,), in nats: exact."""
        began, m, v = time.perf_counter(), self.mean, self.variance
        if self.kind == "bernoulli":
            values = X @ np.log(m) + (1 - X) @ np.log1p(-m)
        else:
            values = -0.5 * (np.square(X - m) / v + np.log(2 * np.pi * v)).sum(axis=1) - self._log_jacobian
        return LogLikelihood.exact(values.astype(np.float64), time.perf_counter() - began)

    def sample(self, n: int, random_state: int) -> np.ndarray:
        """Draws (n, D) float32."""
        random = np.random.default_rng(random_state)
        if self.kind == "bernoulli":
            return (random.random((n, len(self.mean))) < self.mean).astype(np.float32)
        return random.normal(self.mean, np.sqrt(self.variance), (n, len(self.mean))).astype(np.float32)

    def reconstruct(self, X: np.ndarray) -> np.ndarray:
        """The mean for each row: what is given back without a code."""
        return np.broadcast_to(self.mean, X.shape)


class Gaussian:
    """p(x) = N(m, S), with the mean and all covariances of the rows that are trained on; no variance is below 1e-6, in
    any direction."""

    def __init__(self, subject: Subject):
        self._log_jacobian = subject.log_jacobian
        self.mean, covariance = moments(subject.seen)
        values, self._directions = np.linalg.eigh(covariance)
        self._variances = np.maximum(values, LEAST_VARIANCE)
        self.parameters = len(self.mean) + len(self.mean) * (len(self.mean) + 1) // 2

    def evaluate(self, X: np.ndarray) -> LogLikelihood:
        """log p(x) of each row (N,), in nats: exact."""
        began, v = time.perf_counter(), self._variances
        squares = np.square((X - self.mean) @ self._directions)
        values = -0.5 * (squares / v + np.log(2 * np.pi * v)).sum(axis=1) - self._log_jacobian
        return LogLikelihood.exact(values, time.perf_counter() - began)

    def sample(self, n: int, random_state: int) -> np.ndarray:
        """Draws (n, D) float32."""
        z = np.random.default_rng(random_state).normal(size=(n, len(self.mean)))
        return (self.mean + (z * np.sqrt(self._variances)) @ self._directions.T).astype(np.float32)


class PrincipalComponents:
    """x' = m + W W'(x - m), W (D, Z) the first principal directions: the best linear code of Z numbers."""

    def __init__(self, subject: Subject, components: int):
        self.mean, covariance = moments(subject.seen)
        self.directions = np.linalg.eigh(covariance)[1][:, -components:]
        self.parameters = self.directions.size + self.mean.size

    def reconstruct(self, X: np.ndarray) -> np.ndarray:
        """(N, D) float64."""
        return self.mean + (X - self.mean) @ self.directions @ self.directions.T


def moments(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and covariances (D, D) of rows X (N, D), divisor N, in float64."""
    mean = X.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((X.shape[1],) * 2)
    for first in range(0, len(X), 4096):
        centred = X[first : first + 4096] - mean
        covariance += centred.T @ centred
    return mean, covariance / len(X)


def baselines(subject: Subject, components: int) -> dict[str, tuple[str, Any]]:
    """Name to title and model; the seconds that each took."""
    gaussian = {"gaussian": ("Gaussian", Gaussian(subject))} if subject.kind == "gaussian" else {}
    return (
        {"independent": ("independent columns", IndependentColumns(subject))}
        | gaussian
        | {
            "pca": (f"PCA, {counted(components, 'component')}", PrincipalComponents(subject, components)),
        }
    )
