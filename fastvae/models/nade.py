"""NADE, the neural autoregressive distribution estimator (Larochelle and Murray 2011; Uria et al. 2016).

    log p(x) = sum_d log p(x_d | x_<d),        p(x_d = 1 | x_<d) = sigmoid(b_d + V_d . h_d)

    a_1 = c,        h_d = sigmoid(a_d),        a_{d+1} = a_d + x_d W_d

All columns share the hidden units' weights, so that the units are carried from one column to the next: a column that is
0 leaves them as they are, one that is 1 costs a sigmoid of each (see `kernels.cpu.prefix`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae import reference
from fastvae.data.binary import check_binary
from fastvae.data.minibatches import Examples
from fastvae.engine import Network
from fastvae.errors import check_name
from fastvae.kernels import cpu, philox
from fastvae.kernels.cpu.calls import FUNCTIONS
from fastvae.layers.prefix import Prefix
from fastvae.likelihoods import make_likelihood
from fastvae.models.absent import absent
from fastvae.models.autoregressive import AT_ONCE, FIRST_ORDER, ORDERS, AutoregressiveEstimator
from fastvae.models.given import Given
from fastvae.models.settings import check_integer
from fastvae.passes import Pass


@dataclass(frozen=True)
class Architecture:
    """What decides the parameters, and what they mean."""

    inputs: int
    hidden: int
    order: str


class NADENetwork(Network):
    """The conditionals, in the ordering of the columns; see `engine.Network` for what each method is."""

    def describe(self, a: Architecture, complete: bool) -> None:  # noqa: D102
        super().describe(a, True)
        self.inputs = {"x": a.inputs}
        self.conditionals = Prefix("", a.inputs, a.hidden)
        self.likelihood = make_likelihood("bernoulli", 1.0, a.inputs)
        self.order = np.arange(a.inputs)  # column of the data that stands at each place

    def role(self, name: str, downwards: bool) -> str:  # noqa: D102
        return "hidden units"

    def owners(self) -> Sequence[Any]:  # noqa: D102
        return [self.conditionals, self.likelihood]

    def prepare(self, seed: np.uint64, *known: Any) -> None:  # noqa: D102
        self.set_order(seed)
        super().prepare(seed, *known)

    def set_order(self, seed: np.uint64) -> None:
        """Draw the ordering: a permutation that belongs to the seed, and to no epoch of a training."""
        if self.architecture.order == "random":
            cpu.shuffled_indices(seed, FIRST_ORDER, len(self.order), 0, self.order)

    def arranged(self, p: Pass) -> np.ndarray:
        """Write the rows (B, D) with their columns in the ordering."""
        x = p.input("x")
        if self.architecture.order == "natural":
            return x
        out = p.empty(x.shape[1])
        p.add("take_columns", x, self.order, out)
        return out

    def step(self, p: Pass, optimizers: Sequence[Any]) -> None:  # noqa: D102
        x, weight = self.arranged(p), p.slots.real("example weight")
        logits, back = self.conditionals(p, x)
        nll, d_logits = self.likelihood.loss(p, x, logits, weight)
        p.loss(loss=(nll, weight))
        back(d_logits)
        p.update(optimizers[0], self.owners())

    def nll(self, p: Pass) -> list[np.ndarray]:
        """Write -log p(x) (B,)."""
        x = self.arranged(p)
        return p.returns(self.likelihood.nll(p, x, self.conditionals(p, x)[0], p.empty()))

    def means(self, p: Pass) -> list[np.ndarray]:
        """Write p(x_d = 1 | x_<d) (B, D) of each column, in the ordering."""
        return p.returns(self.likelihood.mean(p, self.conditionals(p, self.arranged(p))[0]))


class NADE(AutoregressiveEstimator):
    """Neural autoregressive distribution estimator of binary rows: exact log p(x), one column given those before it.

    Parameters
    ----------
    hidden
        H, units that are carried from column to column.
    order
        "natural": the columns' own; "random": a permutation that belongs to `random_state`. Images are learned as well
        by either (Uria et al. 2016).
    epochs, and what follows
        As `VAE` has them.

    Rows are of 0 and 1. Of values between, each may be taken for the probability of a 1, and drawn anew in each step:
    `initialize(X, binarize="dynamic")`, then `fit_examples`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastvae import NADE
    >>> X = (np.random.default_rng(0).random((60, 8)) < 0.3).astype(np.float32)
    >>> model = NADE(hidden=5, epochs=20, random_state=0).fit(X)
    >>> model.score_samples(X).shape, model.sample(3).shape, model.evaluate(X).kind
    ((60,), (3, 8), 'exact')
    """

    NAME, NETWORK = "NADE", NADENetwork
    SETTINGS = "a NADE", "a MADE with likelihood='gaussian'"
    likelihood = "bernoulli"

    def __init__(
        self, hidden: int = 500, order: str = "natural", epochs: int | str = "auto", batch_size: int | str = "auto",
        learning_rate: float = 1e-3, clip_norm: float | None = None, scale: Any = "auto", precision: str = "float32",
        device: str = "auto", random_state: Any = None, verbose: bool | int = 0, early_stopping: bool | str = "auto",
        validation_fraction: float = 0.1, optimizer: str = "adam", weight_decay: float = 0.0,
        schedule: str = "constant", warmup_steps: int = 0, average: float = 0.0,
        warm_start: bool = False,
    ):  # fmt: skip
        self._store(locals())

    def _architecture(self, columns: int) -> Architecture:
        given = self.get_params()
        check_name("order", given["order"], ORDERS)
        return Architecture(columns, check_integer("hidden", given["hidden"], 1), given["order"])

    def _begin(self, network: NADENetwork, X: Any, units: Any, facts: Any, seed: np.uint64) -> None:
        """Each column's bias starts where the output gives its mean."""
        if self._drawn is None:
            check_binary(X, units, self.NAME)
        network.set_order(seed)
        mean = (facts.mean - units.offset) / units.scale
        network.initialise_layers(seed, facts.deviation / units.scale, mean)
        network.conditionals.output_bias[:] = network.likelihood.intercept(mean[network.order])

    # ---- rows are of 0 and 1 ------------------------------------------------------------------------------------

    _drawn: str | float | None = None  # while a model begins: how its rows become binary

    def _initialize(self, given: Given, binarize: str | float | None = None, *known: Any, **named: Any) -> Examples:
        self._drawn = binarize
        try:
            return super()._initialize(given, binarize, *known, **named)
        finally:
            del self._drawn

    def _examples(self, network: Any, X: Any, name: str, binarize: Any, *beside: Any) -> Examples:
        if binarize is None:
            check_binary(X, network.units, self.NAME, name)
        return super()._examples(network, X, name, binarize, *beside)

    def _data(self, X: Any, condition: Any = None) -> tuple[Any, Any, dict[str, Any]]:
        network, X, how = super()._data(X, condition)
        self._clipping(network, X)
        check_binary(X, network.units, self.NAME)
        return network, X, how

    # ---- log p(x) -----------------------------------------------------------------------------------------------

    @staticmethod
    def _log_prob(network: NADENetwork, X: Any, **how: Any) -> np.ndarray:
        found = np.empty(len(X))

        def keep(start: int, stop: int, nll: np.ndarray) -> None:
            found[start:stop] = -nll.astype(np.float64)

        network.over(X, "nll", network.nll, keep, **how)
        return found

    def conditionals(self, X: Any) -> np.ndarray:
        """p(x_d = 1 | x_<d) for each column of each row, (N, D) float32. Which columns come before one says
        `order_`."""
        network, X, how = self._data(X)
        found = np.empty((len(X), len(network.order)), np.float32)
        found[:, network.order] = self._results(network, X, how, "means", network.means, len(network.order))
        return found

    @property
    def order_(self) -> np.ndarray:
        """(D,) int64: the columns in their ordering, first that which depends on none."""
        return self._check_fitted().order.copy()

    # ---- sampling -----------------------------------------------------------------------------------------------

    @staticmethod
    def _draw(network: NADENetwork, x: np.ndarray, seed: np.uint64, call: int) -> None:
        own = network.conditionals
        for first in range(0, len(x), AT_ONCE):
            rows = x[first : first + AT_ONCE]
            a, noise = np.tile(own.bias, (len(rows), 1)), np.empty_like(rows)
            FUNCTIONS["uniform_noise"](seed, philox.OBSERVATION, call, first, noise)
            h = reference.sigmoid(a)
            for d, column in enumerate(network.order):
                drawn = noise[:, column] <= reference.sigmoid(h @ own.output_weight[d] + own.output_bias[d])
                rows[:, column] = drawn
                lit = np.flatnonzero(drawn)
                a[lit] += own.weight[d]
                h[lit] = reference.sigmoid(a[lit])

    # ---- what it cannot do --------------------------------------------------------------------------------------

    transform = fit_transform = reconstruct = decode = inverse_transform = get_feature_names_out = set_output = absent(
        "a NADE has no latent code: its hidden units change from column to column; it gives log p(x), by "
        "score_samples(X), conditionals(X) and samples; for codes take a VAE or an autoencoder"
    )
