"""The deep Boltzmann machine with two hidden layers (Salakhutdinov and Hinton 2009), both trained at once, centred
(Montavon and Müller 2012)."""

import zlib
from typing import Any

import numpy as np

from fastvae.data.minibatches import Examples
from fastvae.evaluation.bipartite import partition
from fastvae.evaluation.mean_field import MeanFieldBound, machine_of, mean_field_bound, unnormalised
from fastvae.models.abilities import Abilities
from fastvae.models.dbm_network import Architecture, DBMNetwork
from fastvae.models.settings import check_integer, seed_from, widths
from fastvae.models.with_likelihood import LikelihoodEstimator
from fastvae.optimizers import SGD, Optimizer

SCORE_CHAINS, SCORE_TEMPERATURES = 100, 1000  # behind log Z of `score_samples`


class DBM(LikelihoodEstimator):
    """Deep Boltzmann machine with two hidden layers, of rows of 0 and 1.

        log p(v) = log sum over h1, h2 of exp(visible' v + v' W1 h1 + b1' h1 + h1' W2 h2 + b2' h2) - log Z

    Parameters
    ----------
    hidden
        Units of the two hidden layers.
    mean_field_steps
        Of each row in each step of the training, from the mean over the data.
    chains
        Which persist from step to step, one for each row of a batch: at least `batch_size`.
    optimizer
        "sgd", without momentum; its `learning_rate` rises over `warmup_steps` and then falls to 0 by `schedule`, so
        that the chains catch up with the model.
    average
        The share of the steps, the last ones, over which the parameters are averaged.
    epochs, batch_size, clip_norm, scale, precision, device, random_state, verbose, early_stopping, ...
        As `VAE` has them. Data in [0, 1] that are not 0 or 1 count as probabilities of a 1; with
        `initialize(X, binarize="dynamic")` and `fit_examples` they are drawn anew in each step.

    Examples
    --------
    >>> import numpy as np
    >>> from fastvae import DBM
    >>> X = (np.random.default_rng(0).random((60, 8)) < 0.3).astype(np.float32)
    >>> model = DBM(hidden=(5, 4), epochs=40, batch_size=10, random_state=0).fit(X)
    >>> model.transform(X).shape, model.sample(3, steps=20).shape
    ((60, 9), (3, 8))
    >>> found = model.evaluate(X)
    >>> found.kind, -6 < found.mean < -4
    ('lower bound', True)
    """

    NAME, NETWORK, ABILITIES = "DBM", DBMNetwork, Abilities(True, True, "chain", "bound")
    likelihood = "bernoulli"

    def __init__(
        self, hidden: tuple[int, ...] = (500, 1000), mean_field_steps: int = 10, chains: int = 100,
        epochs: int | str = "auto", batch_size: int | str = 100, learning_rate: float = 0.05,
        clip_norm: float | None = None, scale: Any = "auto", precision: str = "float32", device: str = "auto",
        random_state: Any = None, verbose: bool | int = 0, early_stopping: bool | str = False,
        validation_fraction: float = 0.1, optimizer: str = "sgd", weight_decay: float = 0.0, schedule: str = "linear",
        warmup_steps: int = 200, average: float = 0.2,
    ):  # fmt: skip
        self._store(locals())

    def _architecture(self, columns: int) -> Architecture:
        hidden = widths("hidden", self.hidden)
        if len(hidden) != 2:
            raise ValueError(f"hidden={self.hidden!r} must be the widths of two hidden layers, such as (500, 1000)")
        steps, chains = (check_integer(name, getattr(self, name), 1) for name in ("mean_field_steps", "chains"))
        return Architecture(columns, hidden, steps, chains)

    def _begin(self, network: DBMNetwork, X: Any, units: Any, facts: Any, seed: np.uint64) -> None:
        network.initialise(seed, (facts.mean - units.offset) / units.scale, len(X))

    def _make_optimizer(self) -> Optimizer:
        if self.optimizer != "sgd":
            return super()._make_optimizer()
        network = self.network_
        settings: dict[str, Any] = {"momentum": 0.0, "weight_decay": float(self.weight_decay)}
        settings["average_from"] = 1 if self.average else None
        return SGD(network.parameters, network.kernels, self.learning_rate, self.clip_norm, **settings)

    # ---- what it says of rows ---------------------------------------------------------------------------------------

    def evaluate(
        self,
        X: Any,
        n_samples: int = 100,
        *,
        temperatures: int = 10_000,
        binarize: str | float | None = None,
        random_state: Any = None,
    ) -> MeanFieldBound:
        """A lower bound on log p(v) of each row, in nats: by a mean field, less log Z by annealed importance sampling.

        Parameters
        ----------
        X : (N, D)
            Of 0 and 1; or in [0, 1], with `binarize`.
        n_samples, temperatures
            Chains behind log Z, and through how many machines each goes.
        binarize
            None; "dynamic": each value is the probability of a 1; or a number: 1 above it, else 0.
        random_state
            A seed or generator of the chains; None: the model's seed.

        Returns
        -------
        MeanFieldBound
            A `LogLikelihood`. Its `details` have log Z both ways: "log_z" by annealed importance sampling, which is too
            small in expectation and the bound with it too high; "reverse" from long chains, which errs to the other
            side. Where they differ, the bound lies between "mean_by_reverse" and "mean".
        """
        check_integer("n_samples", n_samples, 2)
        check_integer("temperatures", temperatures, 1)
        examples = self.examples(X, binarize=binarize)
        seed = self.seed_ if random_state is None else seed_from(random_state)
        return mean_field_bound(self._check_complete(), examples, n_samples, temperatures, seed)

    def score_samples(self, X: Any) -> np.ndarray:
        """The bound of `evaluate`, (N,) float64, in nats, with log Z by 100 chains and 1,000 temperatures: enough to
        compare rows, where log Z cancels, and an estimate of their level."""
        return self.score_examples(self.examples(X))

    def score_examples(self, examples: Examples) -> np.ndarray:
        """The same of examples."""
        network = self._check_complete()
        return unnormalised(network, self._accepted(network, examples)) - self._log_z(network)

    def _log_z(self, network: DBMNetwork) -> float:
        """log Z, estimated once as long as no parameter changes."""
        state = zlib.crc32(network.parameters.values.tobytes())
        if network.log_z is None or network.log_z[0] != state:
            found = partition(machine_of(network), SCORE_CHAINS, SCORE_TEMPERATURES, self.seed_, burn_in=0)
            network.log_z = state, found.log_z
        return network.log_z[1]

    def sample(self, n: int = 1, random_state: Any = None, noise: bool = False, *, steps: int = 1000) -> np.ndarray:
        """The means of v given h1 of n chains, after so many steps of Gibbs sampling each: (n, D) float32, in the
        user's units; with `noise` v itself, drawn from them.

        `random_state`: a seed or generator of this call. None: by the model's own, as `VAE.sample` has it. After too
        few steps the chains are where they began, near the mean of the data.
        """
        network = self._check_fitted()
        check_integer("n", n, 1)
        check_integer("steps", steps, 1)
        seed, call = seed_from(self.random_state if random_state is None else random_state), 0
        if random_state is None and isinstance(self.random_state, int | np.integer):
            call = self._next_draw()
        own = np.random.SeedSequence([int(seed), call]).generate_state(1, np.uint64)[0]
        v, means = network.draw(n, steps, own)
        out = np.empty(v.shape, network.units.dtype)
        network.units.to_user(v if noise else means, out)
        return out

    def _next_draw(self) -> int:
        """A number of its own for each call, of each thread."""
        with self._exclusion.lock:
            self._draws += 1
            return self._draws - 1
