"""MADE, the masked autoencoder for distribution estimation (Germain, Gregor, Murray and Larochelle 2015).

    log p(x) = sum_d log p(x_d | x_<d),        all D conditionals by one pass of a network with masked weights

"<" is an ordering of the columns. A hidden unit of degree m sees the first m of them; the units of a layer are sorted
by degree, so that every mask is a staircase (see `layers.dense`) and half of each product is left out.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae import backend, reference
from fastvae.engine import Network
from fastvae.errors import check_name
from fastvae.kernels import cpu, philox
from fastvae.kernels.cpu.calls import FUNCTIONS
from fastvae.kernels.formulas import ACTIVATIONS
from fastvae.kernels.memory import empty
from fastvae.kernels.slots import Slots
from fastvae.layers import Dense, Linear
from fastvae.likelihoods import LIKELIHOODS, make_likelihood
from fastvae.models.absent import absent
from fastvae.models.autoregressive import AT_ONCE, FIRST_ORDER, ORDERS, AutoregressiveEstimator
from fastvae.models.rows import finite
from fastvae.models.settings import check_flag, check_integer, checked_names, widths
from fastvae.passes import Pass


@dataclass(frozen=True)
class Architecture:
    """What decides the parameters, and what they mean."""

    inputs: int
    hidden: tuple[int, ...]
    orderings: int
    order: str
    direct: bool
    activation: str
    likelihood: str


def degrees_of(width: int, columns: int) -> np.ndarray:
    """How many columns each unit of a hidden layer sees, (width,) int64: 1 ... columns - 1 alike often, in order."""
    return np.minimum(1 + np.arange(width, dtype=np.int64) * (columns - 1) // width, columns - 1)


class Conditionals:
    """The conditionals of one ordering: masked layers from x to the outputs (B, D), both in that ordering."""

    def __init__(self, prefix: str, a: Architecture):
        degrees, self.hidden = np.arange(1, a.inputs + 1), list[Dense]()  # the degree at which a column is seen first
        for i, width in enumerate(a.hidden):
            own = degrees_of(width, a.inputs)
            depths = np.searchsorted(degrees, own, side="right")
            self.hidden.append(Dense(f"{prefix}hidden.{i}", len(degrees), width, a.activation, depths))
            degrees = own
        before = np.arange(a.inputs)  # how many columns come before each
        self.output = Dense(
            f"{prefix}output", len(degrees), a.inputs, depths=np.searchsorted(degrees, before, side="right")
        )
        direct = a.direct and a.hidden  # without hidden layers the output's weights are such connections
        self.direct = Linear(f"{prefix}direct", a.inputs, a.inputs, before) if direct else None
        self.degrees = [degrees_of(width, a.inputs) for width in a.hidden]
        self.order = np.arange(a.inputs)  # column of the data that stands at each place
        self.sorted = a.order == "natural" and prefix in ("", "0.")  # the order of the data

    def layers(self) -> list[Linear]:
        """All that has weights."""
        return [*self.hidden, self.output, *[self.direct] * (self.direct is not None)]  # type: ignore[list-item]

    def arranged(self, p: Pass, x: np.ndarray) -> np.ndarray:
        """Write the columns of x (B, D) in this ordering."""
        if self.sorted:
            return x
        out = p.empty(x.shape[1])
        p.add("take_columns", x, self.order, out)
        return out

    def __call__(self, p: Pass, seen: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], None]]:
        """Write the outputs for rows in this ordering; what it returns writes the backward."""
        h, backs = seen, []
        for layer in (*self.hidden, self.output):
            h, back = layer(p, h)
            backs.append(back)
        back_direct = None if self.direct is None else self.direct(p, seen, h)[1]

        def backprop(d_out: np.ndarray) -> None:
            if back_direct is not None:
                back_direct(d_out, inputs=False)
            for i, back in reversed(list(enumerate(backs))):
                d_out = back(d_out, inputs=i > 0)

        return h, backprop

    # ---- on the host: column by column ------------------------------------------------------------------------------

    def outputs(self, seen: np.ndarray) -> Iterator[np.ndarray]:
        """The output (n,) of one column after the other, given seen (D, n), in this ordering, of which each column must
        be filled in before the next output is asked for. A unit is worked out once, when all that it sees is there."""
        arrays, activations = [seen], reference.ACTIVATIONS
        for layer in self.hidden:
            arrays.append(np.zeros((layer.outputs, seen.shape[1]), np.float32))
        for d in range(len(seen)):
            for i, layer in enumerate(self.hidden):
                first, last = np.searchsorted(self.degrees[i], [d, d + 1])
                if first < last:
                    argument = _product(layer, arrays[i], first, last) + layer.bias[first:last, None]
                    arrays[i + 1][first:last] = activations[layer.activation][0](argument)
            output = _product(self.output, arrays[-1], d, d + 1)[0] + self.output.bias[d]
            yield output if self.direct is None else output + _product(self.direct, seen, d, d + 1)[0]


def _product(layer: Linear, x: np.ndarray, first: int, last: int) -> np.ndarray:
    """weight' x of some outputs, which see the same: (last - first, n), of x (inputs, n)."""
    assert layer.depths is not None
    depth = layer.depths[last - 1]
    return layer.weight[:depth, first:last].T @ x[:depth]


def on_host(write: Callable[[Pass, np.ndarray], np.ndarray], n: int) -> Callable[[np.ndarray], np.ndarray]:
    """What `write` writes of an array (n, 1), as a function."""
    p = Pass(backend.select("cpu"), Slots(), n, {})
    given = p.cut(empty(n, 1))
    made = write(p, given)

    def apply(values: np.ndarray) -> np.ndarray:
        given[:] = values
        for program in p.programs:
            program.run()
        return made

    return apply


class MADENetwork(Network):
    """Conditionals by several orderings of the columns; see `engine.Network` for what each method is."""

    def describe(self, a: Architecture, complete: bool) -> None:  # noqa: D102
        super().describe(a, True)
        self.inputs = {"x": a.inputs}
        self.orderings = [Conditionals(f"{k}." if a.orderings > 1 else "", a) for k in range(a.orderings)]
        sigma = "learned" if LIKELIHOODS[a.likelihood].HAS_SIGMA else 1.0
        self.likelihood = make_likelihood(a.likelihood, sigma, a.inputs, sigma == "learned")

    def role(self, name: str, downwards: bool) -> str:  # noqa: D102
        ordering = name.split(".")[0]
        return f"masked network {int(ordering) + 1}" if ordering.isdecimal() else "masked network"

    def owners(self) -> Sequence[Any]:  # noqa: D102
        return [*(layer for each in self.orderings for layer in each.layers()), self.likelihood]

    def prepare(self, seed: np.uint64, *known: Any) -> None:  # noqa: D102
        self.set_orders(seed)
        super().prepare(seed, *known)

    def set_orders(self, seed: np.uint64) -> None:
        """Draw the orderings: permutations that belong to the seed, and to no epoch of a training."""
        for k, each in enumerate(self.orderings):
            if not each.sorted:
                cpu.shuffled_indices(seed, FIRST_ORDER - k, len(each.order), 0, each.order)

    def initialise(self, seed: np.uint64, mean: np.ndarray, deviation: np.ndarray) -> None:
        """Draw the weights; each column's bias starts where the output gives its mean, in model units."""
        self.set_orders(seed)
        order = self.orderings[0].order
        self.initialise_layers(seed, deviation[order], mean[order])
        for each in self.orderings:
            each.output.bias[:] = self.likelihood.intercept(mean[each.order])

    def step(self, p: Pass, optimizers: Sequence[Any]) -> None:  # noqa: D102
        x, weight = p.input("x"), p.slots.real("example weight")
        for k, each in enumerate(self.orderings):
            arranged = each.arranged(p, x)
            a, back = each(p, self.likelihood.seen(p, arranged))
            nll, d_a = self.likelihood.loss(p, arranged, a, weight)
            p.loss(**{f"nll{k}": (nll, weight)})
            back(d_a)
        p.update(optimizers[0], self.owners())

    def report(self, sums: dict[str, np.ndarray], rows: int, progress: np.ndarray) -> dict[str, np.ndarray]:
        """The mean of -log p(x) over batch and orderings, in nats of the user's units."""
        return {"loss": np.mean(list(sums.values()), axis=0) / rows + self.log_jacobian}

    def nll(self, p: Pass) -> list[np.ndarray]:
        """Write -log p(x) (B,) by each ordering."""
        x, found = p.input("x"), []
        for each in self.orderings:
            arranged = each.arranged(p, x)
            a = each(p, self.likelihood.seen(p, arranged))[0]
            found.append(self.likelihood.nll(p, arranged, a, p.empty()))
        return p.returns(*found)

    def means(self, p: Pass, ordering: int) -> list[np.ndarray]:
        """Write the mean (B, D) of each conditional of an ordering, in that ordering."""
        each = self.orderings[ordering]
        a = each(p, self.likelihood.seen(p, each.arranged(p, p.input("x"))))[0]
        return p.returns(self.likelihood.mean(p, a))


class MADE(AutoregressiveEstimator):
    """Masked autoencoder for distribution estimation: exact log p(x), one column given those before it.

    Parameters
    ----------
    hidden
        Widths of the masked layers; () for a logistic regression of each column on those before it.
    orderings
        K. Of several, p(x) is the mixture of the K joint probabilities, log p(x) = log 1/K sum_k p_k(x): a probability,
        as a mean of logits, or of conditionals, over orderings is none. Each ordering has a network of its own: they
        are trained side by side on the same batches, and share no weights, so that K cost K times as much. (Germain et
        al. share the weights among orderings, which costs each of them.)
    order
        "natural": the first ordering is that of the columns, which suits images, where what was last is near; "random":
        it is a permutation that belongs to `random_state`, as all others are.
    direct
        Whether each output also has weights from the columns before it.
    activation, likelihood, and what follows
        As `VAE` has them. With "gaussian", p(x_d | x_<d) has a mean that depends on x_<d, and a learned deviation that
        does not; for one ordering.
    """

    NAME, NETWORK = "MADE", MADENetwork

    def __init__(
        self, hidden: tuple[int, ...] = (500,), orderings: int = 1, order: str = "natural", direct: bool = True,
        activation: str = "relu", likelihood: str = "bernoulli", epochs: int | str = "auto",
        batch_size: int | str = "auto", learning_rate: float = 1e-3, clip_norm: float | None = None,
        scale: Any = "auto", precision: str = "float32", device: str = "auto", random_state: Any = None,
        verbose: bool | int = 0, early_stopping: bool | str = "auto", validation_fraction: float = 0.1,
        optimizer: str = "adam", weight_decay: float = 0.0, schedule: str = "constant", warmup_steps: int = 0,
        average: float = 0.0,
        warm_start: bool = False,
    ):  # fmt: skip
        self._store(locals())

    def _architecture(self, columns: int) -> Architecture:
        given = self.get_params()
        names = checked_names(given, activation=ACTIVATIONS, likelihood=LIKELIHOODS)
        check_name("order", given["order"], ORDERS)
        orderings, direct = check_integer("orderings", given["orderings"], 1), check_flag("direct", given["direct"])
        if LIKELIHOODS[names[1]].LEARNS and orderings > 1:
            found = f"likelihood={names[1]!r} learns a parameter for each column, and goes with one ordering"
            raise ValueError(f"{found}; orderings={orderings}: use 1, or average the probabilities of several models")
        return Architecture(columns, widths("hidden", given["hidden"]), orderings, given["order"], direct, *names)

    def _begin(self, network: MADENetwork, X: Any, units: Any, facts: Any, seed: np.uint64) -> None:
        network.initialise(seed, (facts.mean - units.offset) / units.scale, facts.deviation / units.scale)

    # ---- log p(x) -----------------------------------------------------------------------------------------------

    @staticmethod
    def _log_prob(network: MADENetwork, X: Any, **how: Any) -> np.ndarray:
        """log of the mean over orderings of p(x): (N,)."""
        log_prob = np.empty((len(network.orderings), len(X)))

        def keep(start: int, stop: int, *nlls: np.ndarray) -> None:
            for found, nll in zip(log_prob, nlls, strict=True):
                found[start:stop] = -nll.astype(np.float64)

        network.over(X, "nll", network.nll, keep, **how)
        return np.logaddexp.reduce(log_prob, axis=0) - np.log(len(log_prob)) - network.log_jacobian

    def conditionals(self, X: Any, ordering: int = 0) -> np.ndarray:
        """The mean of p(x_d | x_<d) for each column of each row, (N, D) float32, in the user's units: of binary data
        the probability of a 1. Which columns come before a column says `orders_[ordering]`."""
        network, X, how = self._data(X)
        if check_integer("ordering", ordering, 0) >= len(network.orderings):
            raise ValueError(f"ordering={ordering}: there are {len(network.orderings)}, counted from 0")
        order, units = network.orderings[ordering].order, network.units
        out, found = np.empty((len(X), len(order)), units.dtype), np.empty((0, 0))

        def keep(start: int, stop: int, mean: np.ndarray) -> None:
            nonlocal found
            found = np.empty_like(mean)
            found[:, order] = mean
            units.to_user(found, out[start:stop])

        network.over(X, ("means", ordering), lambda p: network.means(p, ordering), keep, **how)
        return finite(out, X)

    @property
    def orders_(self) -> np.ndarray:
        """(K, D) int64: the columns in each ordering, first that which depends on none."""
        return np.array([each.order for each in self._check_fitted().orderings])

    # ---- sampling -----------------------------------------------------------------------------------------------

    @staticmethod
    def _beside(network: MADENetwork) -> int:
        seen = 2 * network.inputs["x"]
        return seen + max(sum(layer.outputs for layer in each.hidden) for each in network.orderings)

    @staticmethod
    def _draw(network: MADENetwork, x: np.ndarray, seed: np.uint64, call: int) -> None:
        (n, columns), likelihood, orderings = x.shape, network.likelihood, network.orderings
        choice = np.empty((n, 1), np.float32)
        FUNCTIONS["uniform_noise"](seed, philox.PRIOR, call, 0, choice)
        chosen = np.minimum((choice[:, 0] * len(orderings)).astype(int), len(orderings) - 1)
        pieces = []
        for k, each in enumerate(orderings):
            rows = np.flatnonzero(chosen == k)
            for some in np.split(rows, range(AT_ONCE, len(rows), AT_ONCE)):
                seen = np.zeros((columns, len(some)), np.float32)
                pieces.append((each.order, some, seen, each.outputs(seen)))
        to_mean, to_seen, a = on_host(likelihood.mean, n), on_host(likelihood.seen, n), np.empty((n, 1), np.float32)
        for d in range(columns):
            for _, rows, _, outputs in pieces:
                a[rows, 0] = next(outputs)
            drawn = likelihood.draw(to_mean(a), cpu, seed, call * columns + d, slice(d, d + 1))
            as_seen = to_seen(drawn)
            for order, rows, seen, _ in pieces:
                x[rows, order[d]], seen[d] = drawn[rows, 0], as_seen[rows, 0]

    # ---- what it cannot do --------------------------------------------------------------------------------------

    transform = fit_transform = reconstruct = decode = inverse_transform = get_feature_names_out = set_output = absent(
        "a MADE has no latent code: it gives log p(x), by score_samples(X), conditionals(X) and samples; for codes "
        "take a VAE or an autoencoder"
    )
