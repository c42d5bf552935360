"""What estimators of Boltzmann machines share: a training by chains, log Z, and chains as samplers."""

import inspect
import time
import warnings
import zlib
from typing import Any

import numpy as np

from fastvae.data.binary import check_binary
from fastvae.data.minibatches import Examples
from fastvae.evaluation.bipartite import Bipartite
from fastvae.evaluation.observer import Observer, watching
from fastvae.evaluation.partition import BRACKET, FAR, LOWER, OfPartition, Partition, partition
from fastvae.evaluation.result import LogLikelihood
from fastvae.models.boltzmann_network import BoltzmannNetwork
from fastvae.models.given import Given
from fastvae.models.settings import check_integer, seed_from
from fastvae.models.with_likelihood import LikelihoodEstimator
from fastvae.optimizers import SGD, Optimizer

SCORE_CHAINS, SCORE_TEMPERATURES = 100, 1000  # behind log Z of `score_samples`


class BoltzmannEstimator(LikelihoodEstimator):
    """Base of `RBM` and `DBM`."""

    def _begin(self, network: BoltzmannNetwork, X: Any, units: Any, facts: Any, seed: np.uint64) -> None:
        mean, deviation = (facts.mean - units.offset) / units.scale, facts.deviation / units.scale
        network.initialise(seed, mean, deviation, len(X))

    def _make_optimizer(self) -> Optimizer:
        if self.optimizer != "sgd":
            return super()._make_optimizer()
        network = self.network_
        settings: dict[str, Any] = {"momentum": 0.0, "weight_decay": float(self.weight_decay)}
        settings["average_from"] = 1 if self.average else None
        return SGD(network.parameters, network.kernels, self.learning_rate, self.clip_norm, **settings)

    def _partial_fit(self, X: Any, condition: Any, weights: Any = None) -> None:
        """Where they are the defaults, the rate stays as it is and no average is taken: both must know the end."""
        own = inspect.signature(type(self).__init__).parameters
        kept = {"schedule": self.schedule, "average": self.average}
        if any(value != own[name].default for name, value in kept.items()):
            super()._partial_fit(X, condition, weights)  # which refuses what it cannot follow
            return
        self.set_params(schedule="constant", average=0.0)
        try:
            super()._partial_fit(X, condition, weights)
        finally:
            self.set_params(**kept)

    chains: int

    def _batches(self) -> tuple[int, int]:
        """One row for each chain, 100 at most."""
        return (min(100, self.chains),) * 2

    # ---- what it says of rows ---------------------------------------------------------------------------------------

    METHOD: str  # of log p(v), with log Z by annealed importance sampling
    EXACT: str  # with log Z itself
    KIND: str  # of a result, unless that is exact

    def _unnormalised(self, network: Any, examples: Examples) -> np.ndarray:
        """log p(v), or its bound, but for log Z, in the model's units: (N,) float64."""
        raise NotImplementedError

    def _machine(self, network: Any) -> Bipartite:
        """What annealed importance sampling anneals."""
        raise NotImplementedError

    def _exact_log_z(self, network: Any) -> float | None:
        """By enumeration, or None where that is too much."""
        raise NotImplementedError

    def _partition(self, network: BoltzmannNetwork, chains: int, temperatures: int, seed: np.uint64, **how: Any) -> Any:
        network.parameters.bring_back()
        exact = self._exact_log_z(network)
        if exact is not None:
            return Partition.exact(exact)
        return partition(self._machine(network), chains, temperatures, seed, **how)

    def log_partition(
        self,
        n_samples: int = 100,
        *,
        temperatures: int = 10_000,
        random_state: Any = None,
        enumerate: bool = True,
        observer: Observer | None = None,
    ) -> Partition:
        """log Z, in the model's units: exactly where the states of a hidden layer, the first one, can be enumerated (at
        most 20 units, and unless `enumerate` is False), else by `n_samples` chains through so many temperatures, in
        both directions.

        `log_z` of the result is too small in expectation, and log p(v) by it too large; `reverse` errs to the other
        side, as far as its chains, which go as many steps before, have forgotten where they began. Always look at both.

        `random_state`, `observer`: as `evaluate` has them.
        """
        check_integer("n_samples", n_samples, 2)
        check_integer("temperatures", temperatures, 1)
        network = self._check_complete()
        seed = self.seed_ if random_state is None else seed_from(random_state)
        with watching(observer) as watcher:
            if enumerate:
                return self._partition(network, n_samples, temperatures, seed, observer=watcher)
            network.parameters.bring_back()
            return partition(self._machine(network), n_samples, temperatures, seed, observer=watcher)

    def _evaluate(self, X: Any, binarize: Any, *how: Any, **named: Any) -> LogLikelihood:
        started = time.perf_counter()
        network, examples = self._check_complete(), self.examples(X, binarize=binarize)
        values = self._unnormalised(network, examples) - network.log_jacobian  # first: wrong rows must not cost log Z
        log_z = self.log_partition(*how, **named)
        kind = "exact" if log_z.chains == 0 and self.KIND == BRACKET else self.KIND
        return OfPartition.made(
            self.METHOD if log_z.chains else self.EXACT, kind, values, log_z, time.perf_counter() - started
        )

    def score_samples(self, X: Any) -> np.ndarray:
        """`values` of `evaluate`, (N,) float64, with 100 chains and 1,000 temperatures where log Z is not exact: enough
        to compare rows, where log Z cancels. A warning says so where their level is uncertain: where annealed
        importance sampling and its reverse are more than one nat apart."""
        return self.score_examples(self.examples(X))

    def score_examples(self, examples: Examples) -> np.ndarray:
        """`score_samples` of examples."""
        network = self._check_complete()
        accepted = self._accepted(network, examples)
        return self._unnormalised(network, accepted) - self._log_z(network) - network.log_jacobian

    def _log_z(self, network: BoltzmannNetwork) -> float:
        """log Z, estimated once as long as no parameter changes."""
        state = zlib.crc32(network.parameters.values.tobytes())
        if network.log_z is None or network.log_z[0] != state:
            found = self._partition(network, SCORE_CHAINS, SCORE_TEMPERATURES, self.seed_)
            network.log_z = state, (found.largest if self.KIND == LOWER else found.middle)[0]
            if abs(found.log_z - found.reverse) > FAR:
                warnings.warn(
                    f"log Z is {found.log_z:.1f} by annealed importance sampling and {found.reverse:.1f} by its "
                    f"reverse, through {SCORE_TEMPERATURES:,} temperatures: the scores of all rows may be wrong by as "
                    "much, all by the same; evaluate(X, temperatures=...) gives both ends for more temperatures",
                    stacklevel=2,
                )
        return float(network.log_z[1])

    def _heldout_examples(self, heldout: Any, held: Given) -> Examples:
        """Refuse what cannot be scored before anything is trained."""
        examples, network = super()._heldout_examples(heldout, held), self.network_
        if self._fills_unit_range(network):
            check_binary(examples.X, network.units, self.NAME, "heldout")
        return examples

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
        self._check_samples(network, n, 4 * network.inputs["x"])  # v and its means, and both in the user's units
        check_integer("steps", steps, 1)
        begin = None
        if start is not None:
            start = self.check(start, "start")
            if len(start) != n:
                raise ValueError(f"start has {len(start)} rows; n={n} chains need as many")
            begin = self._transformed(network, start, {})[:, : network.sizes[1]]
        seed, call = self._noise_of_call(random_state)
        own = np.random.SeedSequence([int(seed), call]).generate_state(1, np.uint64)[0]
        v, means = network.draw(n, steps, own, begin)
        out = np.empty(v.shape, network.units.dtype)
        network.units.to_user(v if noise else means, out)
        return out
