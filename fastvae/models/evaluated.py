"""What an estimator with q(z|x) says of rows: their codes, the ELBO, log p(x)."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastvae import reference
from fastvae.data.minibatches import Examples
from fastvae.evaluation.elbo import Elbo
from fastvae.evaluation.methods import check_method, log_likelihood
from fastvae.evaluation.observer import Observer
from fastvae.evaluation.result import LogLikelihood
from fastvae.evaluation.weights import sample_bound
from fastvae.kernels.formulas import LOGVAR_HIGHEST, LOGVAR_LOWEST
from fastvae.models.rows import finite, like
from fastvae.models.settings import check_integer, seed_from
from fastvae.models.vae_network import MOST_DRAWS, VAENetwork, symmetric_points
from fastvae.models.with_likelihood import LikelihoodEstimator

HELDOUT_DRAWS, MOST_HELDOUT_DRAWS = 2048, 16  # of z in all behind a held-out ELBO, about; of an example


class Evaluated(LikelihoodEstimator):
    """Base of `VAE`: the part that encodes and scores. Estimators of log p(x) are in `fastvae.evaluation`."""

    def encode(self, X: Any, condition: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Return mu and logvar of q(z|x), each (N, Z); logvar is limited to [-30, 20]. `condition` and the dtype as
        `transform` has it."""
        network, X, how = self._data(X, condition)
        mu, logvar = self._encode(network, X, **how)
        return like(mu, X), like(logvar, X)

    def encode_examples(self, examples: Examples) -> tuple[np.ndarray, np.ndarray]:
        """`encode` of examples, which somebody has checked."""
        network = self._check_complete()
        examples = self._accepted(network, examples)
        return self._encode(network, examples.X, binarize=examples.binarize, condition=examples.condition_rows)

    def _encode(self, network: VAENetwork, X: np.ndarray, **how: Any) -> tuple[np.ndarray, np.ndarray]:
        mu, logvar = (np.empty((len(X), network.architecture.latent_dim), np.float32) for _ in range(2))

        def keep(start: int, stop: int, found_mu: np.ndarray, found_logvar: np.ndarray) -> None:
            mu[start:stop] = found_mu
            np.minimum(np.maximum(found_logvar, LOGVAR_LOWEST), LOGVAR_HIGHEST, out=logvar[start:stop])

        network.over(X, "encode", network.encode, keep, **how)
        return finite(mu, X), finite(logvar, X)

    def evaluate(
        self,
        X: Any,
        method: str = "importance",
        n_samples: int | None = None,
        *,
        condition: Any = None,
        binarize: str | float | None = None,
        random_state: Any = None,
        observer: Observer | None = None,
        **options: Any,
    ) -> LogLikelihood:
        """Estimate log p(x) of each row, in nats of the user's units, with errors that tell how far to believe it.

        Parameters
        ----------
        X : (N, D)
            In the user's units.
        method
            "importance": z from q(z|x), widened where that is too narrow. "annealed": by annealed importance sampling.
            "naive": z from the prior. "elbo": a lower bound, with its parts.
        n_samples
            Of z, for each row; None: 5,000, or 100 for "elbo". For "annealed", chains: 8.
        condition
            As `fit` has it, of a model that was fitted with one: then it is log p(x|c).
        binarize
            None; "dynamic": each value in [0, 1] is the probability of a 1; or a number: 1 above it, else 0.
        random_state
            A seed or generator of the draws; None: the model's seed, so that the same call gives the same result.
        observer
            None: the first Ctrl-C ends it, and what is done is returned.
        options
            Of the method: see `fastvae.evaluation.importance.importance`, `annealed.annealed`, `naive.naive` and
            `elbo.elbo`.

        Returns
        -------
        LogLikelihood
            `values` (N,), `mcse`, `ess`, `khat`, `mean`, ...
        """
        check_method(method)
        examples = self.examples(X, condition=condition, binarize=binarize)
        seed = self.seed_ if random_state is None else seed_from(random_state)
        return log_likelihood(self, examples, method, n_samples, seed=seed, observer=observer, **options)

    @staticmethod
    def _all_values(found: LogLikelihood, rows: int) -> np.ndarray:
        """The values of all rows, or an error."""
        if not found.complete:
            raise KeyboardInterrupt(
                f"{found.method}: stopped after {len(found)} of {rows} rows; evaluate returns what is done"
            )
        return found.values

    def score_examples(self, examples: Examples) -> np.ndarray:
        """The bound that is trained, of examples that are held out, a mean over some draws of it: the ELBO, or that of
        `n_samples` importance weights."""
        network = self._check_complete()
        samples = network.objective.samples if network.objective.WEIGHTED else 1
        draws = min(HELDOUT_DRAWS // (len(examples) * samples) + 1, MOST_HELDOUT_DRAWS)
        if network.objective.WEIGHTED:
            return sample_bound(network, self._accepted(network, examples), samples, draws)
        return self.elbo_examples(examples, draws)

    def elbo(self, X: Any, n_samples: int = 1, condition: Any = None) -> np.ndarray:
        """Return an estimate of the ELBO of each example, (N,) float64, in nats of the user's units.

        E_q[log p(x|z)] - KL[q(z|x) || p(z)], the mean over `n_samples` draws of z an example. The ELBO is a lower bound
        of log p(x); one draw of it is noisy, by 1 to 5 nats a row, and may lie above. The noise belongs to the model's
        seed and the row's place: independent from row to row, so that the mean over many rows is sharp, and the same
        from call to call. For scores of single rows use `score_samples`. With a `condition`, as `transform` has it, all
        is given that: the bound is one of log p(x|c).
        """
        network, X, how = self._data(X, condition)
        check_integer("n_samples", n_samples, 1)
        return finite(self._elbo(network, X, n_samples, **how), X)

    def elbo_examples(self, examples: Examples, n_samples: int = 1) -> np.ndarray:
        """`elbo` of examples, which somebody has checked; -inf or NaN where float32 overflows."""
        network = self._check_complete()
        examples = self._accepted(network, examples)
        how: dict[str, Any] = {"binarize": examples.binarize, "condition": examples.condition_rows}
        return self._elbo(network, examples.X, n_samples, **how)

    def _elbo(
        self, network: VAENetwork, X: np.ndarray, n_samples: int, points: Sequence[np.ndarray] | None = None, **how: Any
    ) -> np.ndarray:
        total = np.zeros(len(X))

        def keep(start: int, stop: int, kl: np.ndarray, *nlls: np.ndarray) -> None:
            if stop - start == 1:  # one row: the same sums, without arrays
                found, more = total.item(start), kl.item()
                for nll in nlls:
                    found = found + nll.item() + more
                total[start] = found
                return
            for nll in nlls:
                total[start:stop] += nll
                total[start:stop] += kl

        done = 0
        while done < n_samples:
            draws = n_samples if points else min(n_samples - done, MOST_DRAWS)
            key, wanted = ("elbo", points is None, draws), points or draws
            network.over(X, key, lambda p: network.elbo(p, wanted), keep, step=done, **how)  # noqa: B023
            done += draws
        return -total / n_samples - network.log_jacobian

    def score_samples(
        self,
        X: Any,
        condition: Any = None,
        method: str = "elbo",
        n_samples: int | None = None,
        return_result: bool = False,
    ) -> Any:
        """Return the ELBO of each example, (N,) float64, in nats of the user's units: a lower bound of log p(x). Or, by
        another `method`, log p(x) itself: what `evaluate` gives as `values`. With `return_result` they come as a
        `LogLikelihood`, with their errors.

        Nothing in the ELBO is drawn, unless `n_samples` says of how many draws it is the mean: E_q is taken at
        symmetric points (see `models.vae_network.symmetric_points`), so that a row's score is the same alone, in any
        order and in any batch. It is exact for a decoder that is linear, or cubic where latent_dim <= 4; else it
        differs from the mean of many draws by some tenths of a nat. With a `condition`, as `transform` has it, all of
        this is about p(x|c).
        """
        if method != "elbo" or n_samples is not None:
            found = self.evaluate(X, method, n_samples, condition=condition)
            return found if return_result else self._all_values(found, len(X))
        started = time.perf_counter()
        network, X, how = self._data(X, condition)
        points = symmetric_points(network.architecture.latent_dim)
        values = finite(self._elbo(network, X, len(points), points, **how), X)
        if not return_result:
            return values
        kl = reference.kl_terms(*(a.astype(np.float64) for a in self._encode(network, X, **how)))
        return Elbo.without_draws(values, kl, len(points), time.perf_counter() - started)
