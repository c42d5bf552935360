"""The evidence lower bound, split into what it is made of.

    ELBO = E_q[log p(x|z)] - sum_j KL_j,    KL_j = 1/2 (v_j + mu_j^2 - 1 - log v_j)

The KL is exact, the reconstruction a mean over draws. Hoffman and Johnson 2016 on what the parts say.
"""

import time
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from fastvae import reference
from fastvae.data.minibatches import Examples
from fastvae.evaluation.observer import Observer, watching
from fastvae.evaluation.result import LogLikelihood
from fastvae.evaluation.weights import check_finite, pieces
from fastvae.kernels.philox import PROPOSAL
from fastvae.models.settings import check_integer, seed_from


@dataclass(frozen=True, repr=False)
class Elbo(LogLikelihood):
    """A lower bound of log p(x) for each example, in nats of the user's units: `reconstruction` less the sum of `kl`.

    Attributes
    ----------
    reconstruction : (N,) float64
        E_q[log p(x|z)], the mean over draws of z.
    kl : (N, Z) float64
        KL[q(z_j|x) || N(0, 1)] of each latent dimension, exactly.
    """

    reconstruction: np.ndarray = field(default_factory=lambda: np.empty(0))
    kl: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))

    @classmethod
    def without_draws(cls, values: np.ndarray, kl: np.ndarray, points: int, seconds: float) -> Self:
        """From values whose E_q is a mean over so many fixed points: there is no Monte Carlo error to be told."""
        unknown, reconstruction = np.full(len(values), np.nan), values + kl.sum(axis=1)
        drawn: dict[str, Any] = {
            "mcse": unknown,
            "ess": unknown,
            "khat": unknown,
            "n_samples": points,
            "seconds": seconds,
        }
        return cls("elbo", "lower bound", values, **drawn, reconstruction=reconstruction, kl=kl)


def elbo(
    model: Any, examples: Examples, n_samples: int = 100, *, seed: Any = 0, observer: Observer | None = None
) -> Elbo:
    """The ELBO of each example, from `n_samples` draws of z, those that `importance` takes where it does not widen q.

    Parameters
    ----------
    model
        A fitted VAE, with its encoder.
    examples
        What `model.examples(X)` returned.
    n_samples
        Draws of z for each example; the error of the mean, `mcse`, needs two.
    seed, observer
        See `fastvae.evaluation.importance.importance`.
    """
    network = model._check_complete()
    check_integer("n_samples", n_samples, 1)
    examples = model._accepted(network, examples)
    started, done, parts = time.perf_counter(), 0, []
    with watching(observer) as watcher:
        for weights in pieces(network, examples, seed_from(seed)):
            mu, logvar = (a.astype(np.float64) for a in weights.encode())
            kl = reference.kl_terms(mu, logvar)
            weights.propose(mu, logvar)
            added, origin = 0, np.zeros(weights.rows)
            sums = np.zeros((2, weights.rows))  # of the nll and of its square, counted from the first draw's
            while added < n_samples and not watcher.stop_requested():
                some = min(weights.at_once, n_samples - added)
                nll = weights.terms(PROPOSAL, added, some)[1]
                check_finite(nll, weights.first)
                nll = nll.T.astype(np.float64)
                origin = nll[0].copy() if added == 0 else origin
                for apart in nll - origin:  # one draw after the other: how they come in changes no bit
                    sums += apart, np.square(apart)
                added += some
                share = added / n_samples
                watcher.progressed(done + int(share * weights.rows), len(examples), "examples")
            if added < n_samples:
                break
            reconstruction = -(origin + sums[0] / n_samples) - network.log_jacobian
            with np.errstate(invalid="ignore"):
                variance = (sums[1] - sums[0] ** 2 / n_samples) / np.float64(n_samples - 1)
            parts.append((reconstruction, np.sqrt(np.maximum(variance, 0.0) / n_samples), kl))
            done += weights.rows
    if not done:
        raise KeyboardInterrupt("elbo: stopped before the first examples were done")
    reconstruction, mcse, kl = (np.concatenate(some) for some in zip(*parts, strict=True))
    return Elbo(
        method="elbo",
        kind="lower bound",
        values=reconstruction - kl.sum(axis=1),
        mcse=mcse,
        ess=np.full(done, np.nan),
        khat=np.full(done, np.nan),
        n_samples=n_samples,
        seconds=time.perf_counter() - started,
        complete=done == len(examples),
        degrees_of_freedom=n_samples - 1,
        reconstruction=reconstruction,
        kl=kl,
    )
