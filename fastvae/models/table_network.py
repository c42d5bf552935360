"""The network of a variational autoencoder of mixed tables, and the linear model that it begins at."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.data.scaling import Units
from fastvae.kernels import philox
from fastvae.kernels.formulas import HIDING
from fastvae.likelihoods import Likelihood
from fastvae.likelihoods.kinds import KINDS
from fastvae.likelihoods.mixed import Mixed
from fastvae.models.linear_start import LinearStart, probabilistic_pca
from fastvae.models.vae_network import Architecture, VAENetwork
from fastvae.passes import ROW, Pass

LEAST_SIGMA = 0.5  # of the linear model, in deviations of the columns
FILLED = 6  # times that missing values are taken from the linear model of all others


@dataclass(frozen=True)
class TableArchitecture(Architecture):
    """With the columns of a mixed table; without any, all are numbers that are always there, as a VAE has them.

    Attributes
    ----------
    kinds, levels, gaps
        See `fastvae.likelihoods.mixed.Mixed`.
    hide
        Share of the values that a step leaves out.
    """

    kinds: tuple[str, ...] = ()
    levels: tuple[int, ...] = ()
    gaps: tuple[bool, ...] = ()
    hide: float = 0.0


class TableNetwork(VAENetwork):
    """Encoder, latent layer and decoder, with columns of several kinds on either side."""

    def _likelihood(self, a: Any) -> Likelihood:
        return Mixed(a.kinds, a.levels, a.gaps) if a.kinds else super()._likelihood(a)

    def shown(self, p: Pass, x: np.ndarray) -> np.ndarray:
        """Write the rows x (B, D) with a share of their values missing, others in each step."""
        if not self.architecture.hide:
            return x
        shown, how = p.empty(x.shape[1]), (p.seed, philox.CORRUPTION, p.step, ROW)
        p.add("corrupt", x, HIDING, float(self.architecture.hide), *how, shown)
        return shown

    def start_mixed(self, x: np.ndarray, seed: np.uint64, condition: np.ndarray) -> None:
        """Begin at a linear model of what the encoder sees of rows x (N, D) with conditions (N, C): numbers as they
        are, counts by their logarithm, levels by whether they are there; what goes beside it starts at 0."""
        likelihood = self.likelihood
        assert isinstance(likelihood, Mixed)
        shown, places = likelihood.shown(x), _places(likelihood)
        missing = np.repeat(np.isnan(x), likelihood.levels, axis=1)
        start = _filled(shown[:, places], missing, self.architecture.latent_dim, seed, condition)
        slope = np.concatenate(
            [np.broadcast_to(s, n) for s, n in zip(likelihood.slopes, likelihood.levels, strict=True)]
        )
        encoder = np.zeros((likelihood.inputs + condition.shape[1], start.encoder.shape[1]))
        encoder[places] = start.encoder
        encoder[likelihood.inputs :] = -start.condition @ start.encoder
        both = np.concatenate((start.decoder * slope, start.condition * slope))
        there = (~missing).sum(axis=0)
        mean = np.where(missing, 0.0, shown[:, places]).sum(axis=0) / np.maximum(there, 1)
        moved = np.where(there > 0, start.mean - mean, 0.0)
        bias = likelihood.intercept(np.empty(0)) + moved * slope
        self._begin_linear(start, encoder, both, bias - _widened(likelihood, start.decoder * slope))
        theta, first = likelihood.theta, 0
        for j, (kind, stop) in enumerate(zip(likelihood.kinds, likelihood.stops, strict=True)):
            theta[j] = np.log(start.sigma[first]) if KINDS[kind].DEVIATION else theta[j]
            first = stop
        likelihood.set_logs(theta)


def _widened(likelihood: Mixed, decoder: np.ndarray) -> np.ndarray:
    """What the outputs (A,) have too much, as they vary under p(z): with a slope w by z, the mean of a count is
    multiplied by E[e^(w'z)] = e^(|w|^2 / 2), and so are the odds of a level."""
    logs = np.repeat([KINDS[kind].LOG_MEAN for kind in likelihood.kinds], likelihood.levels)
    return np.where(logs, 0.5 * (decoder**2).sum(axis=0), 0.0)


def _places(likelihood: Mixed) -> np.ndarray:
    """Where among the inputs of an encoder the values lie (A,), not whether they are missing."""
    widths = zip(likelihood.ends - np.add(likelihood.levels, likelihood.gaps), likelihood.levels, strict=True)
    return np.concatenate([np.arange(first, first + levels) for first, levels in widths])


def _filled(u: np.ndarray, missing: np.ndarray, components: int, seed: np.uint64, condition: np.ndarray) -> LinearStart:
    """Probabilistic PCA of u (N, A), whose missing values are taken from it itself again and again."""
    u, columns = u.astype(np.float64), u.shape[1]
    there = np.maximum((~missing).sum(axis=0), 1)
    u[missing] = np.broadcast_to(np.where(missing, 0.0, u).sum(axis=0) / there, u.shape)[missing]
    same = Units(np.zeros(columns), np.ones(columns))
    beside = [condition] if condition.shape[1] else []
    sigma = None
    for round_ in range(FILLED if missing.any() else 1):
        start = probabilistic_pca(u, same, u.mean(axis=0), np.ones(columns), components, sigma, seed, *beside)
        if start.sigma[0] < LEAST_SIGMA:  # levels add up to 1: some directions have no variance at all
            sigma = LEAST_SIGMA
            start = probabilistic_pca(u, same, u.mean(axis=0), np.ones(columns), components, sigma, seed, *beside)
        if round_ < FILLED - 1 and missing.any():
            centre = start.mean + condition @ start.condition
            u[missing] = (centre + (u - centre) @ start.encoder @ start.decoder)[missing]
    return start
