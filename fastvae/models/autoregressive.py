"""What estimators share that give p(x) column by column: log p(x) is the sum of the conditionals' logarithms, exactly.

A sample is drawn one column after the other, each given those before it.
"""

import time
from typing import Any

import numpy as np

from fastvae.data.binary import warn_of_grey
from fastvae.data.minibatches import Examples
from fastvae.evaluation.result import LogLikelihood
from fastvae.kernels.cpu import blas
from fastvae.models.abilities import Abilities
from fastvae.models.rows import finite
from fastvae.models.with_likelihood import LikelihoodEstimator

ORDERS = ("natural", "random")
FIRST_ORDER = (1 << 32) - 1  # what stands in an epoch's place for the first ordering, and counts down from there
AT_ONCE = 256  # samples that are drawn together: their hidden units stay in the second cache


class AutoregressiveEstimator(LikelihoodEstimator):
    """An estimator with exact log p(x), whose network's pass `nll` writes what `_log_prob` makes it of."""

    ABILITIES = Abilities(False, False, "column by column", "exact")
    HELDOUT = "heldout_log_prob"

    @staticmethod
    def _log_prob(network: Any, X: Any, **how: Any) -> np.ndarray:
        """log p(x) of each row, (N,) float64; not finite where float32 overflows."""
        raise NotImplementedError

    @staticmethod
    def _draw(network: Any, x: np.ndarray, seed: np.uint64, call: int) -> None:
        """Fill in x (n, D) float32, in the model's units, by the noise of a call."""
        raise NotImplementedError

    @staticmethod
    def _beside(network: Any) -> int:
        """How many numbers stand in memory for each sample while all are drawn, beside what is returned."""
        return network.inputs["x"]

    def score_samples(self, X: Any) -> np.ndarray:
        """log p(x) of each row, (N,) float64, in nats of the user's units: exact, but for rounding."""
        network, X, how = self._data(X)
        log_prob = finite(self._log_prob(network, X, **how), X)
        if self._fills_unit_range(network):
            warn_of_grey(X, network.units, 2)
        return log_prob

    def score_examples(self, examples: Examples) -> np.ndarray:
        """The same of examples, which somebody has checked; not finite where float32 overflows."""
        network = self._check_complete()
        examples = self._accepted(network, examples)
        return self._log_prob(network, examples.X, binarize=examples.binarize)

    def evaluate(self, X: Any, *, binarize: str | float | None = None) -> LogLikelihood:
        """log p(x) of each row, as `score_samples`, in the form that all models' estimates have: its kind is "exact".

        `binarize`: None; "dynamic": each value in [0, 1] is the probability of a 1, drawn by the model's seed; or a
        number: 1 above it, else 0.
        """
        examples, started = self.examples(X, binarize=binarize), time.perf_counter()
        values = finite(self.score_examples(examples), examples.X)
        if binarize is None and self._fills_unit_range(self.network_):
            warn_of_grey(examples.X, self.network_.units, 2)
        return LogLikelihood.exact(values, time.perf_counter() - started)

    def sample(self, n: int = 1, random_state: Any = None) -> np.ndarray:
        """Draw from p(x): (n, D), in the user's units; one column after the other, given those before it, of a mixture
        of orderings in one of them. All columns together cost as much as one pass.

        `random_state`: a seed or generator of this call. None: by the model's own, as `VAE.sample` has it.
        """
        network = self._check_fitted()
        self._check_samples(network, n, self._beside(network))
        seed, call = self._noise_of_call(random_state)
        x = np.empty((n, network.inputs["x"]), np.float32)
        network.parameters.bring_back()
        with blas.one_thread():
            self._draw(network, x, seed, call)
        out = np.empty(x.shape, network.units.dtype)
        network.units.to_user(x, out)
        return out
