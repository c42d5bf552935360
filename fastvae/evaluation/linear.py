"""Linear VAEs, of which all is known: p(x) is a Gaussian, and so is p(z|x). What estimators are tried by.

    z ~ N(0, I),  x = W z + m + sigma N(0, I):    p(x) = N(m, W W' + sigma^2 I)
    p(z|x) = N(P^-1 W' (x - m) / sigma^2, P^-1),  P = W' W / sigma^2 + I

Tipping and Bishop 1999; Lucas, Tucker, Grosse and Norouzi 2019.
"""

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.models.vae import VAE

LARGEST = 2.0  # deviation of the entries of a W that is drawn
LOG_TWO_PI = math.log(2.0 * math.pi)


@dataclass(frozen=True)
class LinearVAE:
    """W (D, Z), m (D,) and sigma, all float64; `device` is where its estimators compute."""

    weight: np.ndarray
    mean: np.ndarray
    sigma: float = 1.0
    device: str = "auto"

    @classmethod
    def drawn(
        cls, columns: int, latent_dim: int, gap: float, seed: int, sigma: float = 1.0, device: str = "auto"
    ) -> "LinearVAE":
        """One with a random W, so large that log p(x) - ELBO of the best diagonal q is `gap` nats; or as near to that
        as its columns allow, which have a gap by the angles between them."""
        rng = np.random.default_rng(seed)
        direction, mean = rng.normal(size=(columns, latent_dim)), rng.normal(size=columns)
        # numbers that float32 holds, so that the network is this very model
        mean = mean.astype(np.float32).astype(np.float64)
        low, high = 1e-3, LARGEST
        for _ in range(30):
            middle = math.sqrt(low * high)
            low, high = (low, middle) if cls(middle * direction, mean, sigma).gap > gap else (middle, high)
        return cls((low * direction).astype(np.float32).astype(np.float64), mean, sigma, device)

    @property
    def precision(self) -> np.ndarray:
        """P (Z, Z), of p(z|x)."""
        return self.weight.T @ self.weight / self.sigma**2 + np.eye(self.weight.shape[1])

    @property
    def variances(self) -> np.ndarray:
        """(Z,), of the diagonal q with the largest ELBO: 1 / P_jj."""
        return 1.0 / np.diag(self.precision)

    @property
    def gap(self) -> float:
        """log p(x) - ELBO of that q: 1/2 (sum log P_jj - log det P)."""
        return float(0.5 * (-np.log(self.variances).sum() - np.linalg.slogdet(self.precision)[1]))

    def draw(self, count: int, seed: int) -> np.ndarray:
        """x (N, D) from the model, float32."""
        rng = np.random.default_rng(seed)
        z = rng.normal(size=(count, self.weight.shape[1]))
        noise = self.sigma * rng.normal(size=(count, len(self.mean)))
        return (z @ self.weight.T + self.mean + noise).astype(np.float32)

    def log_density(self, X: np.ndarray) -> np.ndarray:
        """log p(x) (N,), exactly."""
        return self._log_normal(X, self.sigma**2)

    def _log_normal(self, X: np.ndarray, variance: float) -> np.ndarray:
        """log N(x; m, W W' + variance I)."""
        covariance = self.weight @ self.weight.T + variance * np.eye(len(self.mean))
        apart = np.asarray(X, np.float64) - self.mean
        squares = np.einsum("nd,nd->n", apart, np.linalg.solve(covariance, apart.T).T)
        return -0.5 * (squares + np.linalg.slogdet(covariance)[1] + len(self.mean) * LOG_TWO_PI)

    def naive_log_square(self, X: np.ndarray) -> np.ndarray:
        """log E[p(x|z)^2] (N,), z from the prior: that of (4 pi sigma^2)^(-D/2) N(x; m, W W' + sigma^2 I / 2)."""
        constant = -0.5 * len(self.mean) * math.log(4.0 * math.pi * self.sigma**2)
        return constant + self._log_normal(X, self.sigma**2 / 2.0)

    def tail_shape(self, variances: np.ndarray) -> float:
        """k of the weights of draws from N(E[z|x], diag(variances)): 1 - 1 / rho, rho the largest eigenvalue of
        Sq^(-1/2) Sp Sq^(-1/2), with Sp the posterior's covariance and Sq the proposal's."""
        deviations = np.sqrt(variances)
        smallest = np.linalg.eigvalsh(deviations[:, None] * self.precision * deviations)[0]  # 1 / rho
        return float(1.0 - smallest)

    def with_tail(self, shape: float) -> np.ndarray:
        """Variances (Z,) of a proposal whose weights have a tail of that shape: a multiple of the best ones."""
        return self.variances * (1.0 - shape) / (1.0 - self.tail_shape(self.variances))

    def estimator(self, variances: np.ndarray | None = None, seed: int = 0, unit: float = 1.0) -> VAE:
        """A fitted `VAE` that is this model of x / unit, with q(z|x) = N(E[z|x], diag(variances)); by default the best
        ones."""
        latent_dim = self.weight.shape[1]
        settings: dict[str, Any] = {"scale": (0.0, unit), "linear": False, "random_state": seed, "device": self.device}
        vae = VAE(latent_dim, (), likelihood="gaussian", sigma=self.sigma, **settings)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its units are what they are
            vae.initialize(unit * self.draw(2, 0))
        project = np.linalg.solve(self.precision, self.weight.T / self.sigma**2).T
        parameters = vae.parameters()
        parameters["mu.weight"][:], parameters["mu.bias"][:] = project, -self.mean @ project
        parameters["logvar.weight"][:] = 0
        parameters["logvar.bias"][:] = np.log(self.variances if variances is None else variances)
        parameters["decoder.0.weight"][:], parameters["decoder.0.bias"][:] = self.weight.T, self.mean
        return vae
