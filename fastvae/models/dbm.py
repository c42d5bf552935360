"""The deep Boltzmann machine with two hidden layers (Salakhutdinov and Hinton 2009), both trained at once, centred
(Montavon and Müller 2012)."""

from typing import Any

import numpy as np

from fastvae.data.minibatches import Examples
from fastvae.evaluation.bipartite import Bipartite
from fastvae.evaluation.mean_field import exact_log_z, machine_of, unnormalised
from fastvae.evaluation.observer import Observer
from fastvae.evaluation.partition import LOWER
from fastvae.evaluation.result import LogLikelihood
from fastvae.models.abilities import Abilities
from fastvae.models.boltzmann import BoltzmannEstimator
from fastvae.models.dbm_network import Architecture, DBMNetwork
from fastvae.models.settings import check_integer, widths


class DBM(BoltzmannEstimator):
    """Deep Boltzmann machine with two hidden layers, of rows of 0 and 1.

        log p(v) = log sum over h1, h2 of exp(visible' v + v' W1 h1 + b1' h1 + h1' W2 h2 + b2' h2) - log Z

    Parameters
    ----------
    hidden
        Units of the two hidden layers.
    mean_field_steps
        Of each row in each step of the training, from the mean of h2 over the data. After so many the bound of MNIST's
        test images is 0.006 nats below where it ends, after 2 steps 0.1, after 1 step 2.7; less trained, it is further.
        Rows that are scored have 30.
    chains
        Which persist from step to step, one for each row of a batch: at least `batch_size`.
    optimizer
        "sgd", without momentum; its `learning_rate` rises over `warmup_steps` and then falls to 0 by `schedule`, so
        that the chains catch up with the model.
    batch_size
        "auto": 100, or all rows where there are fewer.
    average
        The share of the steps, the last ones, over which the parameters are averaged. `partial_fit`, which knows no
        end, leaves the rate as it is and takes no average where `schedule` and this are the defaults.
    epochs, clip_norm, scale, precision, device, random_state, verbose, early_stopping, ...
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
    >>> found = model.evaluate(X, temperatures=500)
    >>> found.kind, -6 < found.mean < -4
    ('lower bound', True)
    """

    NAME, NETWORK, ABILITIES = "DBM", DBMNetwork, Abilities(True, True, "chain", "bound")
    METHOD, KIND, EXACT = "mean field", LOWER, "mean field"
    SETTINGS = "a DBM", "an RBM with visible='gaussian'"
    likelihood = "bernoulli"
    hidden: tuple[int, ...]

    def __init__(
        self, hidden: tuple[int, ...] = (500, 1000), mean_field_steps: int = 3, chains: int = 100,
        epochs: int | str = "auto", batch_size: int | str = "auto", learning_rate: float = 0.05,
        clip_norm: float | None = None, scale: Any = "auto", precision: str = "float32", device: str = "auto",
        random_state: Any = None, verbose: bool | int = 0, early_stopping: bool | str = False,
        validation_fraction: float = 0.1, optimizer: str = "sgd", weight_decay: float = 0.0, schedule: str = "linear",
        warmup_steps: int = 200, average: float = 0.2,
        warm_start: bool = False,
    ):  # fmt: skip
        self._store(locals())

    def _architecture(self, columns: int) -> Architecture:
        hidden = widths("hidden", self.hidden)
        if len(hidden) != 2:
            raise ValueError(f"hidden={self.hidden!r} must be the widths of two hidden layers, such as (500, 1000)")
        steps, chains = (check_integer(name, getattr(self, name), 1) for name in ("mean_field_steps", "chains"))
        return Architecture(columns, hidden, steps, chains)

    # ---- what it says of rows ---------------------------------------------------------------------------------------

    def evaluate(
        self,
        X: Any,
        n_samples: int = 100,
        *,
        temperatures: int = 10_000,
        binarize: str | float | None = None,
        random_state: Any = None,
        observer: Observer | None = None,
    ) -> LogLikelihood:
        """A lower bound on log p(v) of each row, in nats: by a mean field, less log Z: exact where h1 has at most 20
        units, else by annealed importance sampling or its reverse.

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
        observer
            See `fastvae.evaluation.observer.Observer`. None: the first Ctrl-C ends it, and what is known is returned.

        Returns
        -------
        OfPartition
            Of kind "lower bound": its `values`, and `lower`, are by the larger log Z, that of the reverse unless chance
            has it otherwise; `upper`, by the other, is too high in expectation. Its `details` have log Z both ways,
            "log_z" by annealed importance sampling and "reverse", and the means by each: the bound lies between
            "mean_by_reverse" and "mean_by_annealing". Stopped before the reverse came to its end it is an "estimate".
        """
        how = {"temperatures": temperatures, "random_state": random_state, "observer": observer}
        return self._evaluate(X, binarize, n_samples, **how)

    def _unnormalised(self, network: DBMNetwork, examples: Examples) -> np.ndarray:
        return unnormalised(network, examples)

    def _machine(self, network: DBMNetwork) -> Bipartite:
        return machine_of(network)

    def _exact_log_z(self, network: DBMNetwork) -> float | None:
        return exact_log_z(network)
