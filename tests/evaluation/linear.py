"""Linear VAEs, whose log p(x) and p(z|x) are closed forms."""

import numpy as np

from fastvae import VAE


class LinearGaussian:
    """x = z W + b + sigma eps, with an encoder that is wrong by as much as it may be: `vae`, and what is exact of it.

    p(x) = N(b, W'W + sigma^2 I);  p(z|x) = N(M^-1 W (x - b), sigma^2 M^-1), M = W W' + sigma^2 I, W (Z, D).
    """

    def __init__(self, latent_dim=2, columns=5, sigma=0.7, seed=0, mistake=0.3, strength=1.0, **settings):
        rng = np.random.default_rng(seed)
        plain = {"scale": None, "linear": False, "random_state": 0, "likelihood": "gaussian", "sigma": sigma}
        self.vae = VAE(latent_dim, (), **plain | settings)
        self.vae.initialize(rng.normal(size=(16, columns)).astype(np.float32))
        p = self.vae.parameters()
        p["decoder.0.weight"][:] = strength * rng.normal(size=(latent_dim, columns)) / np.sqrt(latent_dim)
        p["decoder.0.bias"][:] = rng.normal(size=columns)
        self.W, self.b = p["decoder.0.weight"].astype(float), p["decoder.0.bias"].astype(float)
        self.sigma = self.vae.sigma_
        self.covariance = self.W.T @ self.W + self.sigma**2 * np.eye(columns)
        M = self.W @ self.W.T + self.sigma**2 * np.eye(latent_dim)
        self.project, self.posterior = np.linalg.solve(M, self.W).T, self.sigma**2 * np.linalg.inv(M)
        p["mu.weight"][:] = self.project + mistake * rng.normal(size=self.project.shape) / columns**0.5
        p["mu.bias"][:] = -self.b @ self.project
        p["logvar.weight"][:] = mistake * rng.normal(size=self.project.shape) / columns**0.5
        p["logvar.bias"][:] = np.log(np.diag(self.posterior)) + mistake
        self.rng = rng

    def log_p(self, x):
        """log p(x) of each row."""
        apart = np.asarray(x, float) - self.b
        squares = (apart * np.linalg.solve(self.covariance, apart.T).T).sum(axis=1)
        return -0.5 * (squares + np.linalg.slogdet(2 * np.pi * self.covariance)[1])

    def draw(self, count):
        """x from the model, float32."""
        z = self.rng.normal(size=(count, len(self.W)))
        noise = self.rng.normal(size=(count, self.W.shape[1]))
        return (z @ self.W + self.b + self.sigma * noise).astype(np.float32)
