"""Methods of estimators whose log p(x) can be estimated."""

from typing import Any

import numpy as np

from fastvae.evaluation.methods import check_method, log_likelihood
from fastvae.evaluation.observer import Observer
from fastvae.evaluation.result import LogLikelihood
from fastvae.models.settings import seed_from


class Evaluated:
    """Beside an estimator with `examples`: see `fastvae.evaluation`."""

    __slots__ = ()

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
        examples = self.examples(X, condition=condition, binarize=binarize)  # type: ignore[attr-defined]
        seed = self.seed_ if random_state is None else seed_from(random_state)  # type: ignore[attr-defined]
        return log_likelihood(self, examples, method, n_samples, seed=seed, observer=observer, **options)

    def _scores(self, X: Any, condition: Any, method: str, n_samples: int | None) -> np.ndarray:
        """The values of `evaluate`, of all rows."""
        found = self.evaluate(X, method, n_samples, condition=condition)
        if not found.complete:
            raise KeyboardInterrupt(
                f"{method}: stopped after {len(found)} of {len(X)} rows; evaluate returns what is done"
            )
        return found.values
