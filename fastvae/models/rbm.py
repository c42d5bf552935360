"""The restricted Boltzmann machine (Smolensky 1986; Hinton 2002), of binary or real rows."""

from typing import Any, ClassVar

import numpy as np

from fastvae.data.binary import check_binary
from fastvae.data.minibatches import Examples
from fastvae.errors import check_name
from fastvae.evaluation.bipartite import FEW, LEAST_MEAN, Bipartite, GaussianBipartite, enumerated
from fastvae.evaluation.observer import Observer
from fastvae.evaluation.partition import BRACKET
from fastvae.evaluation.result import LogLikelihood
from fastvae.likelihoods import make_likelihood
from fastvae.models.abilities import Abilities
from fastvae.models.boltzmann import BoltzmannEstimator
from fastvae.models.rbm_network import Architecture, RBMNetwork
from fastvae.models.settings import check_flag, check_integer
from fastvae.reference import softplus

VISIBLE = ("bernoulli", "gaussian")


class RBM(BoltzmannEstimator):
    """Restricted Boltzmann machine.

        log p(v) = log sum over h of exp(-E(v, h)) - log Z

    with -E = visible' v + v' W h + hidden' h for rows of 0 and 1; real ones are
    divided by sigma, a number for each column, and -|v - visible|^2 / 2 is in the place of visible' v: so p(v|h) =
    N(v; visible + W h, 1).

    Parameters
    ----------
    hidden
        Units of the hidden layer.
    visible
        "bernoulli": rows of 0 and 1; "gaussian": of real numbers.
    k
        Steps of Gibbs sampling in a step of training.
    persistent
        Whether chains go on from step to step (PCD), or begin at the batch (CD-k), which is biased.
    chains
        Which persist, one for each row of a batch: at least `batch_size`.
    centre
        Whether the units are centred.
    optimizer
        "sgd", without momentum; its `learning_rate` rises over `warmup_steps` and then falls to 0 by `schedule`, so
        that the chains catch up with the model.
    batch_size
        "auto": 100, or all rows where there are fewer.
    average
        The share of the steps, the last ones, over which the parameters are averaged. `partial_fit`, which knows no
        end, leaves the rate as it is and takes no average where `schedule` and this are the defaults.
    sigma
        Of real rows, deviations given h: "learned", one for each column, from the data's; or a number in the model's
        units (after `scale`), which fits where it is known: 1, the data's own, leaves nothing for h to explain.
    epochs, clip_norm, scale, precision, device, random_state, verbose, early_stopping, ...
        As `VAE` has them. Data in [0, 1] that are not 0 or 1 count as probabilities of a 1; with
        `initialize(X, binarize="dynamic")` and `fit_examples` they are drawn anew in each step.

    Examples
    --------
    >>> import numpy as np
    >>> from fastvae import RBM
    >>> X = (np.random.default_rng(0).random((60, 8)) < 0.3).astype(np.float32)
    >>> model = RBM(hidden=5, epochs=40, batch_size=10, random_state=0).fit(X)
    >>> model.transform(X).shape, model.sample(3, steps=20).shape
    ((60, 5), (3, 8))
    >>> found = model.evaluate(X)
    >>> found.kind, -6 < found.mean < -4
    ('exact', True)
    """

    NAME, NETWORK, ABILITIES = "RBM", RBMNetwork, Abilities(True, True, "chain", "bracket")
    PORTABLE = True
    METHOD, KIND, EXACT = "annealed", BRACKET, "exact"
    SETTINGS = "visible='bernoulli'", "visible='gaussian'"
    OLDER: ClassVar[dict[str, Any]] = BoltzmannEstimator.OLDER | {"sigma": 1.0}

    def __init__(
        self, hidden: int = 500, visible: str = "bernoulli", k: int = 1, persistent: bool = True, chains: int = 100,
        centre: bool = True, epochs: int | str = "auto", batch_size: int | str = "auto", learning_rate: float = 0.05,
        clip_norm: float | None = None, scale: Any = "auto", precision: str = "float32", device: str = "auto",
        random_state: Any = None, verbose: bool | int = 0, early_stopping: bool | str = False,
        validation_fraction: float = 0.1, optimizer: str = "sgd", weight_decay: float = 0.0, schedule: str = "linear",
        warmup_steps: int = 200, average: float = 0.2, sigma: float | str = "learned",
        warm_start: bool = False,
    ):  # fmt: skip
        self._store(locals())

    hidden: int
    visible: str
    k: int
    persistent: bool
    chains: int
    centre: bool
    sigma: float | str

    @property
    def likelihood(self) -> str:  # type: ignore[override]
        """That of v given h: `visible`."""
        check_name("visible", self.visible, VISIBLE)
        return self.visible

    def _architecture(self, columns: int) -> Architecture:
        hidden, k, chains = (check_integer(name, getattr(self, name), 1) for name in ("hidden", "k", "chains"))
        make_likelihood(self.likelihood, self.sigma)  # a wrong sigma is refused there
        if self.sigma == "optimal":
            raise ValueError("sigma='optimal' goes with a decoder; an RBM takes 'learned', or a number")
        sigma = self.sigma if isinstance(self.sigma, str) else float(self.sigma)
        persistent, centre = (check_flag(name, getattr(self, name)) for name in ("persistent", "centre"))
        of_chains = k, persistent, chains, centre
        return Architecture(columns, hidden, self.likelihood, *of_chains, sigma)

    @property
    def sigma_(self) -> np.ndarray:
        """Deviations of real rows given h, (D,), in the model's units; times `scale_`, in the user's."""
        network = self._check_fitted()
        if network.is_binary:
            raise AttributeError("sigma_ belongs to visible='gaussian'; this model is of rows of 0 and 1")
        network.parameters.bring_back()
        return network.sigma

    # ---- what it says of rows ---------------------------------------------------------------------------------------

    def _unnormalised(self, network: RBMNetwork, examples: Examples) -> np.ndarray:
        if network.is_binary and examples.binarize is None:
            check_binary(examples.X, network.units, self.NAME)
        found = np.empty(len(examples))
        network.parameters.bring_back()
        bias = network.biases[0].value.astype(np.float64)

        def keep(start: int, stop: int, v: np.ndarray, below: np.ndarray) -> None:
            v = v.astype(np.float64)
            alone = v @ bias if network.is_binary else -0.5 * np.square(v - bias).sum(axis=1)
            found[start:stop] = alone + softplus(below.astype(np.float64)).sum(axis=1)

        network.over(examples.X, "inferred", network.inferred, keep, binarize=examples.binarize)
        return found

    def free_energy(self, X: Any, *, binarize: str | float | None = None) -> np.ndarray:
        """F(v) = -log sum over h of exp(-E(v, h)) of each row, (N,) float64, in nats: log p(v) = -F(v) - log Z."""
        return -self._unnormalised(self._check_complete(), self.examples(X, binarize=binarize))

    def _machine(self, network: RBMNetwork) -> Bipartite:
        """v kept and h summed out, or, of real rows, h kept."""
        weight, a, b = self._parameters_of(network)
        if not network.is_binary:
            return GaussianBipartite(
                np.ascontiguousarray(weight.T, np.float32), b, a, np.zeros_like(b), a, log_scale(network)
            )
        mean = np.clip(network.offsets[0].value.astype(np.float64), LEAST_MEAN, 1 - LEAST_MEAN)
        return Bipartite(np.ascontiguousarray(weight, np.float32), a, b, np.log(mean / (1 - mean)), np.zeros_like(b))

    def _exact_log_z(self, network: RBMNetwork) -> float | None:
        if network.architecture.hidden > FEW:
            return None
        return enumerated(*self._parameters_of(network), network.is_binary) + log_scale(network)

    @staticmethod
    def _parameters_of(network: RBMNetwork) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """W (D, H) and the biases of v and h, float64."""
        a, b = (bias.value.astype(np.float64) for bias in network.biases)
        return network.weights[0].weight.astype(np.float64), a, b

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
        """log p(v) of each row, in nats of the user's units: exactly with at most 20 hidden units, else in a bracket
        that annealed importance sampling makes with its reverse.

        Parameters
        ----------
        X : (N, D)
            Of 0 and 1; or in [0, 1], with `binarize`; real numbers with visible="gaussian".
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
            Of kind "exact" or "bracket". The `values` of a bracket are by the mean of both log Z; `lower` and `upper`
            are its ends, and `interval` goes beyond them by their errors. Its `details` have log Z both ways, "log_z"
            and "reverse", and the means by each: log p lies between "mean_by_reverse" and "mean_by_annealing", in
            expectation. Stopped before the reverse came to its end it is an "estimate", by annealed importance sampling
            alone, which is too high in expectation.
        """
        how = {"temperatures": temperatures, "random_state": random_state, "observer": observer}
        return self._evaluate(X, binarize, n_samples, **how)


def log_scale(network: RBMNetwork) -> float:
    """By how much log Z of rows is more than that of v, which are these by sigma."""
    return float(np.log(network.sigma).sum())
