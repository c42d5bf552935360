"""What estimators of Boltzmann machines share: a training by chains, log Z, and chains as samplers."""

import zlib
from typing import Any

import numpy as np

from fastvae.data.minibatches import Examples
from fastvae.evaluation.bipartite import Partition
from fastvae.models.boltzmann_network import BoltzmannNetwork
from fastvae.models.settings import check_integer
from fastvae.models.with_likelihood import LikelihoodEstimator
from fastvae.optimizers import SGD, Optimizer

SCORE_CHAINS, SCORE_TEMPERATURES = 100, 1000  # behind log Z of `score_samples`


class BoltzmannEstimator(LikelihoodEstimator):
    """Base of `RBM` and `DBM`."""

    def _begin(self, network: BoltzmannNetwork, X: Any, units: Any, facts: Any, seed: np.uint64) -> None:
        network.initialise(seed, (facts.mean - units.offset) / units.scale, len(X))

    def _make_optimizer(self) -> Optimizer:
        if self.optimizer != "sgd":
            return super()._make_optimizer()
        network = self.network_
        settings: dict[str, Any] = {"momentum": 0.0, "weight_decay": float(self.weight_decay)}
        settings["average_from"] = 1 if self.average else None
        return SGD(network.parameters, network.kernels, self.learning_rate, self.clip_norm, **settings)

    # ---- what it says of rows ---------------------------------------------------------------------------------------

    def _unnormalised(self, network: Any, examples: Examples) -> np.ndarray:
        """log p(v), or its bound, but for log Z, in the model's units: (N,) float64."""
        raise NotImplementedError

    def _partition(self, network: Any, chains: int, temperatures: int, seed: np.uint64, **how: Any) -> Partition:
        raise NotImplementedError

    def score_examples(self, examples: Examples) -> np.ndarray:
        """`score_samples` of examples."""
        network = self._check_complete()
        accepted = self._accepted(network, examples)
        return self._unnormalised(network, accepted) - self._log_z(network) - network.log_jacobian

    def _log_z(self, network: BoltzmannNetwork) -> float:
        """log Z, estimated once as long as no parameter changes."""
        state = zlib.crc32(network.parameters.values.tobytes())
        if network.log_z is None or network.log_z[0] != state:
            found = self._partition(network, SCORE_CHAINS, SCORE_TEMPERATURES, self.seed_, burn_in=0)
            network.log_z = state, found.log_z
        return float(network.log_z[1])

    # ---- samples ----------------------------------------------------------------------------------------------------

    def sample(
        self, n: int = 1, random_state: Any = None, noise: bool = False, *, steps: int = 1000, start: Any = None
    ) -> np.ndarray:
        """The means of v given h1 of n chains, after so many steps of Gibbs sampling each: (n, D) float32, in the
        user's units; with `noise` v itself, drawn from them.

        Parameters
        ----------
        n, steps
            Chains, and steps of each. After too few steps they are where they began.
        random_state
            A seed or generator of this call. None: by the model's own, as `VAE.sample` has it.
        noise
            True: draw v too, instead of taking its mean.
        start : (n, D), optional
            Rows that the chains begin at; None: near the mean of the data.
        """
        network = self._check_fitted()
        check_integer("n", n, 1)
        check_integer("steps", steps, 1)
        begin = None
        if start is not None:
            begin = self.transform(start)[:, : network.sizes[1]]
            if len(begin) != n:
                raise ValueError(f"start has {len(begin)} rows; n={n} chains need as many")
        seed, call = self._noise_of_call(random_state)
        own = np.random.SeedSequence([int(seed), call]).generate_state(1, np.uint64)[0]
        v, means = network.draw(n, steps, own, begin)
        out = np.empty(v.shape, network.units.dtype)
        network.units.to_user(v if noise else means, out)
        return out
